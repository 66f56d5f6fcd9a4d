"""Names of the CRC grading sets: what each scheme says about an image."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

Scheme = Literal["extended", "old", "tia", "folder"]

SHIFT = 140
"""Patient p of the older set is patient p + 140 of the extended set."""

_RENUMBERED = {(149, 2): 1}
"""The one field that kept its image and changed its number: Patient_009_02 is Grade3_Patient_149_1."""
_DROPPED = {(145, 3), (149, 1)}
"""Fields of the older set that the extended one left out: Patient_005_03 and Patient_009_01."""

_EXTENDED = re.compile(
    r"(?P<stem>Grade(?P<grade>[123])_Patient_(?P<patient>\d{3})_(?:\d{6}_\d{6}|\d{1,2}))\.png", re.IGNORECASE
)
_OLD = re.compile(
    r"Patient_(?P<patient>\d{3})_(?P<field>\d{2})_(?P<grade>Normal|Low-Grade|High-Grade)\.png", re.IGNORECASE
)
_TIA = re.compile(
    r"(?P<slide>(?P<case>H\d{2}-\d{4,6})_[AB]\d+H(?:_|&)E)_\d+_\d+_grade_(?P<grade>[123])(?:_\d+_\d+(?:_\d+)?)?(?:\.png)?",
    re.IGNORECASE,
)
_OLD_GRADES = {"normal": 1, "low-grade": 2, "high-grade": 3}
_FOLD = re.compile(r"fold_?([123])", re.IGNORECASE)
_CLASS = re.compile(r"([123])_(?:normal|low_grade|high_grade)", re.IGNORECASE)


@dataclass(frozen=True)
class NamedImage:
    """One file and what its name and folders say; `grade` is None for a file of something else.

    `patient` is the extended set's number; `canonical` the image's name there, "" when it has none. `folder_fold`
    counts from 0, as the published folds do.
    """

    file: str
    name: str
    scheme: Scheme
    grade: int | None
    patient: int | None = None
    canonical: str = ""
    case: str | None = None
    slide: str | None = None
    folder_grade: int | None = None
    folder_fold: int | None = None


def read_name(file: str) -> NamedImage:
    """Read a relative path by the first naming scheme that fits."""
    path = PurePosixPath(file)
    grade, fold = _folder_number(path, _CLASS), _folder_number(path, _FOLD)
    fold = None if fold is None else fold - 1
    if match := _EXTENDED.fullmatch(path.name):
        own, patient = int(match["grade"]), int(match["patient"])
        return NamedImage(file, path.name, "extended", own, patient, path.name, None, None, grade, fold)
    if match := _OLD.fullmatch(path.name):
        own, patient = _OLD_GRADES[match["grade"].lower()], int(match["patient"]) + SHIFT
        canonical = _canonical(own, patient, int(match["field"]))
        return NamedImage(file, path.name, "old", own, patient, canonical, None, None, grade, fold)
    if match := _TIA.fullmatch(path.name):
        case, slide = match["case"].upper(), match["slide"]
        return NamedImage(file, path.name, "tia", int(match["grade"]), None, "", case, slide, grade, fold)
    return NamedImage(file, _placed_name(path), "folder", grade, None, "", None, None, grade, fold)


def _canonical(grade: int, patient: int, field: int) -> str:
    if (patient, field) in _DROPPED:
        return ""
    return f"Grade{grade}_Patient_{patient}_{_RENUMBERED.get((patient, field), field)}.png"


def _folder_number(path: PurePosixPath, pattern: re.Pattern[str]) -> int | None:
    numbers = [int(match[1]) for part in path.parts[:-1] if (match := pattern.fullmatch(part))]
    return numbers[-1] if numbers else None


def _placed_name(path: PurePosixPath) -> str:
    """A name that its own file does not make unique: with its fold and class folders."""
    kept = [part for part in path.parts[:-1] if _FOLD.fullmatch(part) or _CLASS.fullmatch(part)]
    return "/".join([*kept, path.name])
