"""Who is on a BACH photo, as far as is known, and the published ways to divide the photos by patient."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from histoseek.datasets.tables import blocks, read_fact, read_sheets, whole
from histoseek.datasets.walk import Walk, name_of
from histoseek.errors import InputError

Protocol = Literal["eva", "patients", "none"]

FACTS = "bach_photo_patients.csv"
N_CLASS = 100
PREFIXES = ("b", "is", "iv", "n")
"""In the order of the class folders, which is the order of EVA's indices."""

EVA_TEST = ((41, 59), (60, 90), (139, 169), (240, 258), (260, 273), (345, 368))
"""Half-open index ranges that kaiko-ai/eva calls val; every photo in them has a known patient."""

N_HELD_OUT = 54
"""Photos in each of val and test of the protocol "patients", out of 400."""

N_DEALS = 400
"""Dealings of patients that are tried, to fill val and test exactly and with every class."""

_NAME = re.compile(r"((?:n|b|is|iv)\d{3})(?:\.tiff?)?", re.IGNORECASE)


@dataclass(frozen=True)
class Patients:
    """Official photo name (`b032.tif`) → patient number; photos that are not in it are unidentified."""

    of: dict[str, int]


def unknown_patients() -> Patients:
    """The table to use when photos cannot be joined to the official names."""
    return Patients({})


def find_patients(source: Path, tree: Walk) -> tuple[Patients, list[str]]:
    """The challenge's own patient table when it lies in the folder, else the one that ships with Histoseek."""
    built_in = {row["file_name"]: int(row["patient_id"]) for row in read_fact(FACTS)}
    books = [file for file in tree.with_suffix({".xlsx"}) if "patient" in name_of(file).lower()]
    if not books:
        return Patients(built_in), [f"patients of {len(built_in)} photos come from the table built in (datasets/facts)"]
    found = read_patients(source / books[0])
    differing = sorted(name for name in built_in.keys() | found.keys() if built_in.get(name) != found.get(name))
    notes = [f"patients of {len(found)} photos come from {name_of(books[0])}"]
    if differing:
        notes.append(f"it differs from the published table on {len(differing)} photos ({differing[0]}, …): it counts")
    return Patients(found), notes


def read_patients(path: Path) -> dict[str, int]:
    """Read the official sheet, whose tables (file name, label, patient) stand side by side.

    Raises:
        InputError: no Excel file, or none of its cells names a photo.
    """
    found: dict[str, int] = {}
    n_names = 0
    for rows in read_sheets(path).values():
        for row in rows:
            for name, _, patient in blocks(row, 3):
                match = _NAME.fullmatch(str(name or "").strip())
                n_names += match is not None
                if match and (number := whole(patient)) is not None:
                    found[f"{match[1].lower()}.tif"] = number
    if not n_names:
        raise InputError(f"{path} names no photo such as b001.tif; is it ICIAR2018_BACH_dataset_micro_patient.xlsx?")
    return found


def split_of(patients: Patients, protocol: Protocol, seed: int) -> dict[str, str]:
    """Official photo name → split under a protocol; the key "" is the split of every other photo."""
    if protocol == "none":
        return {}
    if not patients.of:
        return {"": "train"}
    held = _eva() if protocol == "eva" else _by_patients(patients, seed)
    return {"": "train", **held}


def _eva() -> dict[str, str]:
    indices = (index for start, stop in EVA_TEST for index in range(start, stop))
    return {f"{PREFIXES[index // N_CLASS]}{index % N_CLASS + 1:03d}.tif": "test" for index in indices}


def _by_patients(patients: Patients, seed: int) -> dict[str, str]:
    """Deal identified patients whole into val and test; the best of many reproducible dealings."""
    photos: dict[int, list[str]] = defaultdict(list)
    for name, patient in sorted(patients.of.items()):
        photos[patient].append(name)
    deals = (_deal(photos, f"{seed}:{number}") for number in range(N_DEALS))
    return min(deals, key=_shortfall)


def _deal(photos: dict[int, list[str]], key: str) -> dict[str, str]:
    """Fill test, then val, with patients in an order drawn from `key`."""
    order = sorted(photos, key=lambda patient: hashlib.sha256(f"{key}:{patient}".encode()).digest())
    held: dict[str, str] = {}
    room = {"test": N_HELD_OUT, "val": N_HELD_OUT}
    for patient in order:
        split = next((name for name in room if len(photos[patient]) <= room[name]), None)
        if split is not None:
            room[split] -= len(photos[patient])
            held.update(dict.fromkeys(photos[patient], split))
    return held


def _shortfall(held: dict[str, str]) -> tuple[int, int]:
    """Photos lacking in val and test, then how far their smallest class is from a quarter."""
    lacking = 2 * N_HELD_OUT - len(held)
    smallest = min(
        sum(split == name and photo[:-7] == prefix for photo, split in held.items())
        for name in ("val", "test")
        for prefix in PREFIXES
    )
    return lacking, -smallest
