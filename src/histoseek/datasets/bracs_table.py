"""BRACS.xlsx: which patient a slide is from, and the split it belongs to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from histoseek.datasets.tables import heading, read_sheets, whole
from histoseek.datasets.walk import Walk
from histoseek.errors import InputError

NAME = "BRACS.xlsx"
N_PARENTS = 5
"""The table lies at the server's root, up to five folders above the images."""

_SLIDE = re.compile(r"(?:BRACS_)?(\d+)(?:\.svs)?", re.IGNORECASE)
_SETS = {"training": "train", "train": "train", "validation": "val", "val": "val", "testing": "test", "test": "test"}
_HEADER_ROWS = 5


@dataclass(frozen=True)
class SlideTable:
    """Slide number → patient and split; numbers are compared as integers (`BRACS_010` is slide 10)."""

    name: str
    patients: dict[int, int | str]
    splits: dict[int, str]


def find_slide_table(source: Path, tree: Walk, given: Path | None) -> tuple[SlideTable | None, list[str]]:
    """Read the table that was given, or that lies in the folder or above it; with a line that says which.

    Raises:
        InputError: the given table does not exist, or a table cannot be read.
    """
    if given is not None:
        places = [place for place in (source / given, given) if place.is_file()]
        if not places:
            raise InputError(f"there is no {given}, neither in {source} nor from here; check -o xlsx=")
    else:
        places = [source / file for file in tree.named(NAME)]
        places += [above / NAME for above in source.absolute().parents[:N_PARENTS] if (above / NAME).is_file()]
    if not places:
        return None, []
    table = read_slide_table(places[0])
    return table, [f"patients come from {places[0]} ({len(set(table.patients.values()))} of them)"]


def read_slide_table(path: Path) -> SlideTable:
    """Read patients and splits from the sheet that has them, whatever its header looks like.

    Raises:
        InputError: no Excel file, or no sheet with slides and patients.
    """
    for rows in read_sheets(path).values():
        columns = _columns(rows)
        if columns is not None:
            return _table(path, rows, *columns)
    raise InputError(f"{path} has no sheet with the columns 'WSI Filename' and 'Patient Id'; is it the official table?")


def _columns(rows: list[list[Any]]) -> tuple[int, int, int | None] | None:
    """Places of slide, patient and set; the header may be any of the first rows."""
    for row in rows[:_HEADER_ROWS]:
        names = [heading(cell) for cell in row]
        slide = next((names.index(name) for name in ("wsifilename", "wsi", "filename") if name in names), None)
        patient = next((names.index(name) for name in ("patientid", "patient") if name in names), None)
        if slide is not None and patient is not None:
            return slide, patient, names.index("set") if "set" in names else None
    return None


def _table(path: Path, rows: list[list[Any]], slide: int, patient: int, set_: int | None) -> SlideTable:
    patients: dict[int, int | str] = {}
    splits: dict[int, str] = {}
    for number, row in enumerate(rows, start=1):
        match = _SLIDE.fullmatch(str(row[slide] if slide < len(row) else "").strip())
        who = row[patient] if patient < len(row) else None
        if match is None or who is None or not str(who).strip():
            continue
        key, value = int(match[1]), whole(who)
        value_or_text = str(who).strip() if value is None else value
        if patients.setdefault(key, value_or_text) != value_or_text:
            raise InputError(
                f"{path}, row {number}: slide BRACS_{key} belongs to patient {value_or_text}, "
                f"and in a row above to {patients[key]}; correct the table"
            )
        named = str(row[set_]).strip().casefold() if set_ is not None and set_ < len(row) else ""
        if named in _SETS:
            splits[key] = _SETS[named]
    return SlideTable(path.name, patients, splits)
