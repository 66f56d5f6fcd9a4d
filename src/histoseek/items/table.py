"""Items as rows of an Arrow table, and the checks every such table passes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from histoseek.errors import InputError
from histoseek.items.item import Box, Item

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("dataset", pa.string()),
        pa.field("label", pa.string()),
        pa.field("group", pa.string()),
        pa.field("group_source", pa.string()),
        pa.field("slide", pa.string()),
        pa.field("case", pa.string()),
        pa.field("split", pa.string()),
        pa.field("fold", pa.int32()),
        pa.field("box_x", pa.int64()),
        pa.field("box_y", pa.int64()),
        pa.field("box_width", pa.int64()),
        pa.field("box_height", pa.int64()),
        pa.field("mpp", pa.float64()),
        pa.field("mpp_source", pa.string()),
        pa.field("width", pa.int64()),
        pa.field("height", pa.int64()),
        pa.field("sha256", pa.string()),
        pa.field("caption", pa.string()),
    ]
)
"""The columns of every manifest; a user's own columns follow them."""

MPP_RANGE = (0.05, 20.0)
"""Resolutions outside are placeholders (72 dpi is 353 µm per pixel) and count as unknown."""

RESERVED = ("vector", "_vector_sum", "_item_sum", "_distance", "_row", "_rowid", "rank", "score", "box")
"""Names that an index or a list of hits needs for itself."""

_MISFITS = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError)
"""What Arrow raises for a value that a type cannot hold."""

_BOX = ("box_x", "box_y", "box_width", "box_height")

_NAMES = frozenset(SCHEMA.names)
_FIELDS = tuple(name for name in SCHEMA.names if name not in _BOX)


def table_of(items: Iterable[Item]) -> pa.Table:
    """Write items as rows; extra columns get the type that fits all their values."""
    rows = list(items)
    extras = list(dict.fromkeys(name for item in rows for name in item.extra))
    columns: dict[str, Any] = {}
    for field in SCHEMA:
        if field.name in _BOX:
            at = _BOX.index(field.name)
            values = [None if item.box is None else item.box[at] for item in rows]
        else:
            values = [getattr(item, field.name) for item in rows]
        columns[field.name] = _column_of(values, field, rows)
    for name in extras:
        columns[name] = _extra_column(name, [item.extra.get(name) for item in rows])
    schema = pa.schema([*SCHEMA, *(pa.field(name, columns[name].type) for name in extras)])
    return pa.table(columns, schema=schema)


def item_of(row: Mapping[str, Any]) -> Item:
    """Read one row back as an item; columns outside the schema become `extra`."""
    box = None if row["box_x"] is None else Box(*(row[name] for name in _BOX))
    known = {name: row[name] for name in _FIELDS}
    extra = {name: value for name, value in row.items() if name not in _NAMES}
    return Item(**known, box=box, extra=extra)


def check_table(table: pa.Table, name: str) -> pa.Table:
    """Complete a table to the manifest's columns and types, or say which row and column is wrong.

    Rows are counted from 1, without a header. Missing optional columns become NULL; a missing group becomes the
    item itself. A table from `histoseek.items.spool.LARGE` rows on is checked in blocks: it comes back as it was when
    nothing is to be completed, else from a temporary file.

    Raises:
        InputError: a missing or mistyped column, an empty or repeated id, or a value that cannot be.
    """
    from histoseek.items.spool import check_large, is_large

    if is_large(table.num_rows):
        return check_large(table, name)
    return Check(table.schema, name).completed(table, refuse_repeats=True)


class Check:
    """The checks of one table, block by block; `passed` tells how many of them the last block passed."""

    def __init__(self, schema: pa.Schema, name: str) -> None:
        """Look at names only; raises `InputError` where a column is missing or stands there twice."""
        self.name, self.first, self.passed = name, 0, 0
        for needed in ("id", "path"):
            if needed not in schema.names:
                raise InputError(f"{name} has no column {needed!r}; its columns are: {', '.join(schema.names)}")
        twice = {column for column in schema.names if schema.names.count(column) > 1}
        if twice:
            raise InputError(f"{name} has more than one column {min(twice)!r}; rename one of them")

    def completed(self, block: pa.Table, first: int = 0, *, refuse_repeats: bool = False) -> pa.Table:
        """The block with the manifest's columns and types; `first` is the number of rows before it."""
        self.first, self.passed = first, 0
        columns = {field.name: _cast(block, field, self) for field in SCHEMA}
        for needed in ("id", "path"):
            _no_empty(columns[needed], needed, self)
        if refuse_repeats:
            _no_repeats(columns["id"], self.name)
        _fill_groups(columns)
        columns["dataset"] = columns["dataset"].fill_null("")
        _check_numbers(columns, self)
        extras = [column for column in block.schema.names if column not in SCHEMA.names]
        for column in extras:
            if column in RESERVED:
                raise InputError(f"{self.name} has a column {column!r}, a name that Histoseek needs; rename it")
            columns[column] = _plain(block[column].combine_chunks(), column, self.name)
            self.passed += 1
        schema = pa.schema([*SCHEMA, *(pa.field(column, columns[column].type) for column in extras)])
        return pa.table(columns, schema=schema)

    def place(self, row: int) -> str:
        """The words that name a row of the current block, counted from 0."""
        return f"{self.name}, row {self.first + row + 1}"


