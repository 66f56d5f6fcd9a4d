"""A row of a user's table as fields of an item, with what does not fit a field kept beside."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from histoseek.datasets.grouping import group_rows
from histoseek.datasets.tables import CsvTable
from histoseek.errors import InputError
from histoseek.items import MPP_RANGE, Box, Item, Value

TEXT_FIELDS = ("label", "slide", "case", "split", "caption", "mpp_source", "group_source")
BOX_FIELDS = ("box_x", "box_y", "box_width", "box_height")
MEASURED = ("width", "height", "sha256", "dataset")
"""Columns of a manifest that are found out anew; a user's own are not taken over."""

FIELDS = ("id", "path", *TEXT_FIELDS, "group", "fold", "mpp", *BOX_FIELDS)
"""What a column can be mapped to."""

_INTEGER = re.compile(r"0|-?[1-9]\d{0,17}")
_REAL = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")


@dataclass(frozen=True)
class ItemRow:
    """Fields that one row gives an item; `cells` are its further columns as text, `extra` the same with types."""

    fields: Mapping[str, Any]
    cells: Mapping[str, str]
    extra: Mapping[str, Value] = field(default_factory=dict)

    def onto(self, item: Item) -> Item:
        """The item with this row's fields in place of its own."""
        return replace(item, **self.fields, extra={**item.extra, **self.extra})


def item_rows(
    table: CsvTable, mapping: Mapping[str, str], path_column: str, images: Sequence[str]
) -> tuple[list[ItemRow], list[str]]:
    """Read all rows with types and groups, and a note on rows without a group of their own.

    `images` is the path of each row's image, "" for a row that is left out.
    """
    rows = [{column: text for column, text in cells.items() if column != path_column} for _, cells in table.rows]
    places = [f"{table.name}, row {line}" for line, _ in table.rows]
    groups, notes = group_rows(rows, mapping, images)
    read = typed(item_row(row, mapping, where) for row, where in zip(rows, places, strict=True))
    grouped = [
        replace(row, fields={**row.fields, "group": group[0], "group_source": group[1]}) if group else row
        for row, group in zip(read, groups, strict=True)
    ]
    return grouped, notes


def item_row(row: Mapping[str, str], mapping: Mapping[str, str], where: str) -> ItemRow:
    """Read a row but its group; `mapping` is field → column, and a column named like a field is that field.

    Empty cells say nothing, and a scale outside the possible counts as unknown. `where` names table and row in
    messages.

    Raises:
        InputError: a cell that is no number where one is needed, or half a box.
    """
    columns = {field: mapping.get(field, field) for field in FIELDS}
    fields: dict[str, Any] = {field: row[columns[field]] for field in TEXT_FIELDS if row.get(columns[field])}
    fields.pop("group_source", None)  # it says what a group is, and groups are found over all rows
    if (fold := row.get(columns["fold"])) and (number := _number(fold, columns["fold"], where)) is not None:
        fields["fold"] = int(number)
    if value := row.get(columns["mpp"]):
        fields.update(_scale(_number(value, columns["mpp"], where), fields.get("mpp_source", "table")))
    else:
        fields.pop("mpp_source", None)
    if box := _box(row, columns, where):
        fields["box"] = box
    used = {*columns.values(), *MEASURED}
    return ItemRow(fields, {name: text for name, text in row.items() if name not in used})


def typed(rows: Iterable[ItemRow]) -> list[ItemRow]:
    """Give every further column one type: numbers only where all its cells are numbers."""
    kept = list(rows)
    names = dict.fromkeys(name for row in kept for name in row.cells)
    readers = {name: _reader([row.cells.get(name) for row in kept]) for name in names}
    return [replace(row, extra={name: readers[name](text) for name, text in row.cells.items()}) for row in kept]


def _scale(mpp: float, source: str) -> dict[str, Any]:
    low, high = MPP_RANGE
    return {"mpp": mpp, "mpp_source": source} if low <= mpp <= high else {}


def _box(row: Mapping[str, str], columns: Mapping[str, str], where: str) -> Box | None:
    given = [name for name in BOX_FIELDS if row.get(columns[name])]
    if not given:
        return None
    if len(given) < len(BOX_FIELDS):
        lacking = next(name for name in BOX_FIELDS if name not in given)
        raise InputError(f"{where}: a box needs all four of {', '.join(BOX_FIELDS)}, and {lacking!r} is empty")
    box = Box(*(int(_number(row[columns[name]], columns[name], where)) for name in BOX_FIELDS))
    if box.x < 0 or box.y < 0 or box.width < 1 or box.height < 1:
        raise InputError(f"{where}: the box {tuple(box)} starts outside the image or is empty")
    return box


def _number(text: str, column: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise InputError(f"{where}, column {column!r}: {text!r} is no number; leave it empty when unknown") from None
    if not math.isfinite(number):
        raise InputError(f"{where}, column {column!r}: {text!r} is no number; leave it empty when unknown")
    return number


def _reader(values: list[str | None]) -> Callable[[str | None], Value]:
    """The narrowest type that fits every cell of a column; numbers with leading zeros are names."""
    cells = [value for value in values if value]
    if cells and all(value.lower() in ("true", "false") for value in cells):
        return lambda value: value.lower() == "true" if value else None
    if cells and all(_INTEGER.fullmatch(value) for value in cells):
        return lambda value: int(value) if value else None
    if cells and all(_REAL.fullmatch(value) for value in cells):
        return lambda value: float(value) if value else None
    return lambda value: value or None
