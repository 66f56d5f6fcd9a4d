"""Drawn whole slides: tiled pyramids that OpenSlide and tifffile read, with kinds of tissue at known places."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from histoseek.errors import InputError, needs_extra
from histoseek.items import written_whole
from histoseek.phantom.field import Field, draw_field
from histoseek.phantom.files import SYNTHETIC
from histoseek.phantom.kinds import KINDS
from histoseek.phantom.patient import Patient, patients

TILE = 256
TABLE_NAME, TRUTH_NAME = "slides.csv", "truth.json"


def write_slide(path: str | Path, picture: NDArray[np.uint8], mpp: float | None, steps: Sequence[int] = (4, 4)) -> Path:
    """Write an RGB picture `[H, W, 3]` as a tiled JPEG pyramid; each level is smaller than the last by a step.

    Without steps it has one level; without `mpp` its resolution tag is the placeholder of 1 000 µm per pixel that some
    converters leave.

    Raises:
        MissingExtraError: the extra `slides` is not installed.
    """
    with needs_extra("slides"):
        from tifffile import TiffWriter
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    per_cm = 10_000 / (mpp or 1_000)
    how: dict[str, Any] = {"tile": (TILE, TILE), "photometric": "rgb", "compression": "jpeg", "metadata": None}
    how |= {"compressionargs": {"level": 90}, "resolutionunit": "CENTIMETER"}
    with TiffWriter(target, bigtiff=picture.nbytes > 2**31) as writer:
        shrink = 1
        for number, level in enumerate(_levels(picture, steps)):
            shrink *= 1 if number == 0 else steps[number - 1]
            scale = (per_cm / shrink, per_cm / shrink)
            kind = {"description": SYNTHETIC} if number == 0 else {"subfiletype": 1}
            writer.write(level, resolution=scale, **kind, **how)
    return target


def write_slides(
    out_dir: str | Path, n_patients: int = 4, slides_each: int = 2, seed: int = 0, size: tuple[int, int] = (3072, 2048)
) -> Path:
    """Write drawn slides into a new folder and give it back: `P01/P01_S1.tif` and so on, `slides.csv`, `truth.json`.

    Slide s of a patient shows two kinds of tissue that stand side by side in no other slide of that patient, and that
    one slide of another patient shows too: its sibling. `truth.json` holds for each slide its patient, its label (the
    kinds), mpp and regions (kind and box in level-0 pixels); `slides.csv` patient and label for `prepare`.

    Raises:
        InputError: the folder holds something already, or a number is below 1.
        MissingExtraError: the extra `slides` is not installed.
    """
    folder = Path(out_dir)
    if n_patients < 1 or slides_each < 1:
        raise InputError("a sample of slides needs at least one patient with one slide")
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty; give a new folder for the slides")
    truth = {}
    for number, patient in enumerate(patients(n_patients, seed)):
        for nth in range(slides_each):
            kinds = _kinds_of(number, nth, slides_each)
            mpp = patient.scanner.mpp
            field = draw_field(*size, mpp, patient, seed * 7919 + number * 101 + nth, kinds)
            name = f"{patient.id}/{patient.id}_S{nth + 1}.tif"
            write_slide(folder / name, field.picture, mpp)
            truth[name] = _truth_of(field, patient, kinds)
    rows = [("file", "patient", "label"), *((name, one["patient"], one["label"]) for name, one in truth.items())]
    with written_whole(folder / TABLE_NAME) as draft, draft.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    with written_whole(folder / TRUTH_NAME) as draft:
        draft.write_text(json.dumps(truth, indent=1), encoding="utf-8")
    return folder


def _kinds_of(number: int, nth: int, slides_each: int) -> tuple[str, str]:
    """The two kinds on slide `nth` of patient `number`: patients 0 and 1 show the same ones, 2 and 3 others."""
    first = 2 * (number // 2 * slides_each + nth)
    return KINDS[first % len(KINDS)], KINDS[(first + 1) % len(KINDS)]


def _truth_of(field: Field, patient: Patient, kinds: tuple[str, str]) -> dict[str, Any]:
    regions = [{"kind": region.kind, "box": list(region.box)} for region in field.regions]
    return {"patient": patient.id, "label": " and ".join(kinds), "mpp": patient.scanner.mpp, "regions": regions}


def _levels(picture: NDArray[np.uint8], steps: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
    yield picture
    for step in steps:
        image = Image.fromarray(picture)
        smaller = (max(1, image.width // step), max(1, image.height // step))
        picture = np.asarray(image.resize(smaller, Image.Resampling.BOX))
        yield picture
