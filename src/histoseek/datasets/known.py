"""The table of datasets: built-ins, and those of other packages through entry points."""

from __future__ import annotations

import difflib
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from histoseek.datasets.dataset import Dataset
from histoseek.errors import InputError

ENTRY_POINTS = "histoseek.datasets"

BUILT_IN = {
    "bach": "histoseek.datasets.bach",
    "bracs": "histoseek.datasets.bracs",
    "breakhis": "histoseek.datasets.breakhis",
    "crc": "histoseek.datasets.crc",
    "csv": "histoseek.datasets.csv_file",
    "folder": "histoseek.datasets.folder",
    "nct-crc": "histoseek.datasets.nct_crc",
    "slides": "histoseek.datasets.slides",
}
"""Name → module whose `DATASET` describes it: a new dataset is one file and one line."""

ALIASES = {"batch": "bach", "extended-crc": "crc", "nct-crc-he-100k": "nct-crc"}


def dataset_names() -> tuple[str, ...]:
    """Names that `prepare` takes, without aliases."""
    return tuple(sorted({*BUILT_IN, *_from_outside()}))


def find_dataset(name: str) -> Dataset:
    """Look a dataset up by its name or alias, in any case.

    Raises:
        InputError: no such dataset, or an entry point that gives none.
    """
    wanted = name.strip().lower().replace("_", "-")
    wanted = ALIASES.get(wanted, wanted)
    if wanted in BUILT_IN:
        dataset: Dataset = import_module(BUILT_IN[wanted]).DATASET
        return dataset
    outside = _from_outside()
    if wanted in outside:
        return _loaded(outside[wanted])
    known = dataset_names()
    close = difflib.get_close_matches(wanted, [*known, *ALIASES], n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known are: {', '.join(known)}"
    raise InputError(
        f"there is no dataset {name!r}; {hint} Any other folder of images can be read with 'folder' or 'csv'"
    )


def _from_outside() -> dict[str, EntryPoint]:
    return {point.name.lower(): point for point in entry_points(group=ENTRY_POINTS)}


def _loaded(point: EntryPoint) -> Dataset:
    try:
        found = point.load()
    except (ImportError, AttributeError) as error:
        raise InputError(f"dataset {point.name!r} ({point.value}) cannot be loaded: {error}") from error
    if not isinstance(found, Dataset):
        raise InputError(f"the entry point {point.name!r} ({point.value}) gives no histoseek.datasets.Dataset")
    return found
