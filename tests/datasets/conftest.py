"""Trees with the official names and tiny images, as the downloads lie on disk."""

from __future__ import annotations

import csv
import io
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from PIL import Image

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
DATA = Path(__file__).parent / "data"

LABELS = ("N", "PB", "UDH", "FEA", "ADH", "DCIS", "IC")
ROIS = {
    "train": (357, 714, 389, 624, 387, 665, 521),
    "val": (46, 43, 46, 49, 41, 40, 47),
    "test": (81, 79, 82, 83, 79, 85, 81),
}
SLIDES = {"train": (281, 106), "val": (37, 15), "test": (69, 30)}
LATEST = {"N": 0, "PB": 1, "UDH": 2, "FEA": 3, "ADH": 4, "DCIS": 5, "IC": 6}
PREVIOUS = {**LATEST, "ADH": 3, "FEA": 4}
SETS = {"train": "Training", "val": "Validation", "test": "Testing"}


def _png() -> tuple[bytes, bytes]:
    """A 3 × 2 PNG before and after the place for a comment."""
    stream = io.BytesIO()
    Image.new("RGB", (3, 2), (200, 120, 180)).save(stream, "PNG")
    data = stream.getvalue()
    return data[:-12], data[-12:]


_HEAD, _TAIL = _png()


def image_bytes(comment: str) -> bytes:
    body = b"tEXtComment\0" + comment.encode("latin-1", "replace")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return _HEAD + chunk + _TAIL


def plant_files(root: Path, files: Iterable[str]) -> Path:
    """Write an image of its own for every path; the suffix does not matter, images are known by their bytes."""
    folders = set()
    for file in files:
        path = root / file
        if path.parent not in folders:
            path.parent.mkdir(parents=True, exist_ok=True)
            folders.add(path.parent)
        path.write_bytes(image_bytes(path.name))
    return root


def roi_names() -> list[tuple[str, str, str, int, int]]:
    """(split, label, name, slide, patient) of all 4539 RoIs, over 387 slides of 151 patients."""
    rows = []
    first_slide, first_patient = 10, 1
    for split, numbers in ROIS.items():
        n_slides, n_patients = SLIDES[split]
        labels = [label for label, number in zip(LABELS, numbers, strict=True) for _ in range(number)]
        for i, label in enumerate(labels):
            slide = first_slide + i % n_slides
            patient = first_patient + (i % n_slides) % n_patients
            rows.append((split, label, f"BRACS_{slide:03d}_{label}_{i}.png", slide, patient))
        first_slide, first_patient = first_slide + n_slides, first_patient + n_patients
    return rows


def roi_files(digits: dict[str, int] = LATEST) -> list[str]:
    return [f"{split}/{digits[label]}_{label}/{name}" for split, label, name, _, _ in roi_names()]


def sheet(path: Path, rows: Sequence[Sequence[Any]], title: str = "WSI_Information") -> Path:
    book = openpyxl.Workbook()
    page = book.active
    assert page is not None
    page.title = title
    for row in rows:
        page.append(list(row))
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)
    return path


def bracs_sheet(path: Path) -> Path:
    seen = {(slide, patient, split) for split, _, _, slide, patient in roi_names()}
    header = ("WSI Filename", "Patient Id", "RoI ", "WSI label", "Set")
    return sheet(
        path, [header, *((f"BRACS_{slide}", who, "Yes", "PB", SETS[split]) for slide, who, split in sorted(seen))]
    )


def crc_names() -> dict[str, int]:
    with resources.files("histoseek.datasets").joinpath("facts/extended_crc_folds.csv").open() as stream:
        return {row["Image_Names"]: int(row["Fold_Ids"]) for row in csv.DictReader(stream)}


def old_rows() -> list[dict[str, str]]:
    with (DATA / "crc_grading_old_set.csv").open() as stream:
        return list(csv.DictReader(stream))


def old_name(row: dict[str, str]) -> str:
    grade = {"1": "Normal", "2": "Low-Grade", "3": "High-Grade"}[row["grade"]]
    return f"{row['stem']}_{grade}.png"


def bach_files() -> list[str]:
    lines = (DATA / "bach_microscopy_ground_truth.csv").read_text().splitlines()
    return [f"Photos/{label}/{name}" for name, label in (line.split(",") for line in lines)]


@pytest.fixture
def plant() -> Callable[[Path, Iterable[str]], Path]:
    return plant_files


@pytest.fixture
def trees() -> Any:
    """This module, for its name lists and table writers."""
    import types

    return types.SimpleNamespace(**{name: value for name, value in globals().items() if not name.startswith("_")})


@pytest.fixture(scope="session")
def bracs_latest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole RoI set under the folders that `wget -r` leaves, with BRACS.xlsx at its root."""
    root = tmp_path_factory.mktemp("bracs") / "histoimage.na.icar.cnr.it"
    plant_files(root / "BRACS_RoI" / "latest_version", roi_files())
    bracs_sheet(root / "BRACS.xlsx")
    return root


@pytest.fixture(scope="session")
def bach(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bach") / "ICIAR2018_BACH_Challenge"
    plant_files(root, bach_files())
    (root / "Photos/microscopy_ground_truth.csv").write_bytes(
        (DATA / "bach_microscopy_ground_truth.csv").read_bytes().replace(b"\n", b"\r\n")
    )
    return root


@pytest.fixture(scope="session")
def crc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("crc")
    plant_files(root / "Extended_CRC" / "Original_Images", crc_names())
    return root
