"""A sample on disk: drawn tissue lying as a user's own folder would."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from histoseek.errors import InputError
from histoseek.items import written_whole
from histoseek.phantom.files import write_picture
from histoseek.phantom.kinds import DESCRIPTIONS, KINDS
from histoseek.phantom.patient import Patient, patients
from histoseek.phantom.picture import draw

TABLE_NAME = "patients.csv"
README = """synthetic tissue, drawn by histoseek.phantom

Every picture in this folder was computed; none shows a person's tissue. One folder a kind of tissue, and in
patients.csv one row a picture: file, patient, scale in um per pixel (mpp), scanner, caption.
"""


class Row(NamedTuple):
    """One row of the table beside the pictures; `file` is relative to the folder, with forward slashes."""

    file: str
    patient: str
    mpp: float
    scanner: str
    caption: str


class _Plan(NamedTuple):
    kind: str
    width: int
    height: int
    suffix: str


# A patient has this many of the kinds, so that none of them says by itself what a picture shows.
_KINDS_EACH = 6
# Widths and heights, as multiples of the usual side.
_TILES = ((1.0, 1.0), (1.0, 1.0), (1.0, 1.0), (1.05, 0.9), (0.92, 1.08))
_ROIS = ((3.125, 2.34), (2.0, 2.7), (2.67, 2.0), (3.3, 1.67))
_SUFFIXES = (".jpg", ".jpg", ".jpg", ".jpg", ".png", ".tif")


def write_sample(
    out_dir: str | Path, n_patients: int = 16, images_per_patient: int = 12, seed: int = 0, size: int = 384
) -> Path:
    """Write drawn tissue into an empty or new folder and give back that folder.

    Pictures are about `size` pixels wide and high and lie as `<kind>/P01_<kind>_03.png`, beside `patients.csv` and
    `README.txt`. Every fourth patient has one RoI on top of the `images_per_patient`, two to three times as wide. No
    patient has every kind among the smaller ones; with a multiple of eight patients each is there equally often.

    Raises:
        InputError: the folder holds something already, or a number is below 1.
    """
    folder = Path(out_dir)
    if n_patients < 1 or images_per_patient < 1 or size < 8:
        raise InputError("a sample needs at least one patient, one image for each, and a size of 8 pixels")
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty; give a new folder for the sample")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.txt").write_text(README, encoding="utf-8")
    rows: list[Row] = []
    for number, patient in enumerate(patients(n_patients, seed)):
        rng = np.random.default_rng([seed, number, 21])
        for order, plan in enumerate(_plans(number, images_per_patient, size, rng), start=1):
            rows.append(_write_one(folder, patient, order, plan, int(rng.integers(2**31))))
    write_rows(folder, rows)
    return folder


def _plans(number: int, count: int, size: int, rng: np.random.Generator) -> Iterator[_Plan]:
    """What one patient's pictures show, how large they are and in which format."""
    for order in range(count):
        kind = KINDS[(number + order % _KINDS_EACH) % len(KINDS)]
        width, height = _TILES[int(rng.integers(len(_TILES)))]
        yield _Plan(kind, round(width * size), round(height * size), _SUFFIXES[int(rng.integers(len(_SUFFIXES)))])
    if number % 4 == 0:
        width, height = _ROIS[number // 4 % len(_ROIS)]
        kind = KINDS[(number + number // 4) % len(KINDS)]
        yield _Plan(kind, round(width * size), round(height * size), ".jpg")


def _write_one(folder: Path, patient: Patient, order: int, plan: _Plan, seed: int) -> Row:
    name = f"{patient.id}_{plan.kind.replace(' ', '-')}_{order:02d}{plan.suffix}"
    mpp = patient.scanner.mpp
    path = folder / plan.kind / name
    write_picture(path, draw(plan.kind, plan.width, plan.height, mpp, patient, seed), mpp)
    return Row(f"{plan.kind}/{name}", patient.id, mpp, patient.scanner.name, caption_of(plan.kind))


def caption_of(kind: str) -> str:
    """Say what a picture of this kind shows, and that it is synthetic."""
    return f"Synthetic tissue: {DESCRIPTIONS[kind]}"


def read_rows(folder: Path) -> list[Row]:
    """Read the table beside the pictures; empty when there is none."""
    table = folder / TABLE_NAME
    if not table.is_file():
        return []
    with table.open(newline="", encoding="utf-8") as stream:
        cells = [[line[name] for name in Row._fields] for line in csv.DictReader(stream)]
    return [Row(file, patient, float(mpp), scanner, caption) for file, patient, mpp, scanner, caption in cells]


def write_rows(folder: Path, rows: Iterable[Row]) -> None:
    """Write the table beside the pictures."""
    with written_whole(folder / TABLE_NAME) as draft, draft.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(Row._fields)
        writer.writerows(rows)
