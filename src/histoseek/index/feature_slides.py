"""The slides that feature files belong to: their files, patients, labels and further columns."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import pyarrow as pa

from histoseek.datasets.columns import ItemRow, item_rows
from histoseek.datasets.tables import read_csv
from histoseek.errors import InputError
from histoseek.imaging import SLIDE_SUFFIXES, TIFF_SUFFIXES
from histoseek.items import Item, table_of

DATASET = "features"
COLUMNS = ("slide", "slide_id", "wsi", "file", "filename", "path")
"""Columns of a table that may name the slide, with or without a suffix."""

_SUFFIXES = SLIDE_SUFFIXES | TIFF_SUFFIXES | {".png", ".jpg", ".jpeg", ".h5"}
_COMPOUND = (".ome.tif", ".ome.tiff")


@dataclass(frozen=True)
class KnownSlides:
    """One item for each whole slide, by name; `root` is the folder that their paths start from."""

    root: Path
    items: Mapping[str, Item]
    with_file: frozenset[str]
    notes: tuple[str, ...]

    @property
    def table(self) -> pa.Table:
        """The slides as rows, with the columns that the index shall have."""
        return table_of(self.items.values())

    def has_file(self, item: Item) -> bool:
        """Whether the file of a slide was found."""
        return item.slide in self.with_file


def known_slides(
    source: Path, files: Sequence[Path], slides: Path | None, table: Path | None, group: str | None
) -> KnownSlides:
    """Tell what is known of the slide of each feature file, whose name is the slide's.

    A slide's group is its patient or case by `table`, else by the pattern `group`, else the slide itself.

    Raises:
        InputError: a table or pattern that cannot be used, or names none of the slides.
    """
    names = [path.stem for path in files]
    found, notes = _found(slides, names) if slides is not None else ({}, [])
    items = {
        name: Item(
            id=f"{DATASET}/{name}", path=found.get(name, name), dataset=DATASET, group=name, group_source="slide",
            slide=name,
        )
        for name in names
    }  # fmt: skip
    if group is not None:
        items, more = _grouped(items, group)
        notes += more
    if table is not None:
        items, more = _joined(items, table)
        notes += more
    if missing := len(names) - len(found):
        where = f"in {slides}" if slides is not None else "here: say where with --slides"
        told = "the file of 1 slide was" if missing == 1 else f"the files of {missing} slides were"
        notes.append(f"{told} not found {where}; pictures of such tiles cannot be shown")
    return KnownSlides((slides or source).resolve(), items, frozenset(found), tuple(notes))


def slide_name(cell: str) -> str:
    """A slide's name from a file name or path, with or without a suffix."""
    name = PurePosixPath(cell.replace("\\", "/")).name
    for suffix in _COMPOUND:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    place = PurePosixPath(name)
    return place.stem if place.suffix.lower() in _SUFFIXES else name


def _found(folder: Path, names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Relative paths of the slides below a folder, by name; a name that two files have is left out."""
    wanted = set(names)
    places: dict[str, list[str]] = defaultdict(list)
    for home, _, files in os.walk(folder):
        for file in files:
            if PurePosixPath(file).suffix.lower() in _SUFFIXES - {".h5"} and slide_name(file) in wanted:
                places[slide_name(file)].append((Path(home) / file).relative_to(folder).as_posix())
    found = {name: paths[0] for name, paths in places.items() if len(paths) == 1}
    several = sorted(name for name, paths in places.items() if len(paths) > 1)
    notes = [f"{name} names {len(places[name])} files below {folder}, and none was taken" for name in several]
    return found, notes


def _grouped(items: dict[str, Item], text: str) -> tuple[dict[str, Item], list[str]]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise InputError(f"--group is {text!r}, which is no regular expression: {error}") from error
    if not pattern.groups:
        raise InputError(f"--group is {text!r}; put brackets around what names the patient, as in '(P\\d+)_'")
    which: str | int = "group" if "group" in pattern.groupindex else 1
    matches = {name: pattern.search(name) for name in items}
    groups = {name: match[which] for name, match in matches.items() if match and match[which]}
    if not groups:
        raise InputError(f"--group {text!r} fits no slide; the first is {next(iter(items))!r}")
    grouped = {
        name: replace(item, group=groups[name], group_source="pattern") if name in groups else item
        for name, item in items.items()
    }
    n_unfit = len(items) - len(groups)
    return grouped, [f"{n_unfit} slides do not fit the group pattern: each is a group of its own"] if n_unfit else []


def _joined(items: dict[str, Item], path: Path) -> tuple[dict[str, Item], list[str]]:
    if not path.is_file():
        raise InputError(f"there is no table {path}")
    table = read_csv(path)
    column = next((name for name in COLUMNS if name in table.columns), None)
    if column is None:
        raise InputError(f"{path} has no column 'slide'; its columns are: {', '.join(table.columns)}")
    names = [slide_name(row[column]) for _, row in table.rows]
    read, notes = item_rows(table, {}, column, names)
    rows: dict[str, ItemRow] = {}
    for (line, _), name, row in zip(table.rows, names, read, strict=True):
        if name in rows:
            raise InputError(f"{path}, row {line}: {name!r} stands in it already; give one row a slide")
        rows[name] = row
    if not set(rows) & set(items):
        raise InputError(
            f"{path} names none of the slides: it says {next(iter(rows), 'nothing')!r}, the first file is "
            f"{next(iter(items))!r}"
        )
    joined = {name: _with_row(item, rows[name]) if name in rows else item for name, item in items.items()}
    if n_missing := len(set(items) - set(rows)):
        notes = [*notes, f"{n_missing} slides are not in {path.name}"]
    return joined, list(notes)


def _with_row(item: Item, row: ItemRow) -> Item:
    """The slide with its row; what the row says of places inside a slide does not count, and no group means its own."""
    joined = replace(row.onto(item), slide=item.slide, box=None)
    if joined.group_source != "image":
        return joined
    return replace(joined, group=item.group, group_source=item.group_source)