UNIQUE_AFTER = len(SCHEMA) + 2
"""How many checks a row passes before ids are looked at for repeats: every cast, no empty id, no empty path."""


def _column_of(values: list[Any], field: pa.Field, items: list[Item]) -> pa.Array:
    try:
        return pa.array(values, field.type)
    except _MISFITS as error:
        for item, value in zip(items, values, strict=True):
            try:
                pa.scalar(value, field.type)
            except _MISFITS:
                raise InputError(f"item {item.id!r}, {field.name}: {value!r} is no {field.type}") from error
        raise InputError(f"some item has a {field.name} that is no {field.type}") from error


def _extra_column(name: str, values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except _MISFITS:
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def _cast(table: pa.Table, field: pa.Field, check: Check) -> pa.Array:
    if field.name not in table.schema.names:
        check.passed += 1
        return pa.nulls(table.num_rows, field.type)
    column = table[field.name].combine_chunks()
    if pa.types.is_string(column.type) and pa.types.is_integer(field.type):
        column = _whole_numbers(column)
    try:
        fitting = column.cast(field.type)
    except _MISFITS as error:
        for row, value in enumerate(column):
            try:
                value.cast(field.type)
            except _MISFITS:
                raise InputError(
                    f"{check.place(row)}, column {field.name!r}: {value.as_py()!r} is no {field.type}"
                ) from error
        raise InputError(f"{check.name}, column {field.name!r} holds {column.type} instead of {field.type}") from error
    check.passed += 1
    return fitting


def _whole_numbers(column: pa.Array) -> pa.Array:
    """Text without the ".0" that spreadsheets and pandas write behind whole numbers once a row has none."""
    return pc.replace_substring_regex(column, r"^(-?\d+)\.0*$", r"\1")


def _plain(column: pa.Array, label: str, name: str) -> pa.Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return column.cast(kind.value_type)
    if pa.types.is_null(kind):
        return column.cast(pa.string())
    scalar = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_string, pa.types.is_temporal)
    if pa.types.is_large_string(kind):
        return column.cast(pa.string())
    if not any(test(kind) for test in scalar):
        raise InputError(f"{name}, column {label!r} holds {kind}; only text, numbers, booleans and dates can be kept")
    return column


def _no_empty(column: pa.Array, label: str, check: Check) -> None:
    empty = pc.or_kleene(pc.is_null(column), pc.equal(column, "")).fill_null(True)
    if pc.any(empty).as_py():
        raise InputError(f"{check.place(pc.index(empty, True).as_py())}, column {label!r} is empty")
    check.passed += 1


def _no_repeats(column: pa.Array, name: str) -> None:
    if pc.count_distinct(column).as_py() == len(column):
        return
    seen: dict[str, int] = {}
    for row, value in enumerate(column.to_pylist(), start=1):
        if value in seen:
            raise InputError(f"{name}, row {row}, column 'id': {value!r} stands in row {seen[value]} already")
        seen[value] = row


def _fill_groups(columns: dict[str, Any]) -> None:
    """Who may not meet themselves: the stated group, else the case, else the slide, else the item."""
    stated = pc.coalesce(columns["group_source"], pa.scalar("stated"))
    group, source = _known(columns["group"]), pc.if_else(pc.is_valid(_known(columns["group"])), stated, None)
    for fallback, name in (("case", "case"), ("slide", "slide"), ("id", "image")):
        given = _known(columns[fallback])
        source = pc.coalesce(source, pc.if_else(pc.is_valid(given), name, None))
        group = pc.coalesce(group, given)
    columns["group"], columns["group_source"] = group, source


def _known(column: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(column, ""), None, column)


def _check_numbers(columns: dict[str, Any], check: Check) -> None:
    for label, lowest in (("width", 1), ("height", 1), ("box_width", 1), ("box_height", 1), ("box_x", 0), ("box_y", 0)):
        _no_value(pc.less(columns[label], lowest), columns[label], label, f"less than {lowest}", check)
    known = pc.is_valid(columns["box_x"])
    for label in _BOX:
        if not pc.equal(pc.is_valid(columns[label]), known).false_count == 0:
            raise InputError(f"{check.name}: a box needs all four of {', '.join(_BOX)}, and some row lacks {label!r}")
        check.passed += 1
    mpp = columns["mpp"]
    if pc.any(pc.invert(pc.is_finite(mpp))).as_py():
        row = next(i for i, value in enumerate(mpp.to_pylist()) if value is not None and not math.isfinite(value))
        raise InputError(f"{check.place(row)}, column 'mpp': not a number; leave it empty when the scale is unknown")
    check.passed += 1
    low, high = MPP_RANGE
    _no_value(
        pc.or_kleene(pc.less(mpp, low), pc.greater(mpp, high)),
        mpp,
        "mpp",
        f"outside {low}–{high} µm per pixel; leave it empty when the scale is unknown",
        check,
    )


def _no_value(wrong: pa.Array, column: pa.Array, label: str, what: str, check: Check) -> None:
    row = pc.index(wrong, True).as_py()
    if row >= 0:
        raise InputError(f"{check.place(row)}, column {label!r}: {column[row].as_py()} is {what}")
    check.passed += 1
