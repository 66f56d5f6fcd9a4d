"""Which columns of an archive the page shows and filters by, with their values and counts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from histoseek.errors import InputError
from histoseek.items import SCHEMA, Value
from histoseek.items.filters import text_literal
from histoseek.web.hiding import is_date_column, says_who
from histoseek.web.problems import CannotAnswer
from histoseek.web.schemas import ColumnOut, CountedValue, FilterIn, RangeFilter, ValuesFilter

SHOWN = ("label", "dataset", "split", "fold", "mpp")
"""Columns of every manifest that are shown; the others name files, slides and patients, or are free text."""

MOST_VALUES = 200
"""A text column with more values is free text or a list of names, and is not shown."""

FEW_NUMBERS = 20
"""A number column with no more values is offered value by value too."""

_YEAR = re.compile(r"[0-9]{4}")


@dataclass(frozen=True)
class Showing:
    """What of columns leaves the server: with `keep_names` everything, else of dates the year, and no names.

    `asked_for` are columns that are shown although they look as if they told who somebody is, or were free text.
    """

    keep_names: bool = False
    asked_for: frozenset[str] = frozenset()


def columns_of(items: pa.Table, showing: Showing | None = None) -> list[ColumnOut]:
    """The columns that may be shown, with the values, their counts and their range.

    Those that say who somebody is stay hidden (`histoseek.web.hiding`), and so does free text.
    """
    showing = showing or Showing()
    own = own_columns(items)
    found = []
    for name in [*SHOWN, *own]:
        column = items[name]
        if column.null_count == items.num_rows:
            continue
        is_open = showing.keep_names or name in showing.asked_for
        if name in own and not is_open and says_who(items, name):
            continue
        shown = _described(name, column, keep_names=showing.keep_names, is_asked_for=name in showing.asked_for)
        if shown is not None:
            found.append(shown)
    return found


def own_columns(items: pa.Table) -> list[str]:
    """The columns that the archive has beyond those of every manifest."""
    return [name for name in items.schema.names if name not in SCHEMA.names]


def check_columns(items: pa.Table, asked_for: Sequence[str]) -> None:
    """Raise `InputError` where a column that shall be shown is none of the archive's own."""
    own = own_columns(items)
    for name in asked_for:
        if name not in own:
            known = ", ".join(own) or "none"
            raise InputError(f"--show-column {name}: the archive has no such column of its own; it has: {known}")


def shown_value(value: Any, kind: str, *, keep_names: bool = False) -> Value:
    """A value of a column of a kind as it leaves the server: of a day only the year, and no number that JSON lacks."""
    if kind == "date" and value is not None:
        text = value.isoformat() if isinstance(value, (date, datetime)) else str(value)
        return text if keep_names else text[:4]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, bool, int, float)) else None


def where_of(filters: Sequence[FilterIn], columns: Sequence[ColumnOut], *, keep_names: bool = False) -> str | None:
    """The condition that filters stand for, in the archive's own filter language; None for none.

    Dates are compared with years, for more than their year is never shown: days would be found out by asking again and
    again. With `keep_names` they are compared with days too.

    Raises:
        CannotAnswer: a filter names a column that is not shown, or compares it with what it cannot be compared with.
    """
    kinds = {column.name: column.kind for column in columns}
    terms = []
    for one in filters:
        if one.column not in kinds:
            known = ", ".join(kinds) or "none"
            raise CannotAnswer(f"there is no column {one.column!r} to filter by; the columns are: {known}")
        kind = kinds[one.column]
        terms += _date_terms(one, keep_names=keep_names) if kind == "date" else _terms(one, kind)
    return " AND ".join(terms) or None


def _terms(asked: FilterIn, kind: str) -> list[str]:
    name = _quoted(asked.column)
    if isinstance(asked, ValuesFilter):
        return _any_of(name, asked, lambda value: f"{name} = {_literal(value, kind)}")
    if not isinstance(asked, RangeFilter) or kind != "number":
        raise CannotAnswer(f"column {asked.column!r} has no order; filter it by values")
    ends = [(">=", asked.min), ("<=", asked.max)]
    return [f"{name} {sign} {_literal(end, kind)}" for sign, end in ends if end is not None]


def _date_terms(asked: FilterIn, *, keep_names: bool) -> list[str]:
    name = _quoted(asked.column)

    def days(value: Value) -> tuple[str, str]:
        """Conditions for the days from and up to a date; a year stands for all of its days."""
        if isinstance(value, str) and _YEAR.fullmatch(value) and 1 <= int(value) < 9999:
            return f"{name} >= '{value}-01-01'", f"{name} < '{int(value) + 1:04}-01-01'"
        if not keep_names:
            raise CannotAnswer(f'column {asked.column!r} is shown by the year; filter it by years, as in "2024"')
        text = _literal(value, "text")
        return f"{name} >= {text}", f"{name} <= {text}"

    if isinstance(asked, ValuesFilter):
        return _any_of(name, asked, lambda value: f"({' AND '.join(days(value))})")
    ends = [(asked.min, 0), (asked.max, 1)]
    return [days(end)[side] for end, side in ends if end is not None]


def _any_of(name: str, asked: ValuesFilter, equal: Callable[[Value], str]) -> list[str]:
    held = [value for value in asked.values if value is not None]
    parts = [f"{name} IS NULL"] if len(held) < len(asked.values) else []
    return [f"({' OR '.join([*parts, *map(equal, held)])})"]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(value: Value, kind: str) -> str:
    fits = {"text": str, "bool": bool, "number": (int, float)}[kind]
    if not isinstance(value, fits) or (kind == "number" and isinstance(value, bool)):  # type: ignore[arg-type]
        raise CannotAnswer(f"a column of kind {kind} is not compared with {value!r}")
    if isinstance(value, str):
        return text_literal(value)
    if isinstance(value, bool):
        return str(value).upper()
    number = float(value or 0)
    return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)


def _described(name: str, column: pa.ChunkedArray, *, keep_names: bool, is_asked_for: bool) -> ColumnOut | None:
    kind = column.type
    if pa.types.is_boolean(kind):
        return ColumnOut(name=name, kind="bool", values=_counted(column), min=None, max=None)
    if is_date_column(column):
        ends = pc.min_max(column).as_py()
        low, high = (shown_value(ends[end], "date", keep_names=keep_names) for end in ("min", "max"))
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
        if pc.count_distinct(column).as_py() > MOST_VALUES and name != "label" and not is_asked_for:
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
