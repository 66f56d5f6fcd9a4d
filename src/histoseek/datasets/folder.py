"""Any folder of images: class sub-folders or flat, groups by a pattern or from a table beside the images."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from histoseek.datasets.columns import ItemRow, item_rows
from histoseek.datasets.dataset import Dataset, Scan
from histoseek.datasets.tables import CsvTable, read_csv
from histoseek.datasets.walk import IMAGE_SUFFIXES, Walk, name_of, walk
from histoseek.errors import InputError
from histoseek.imaging import SLIDE_SUFFIXES
from histoseek.items import Item

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
FILE_COLUMNS = ("file", "path", "filename", "image")


@dataclass(frozen=True)
class _Rows:
    """The sidecar's rows by the file they name, with the line number."""

    name: str
    by_file: dict[str, tuple[int, ItemRow]]
    by_name: dict[str, list[str]]
    notes: list[str]

    def of(self, file: str) -> str | None:
        """The key of a file's row: its relative path, else its name where the table has that name once."""
        if file in self.by_file:
            return file
        keys = self.by_name.get(name_of(file), [])
        return keys[0] if len(keys) == 1 and "/" not in keys[0] else None


def scan(
    source: Path,
    *,
    group: str | None = None,
    sidecar: Path | None = None,
    label: Literal["folder", "none"] = "folder",
    dataset: str = "folder",
) -> Scan:
    """Find every image; the first folder that tells images apart is the label, train/val/test folders the split.

    `group` is a regular expression over the relative path whose group `group`, else its first one, is the patient or
    case; `sidecar` is a CSV with a column `file` and any of label, group, patient, case, slide, split, fold, mpp,
    caption, whose other columns are kept too; `dataset` is what the dataset and its ids shall be called.
    """
    tree = walk(source)
    files = tree.with_suffix(IMAGE_SUFFIXES | SLIDE_SUFFIXES)
    items = _items(files, dataset, label)
    notes = list(_layout_notes(items, label))
    if group is not None:
        items, more = _grouped(items, _pattern(group))
        notes += more
    if sidecar is not None:
        items, more = _joined(items, _read_rows(source, sidecar))
        notes += more
    else:
        notes += _unused_tables(source, tree)
    return Scan(items, tree.skipped, notes)


def _items(files: list[str], name: str, label: str) -> list[Item]:
    folders = [[part for part in PurePosixPath(file).parts[:-1] if part.lower() not in SPLITS] for file in files]
    shared = _n_shared(folders)
    labels = [rest[shared] if label == "folder" and len(rest) > shared else None for rest in folders]
    return [
        Item(id=f"{name}/{file}", path=file, dataset=name, label=found, split=_split(file))
        for file, found in zip(files, labels, strict=True)
    ]


def _n_shared(folders: list[list[str]]) -> int:
    """How many folders all files share: nesting that tells nothing apart."""
    first, last = min(folders, default=[]), max(folders, default=[])
    return next(
        (i for i, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), min(len(first), len(last))
    )


def _split(file: str) -> str | None:
    return next((SPLITS[part.lower()] for part in PurePosixPath(file).parts[:-1] if part.lower() in SPLITS), None)


def _layout_notes(items: list[Item], label: str) -> Iterator[str]:
    n_unknown = sum(item.label is None for item in items)
    if label == "folder" and items and n_unknown == len(items):
        yield "no class sub-folders: images have no label; give labels with -o sidecar=TABLE.csv"
    elif label == "folder" and n_unknown:
        yield f"{n_unknown} images lie beside the class folders: they have no label"
    n_unsplit = sum(item.split is None for item in items)
    if 0 < n_unsplit < len(items):
        yield f"{n_unsplit} images lie outside the train, val and test folders: they have no split"


def _pattern(text: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise InputError(f"option 'group' is {text!r}, which is no regular expression: {error}") from error
    if not pattern.groups:
        raise InputError(f"option 'group' is {text!r}; put brackets around what names the patient, as in '(P\\d+)_'")
    return pattern


def _grouped(items: list[Item], pattern: re.Pattern[str]) -> tuple[list[Item], list[str]]:
    which: str | int = "group" if "group" in pattern.groupindex else 1
    matches = [pattern.search(item.path) for item in items]
    found = [match[which] if match else None for match in matches]
    if items and not any(found):
        raise InputError(f"the group pattern {pattern.pattern!r} fits no path; the first path is {items[0].path!r}")
    grouped = [
        replace(item, group=value, group_source="pattern") if value else item
        for item, value in zip(items, found, strict=True)
    ]
    unfit = sum(not value for value in found)
    note = f"{unfit} paths do not fit the group pattern: each is a group of its own"
    return grouped, [note] if unfit else []


def _read_rows(source: Path, sidecar: Path) -> _Rows:
    places = [place for place in (source / sidecar, sidecar) if place.is_file()]
    if not places:
        raise InputError(f"there is no sidecar {sidecar}, neither in {source} nor from here")
    table = read_csv(places[0])
    column = next((name for name in FILE_COLUMNS if name in table.columns), None)
    if column is None:
        raise InputError(f"{table.name} has no column 'file'; its columns are: {', '.join(table.columns)}")
    return _rows_of(table, column)


def _rows_of(table: CsvTable, column: str) -> _Rows:
    keys = [row[column].replace("\\", "/").removeprefix("./") for _, row in table.rows]
    read, notes = item_rows(table, {}, column, keys)
    by_file: dict[str, tuple[int, ItemRow]] = {}
    by_name: dict[str, list[str]] = {}
    for (line, _), key, found in zip(table.rows, keys, read, strict=True):
        if key in by_file:
            raise InputError(f"{table.name}, row {line}: {key!r} stands in row {by_file[key][0]} already")
        by_file[key] = line, found
        by_name.setdefault(name_of(key), []).append(key)
    return _Rows(table.name, by_file, by_name, notes)


def _joined(items: list[Item], rows: _Rows) -> tuple[list[Item], list[str]]:
    keys = [rows.of(item.path) for item in items]
    used = {key for key in keys if key is not None}
    if items and not used:
        first = next(iter(rows.by_file), "nothing")
        raise InputError(
            f"{rows.name} names none of the images: it says {first!r}, the first image is {items[0].path!r}"
        )
    joined = [item if key is None else rows.by_file[key][1].onto(item) for item, key in zip(items, keys, strict=True)]
    notes = list(rows.notes)
    if missing := len(items) - sum(key is not None for key in keys):
        notes.append(f"{missing} images are not in {rows.name}")
    if extra := sorted(set(rows.by_file) - used):
        notes.append(f"{len(extra)} rows of {rows.name} name no image here ({extra[0]}, …)")
    return joined, notes


def _unused_tables(source: Path, tree: Walk) -> Iterator[str]:
    for file in tree.with_suffix({".csv"}):
        if "/" not in file and any(name in read_csv(source / file).columns for name in FILE_COLUMNS):
            yield f"{file} lies beside the images and was not read; take it with -o sidecar={file}"


DATASET = Dataset(
    name="folder",
    title="Folder of images",
    licence="yours",
    source="",
    about="any images in class sub-folders or flat, with groups by a pattern or a table",
    looks_for="images (.png .jpg .tif .bmp .webp), flat or in class sub-folders",
    scan=scan,
)
