"""Which columns of an archive the page shows and filters by, with their values and counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from histoseek.items import SCHEMA, Value
from histoseek.items.filters import text_literal
from histoseek.web.problems import CannotAnswer
from histoseek.web.schemas import ColumnOut, CountedValue, FilterIn, RangeFilter, ValuesFilter

SHOWN = ("label", "dataset", "split", "fold", "mpp")
"""Columns of every manifest that are shown; the others name files, slides and patients, or are free text."""

MOST_VALUES = 200
"""A text column with more values is free text or a list of names, and is not shown."""

FEW_NUMBERS = 20
"""A number column with no more values is offered value by value too."""


def columns_of(items: pa.Table, *, keep_names: bool = False) -> list[ColumnOut]:
    """The columns that may be shown, with the values, their counts and their range.

    A column of texts, whole numbers or dates whose every value belongs to one patient only, and which tells more than
    half of the patients apart, says who somebody is, and stays hidden. So does free text. `keep_names` shows both.
    """
    own = [name for name in items.schema.names if name not in SCHEMA.names]
    found = []
    for name in [*SHOWN, *own]:
        column = items[name]
        if column.null_count == items.num_rows:
            continue
        if name in own and not keep_names and _tells_patients_apart(items, name):
            continue
        shown = _described(name, column, keep_names=keep_names)
        if shown is not None:
            found.append(shown)
    return found


def shown_value(value: Any, *, keep_names: bool = False) -> Value:
    """A value as it leaves the server: of a day only the year, and no number that JSON lacks."""
    if isinstance(value, (date, datetime)):
        return value.isoformat() if keep_names else str(value.year)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, bool, int, float)) else None


def where_of(filters: Sequence[FilterIn], columns: Sequence[ColumnOut]) -> str | None:
    """The condition that filters stand for, in the archive's own filter language; None for none.

    Raises:
        CannotAnswer: a filter names a column that is not shown.
    """
    kinds = {column.name: column.kind for column in columns}
    terms = []
    for one in filters:
        if one.column not in kinds:
            known = ", ".join(kinds) or "none"
            raise CannotAnswer(f"there is no column {one.column!r} to filter by; the columns are: {known}")
        terms += _terms(one, kinds[one.column])
    return " AND ".join(terms) or None


def _terms(asked: FilterIn, kind: str) -> list[str]:
    name = '"' + asked.column.replace('"', '""') + '"'
    if isinstance(asked, ValuesFilter):
        held = [value for value in asked.values if value is not None]
        parts = [f"{name} IS NULL"] if len(held) < len(asked.values) else []
        parts += [_equal(name, value, kind) for value in held]
        return [f"({' OR '.join(parts)})"]
    if not isinstance(asked, RangeFilter) or kind not in ("number", "date"):
        raise CannotAnswer(f"column {asked.column!r} has no order; filter it by values")
    ends = [(">=", asked.min), ("<=", asked.max)]
    return [f"{name} {sign} {_literal(end, kind)}" for sign, end in ends if end is not None]


def _equal(name: str, value: Value, kind: str) -> str:
    if (
        kind == "date" and isinstance(value, str) and value.isdecimal() and len(value) == 4
    ):  # a year stands for its days
        return f"({name} >= '{value}-01-01' AND {name} < '{int(value) + 1:04}-01-01')"
    return f"{name} = {_literal(value, kind)}"


def _literal(value: Value, kind: str) -> str:
    fits = {"text": str, "date": str, "bool": bool, "number": (int, float)}[kind]
    if not isinstance(value, fits) or (kind == "number" and isinstance(value, bool)):  # type: ignore[arg-type]
        raise CannotAnswer(f"a column of kind {kind} is not compared with {value!r}")
    if isinstance(value, str):
        return text_literal(value)
    if isinstance(value, bool):
        return str(value).upper()
    number = float(value or 0)
    return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)


def _tells_patients_apart(items: pa.Table, name: str) -> bool:
    kind = items.schema.field(name).type
    if pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return False
    known = items.select([name, "group"]).filter(pc.is_valid(items[name]))
    pairs = known.group_by([name, "group"]).aggregate([]).num_rows
    values, groups = (pc.count_distinct(known[column]).as_py() for column in (name, "group"))
    return bool(pairs == values and values > groups / 2 and groups > 1)


def _described(name: str, column: pa.ChunkedArray, *, keep_names: bool) -> ColumnOut | None:
    kind = column.type
    if pa.types.is_boolean(kind):
        return ColumnOut(name=name, kind="bool", values=_counted(column), min=None, max=None)
    if pa.types.is_temporal(kind):
        ends = pc.min_max(column).as_py()
        low, high = (shown_value(ends[end], keep_names=keep_names) for end in ("min", "max"))
        return ColumnOut(name=name, kind="date", values=None, min=_end(low), max=_end(high))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        held = column.filter(pc.is_finite(column)) if pa.types.is_floating(kind) else column.drop_null()
        if not len(held):
            return None
        ends = pc.min_max(held).as_py()
        is_few = pc.count_distinct(held).as_py() <= FEW_NUMBERS
        values = _counted(held) if is_few else None
        return ColumnOut(name=name, kind="number", values=values, min=ends["min"], max=ends["max"])
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
        if pc.count_distinct(column).as_py() > MOST_VALUES and name != "label":
            return None
        return ColumnOut(name=name, kind="text", values=_counted(column), min=None, max=None)
    return None


def _end(value: Value) -> float | str | None:
    return value if value is None or isinstance(value, str) else float(value)


def _counted(column: pa.ChunkedArray) -> list[CountedValue]:
    """Values by how many items have them, then by name; NULL is one of them."""
    pairs = [(one["values"], one["counts"]) for one in pc.value_counts(column).to_pylist()]
    pairs.sort(key=lambda pair: (-pair[1], str(pair[0])))
    return [CountedValue(value=value, count=count) for value, count in pairs]
