"""A table beside the images that says more about each of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from histoseek.datasets.columns import ItemRow, item_rows
from histoseek.datasets.tables import CsvTable, read_csv
from histoseek.datasets.walk import Walk, name_of
from histoseek.errors import InputError
from histoseek.items import Item

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


def with_sidecar(items: Sequence[Item], source: Path, tree: Walk, sidecar: Path | None) -> tuple[list[Item], list[str]]:
    """Join a table to the items; without one, tell of tables that lie there and were not read.

    Raises:
        InputError: no such table, or one that fits none of the items.
    """
    if sidecar is None:
        return list(items), list(_unused_tables(source, tree))
    return _joined(items, _read_rows(source, sidecar))


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


def _joined(items: Sequence[Item], rows: _Rows) -> tuple[list[Item], list[str]]:
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
