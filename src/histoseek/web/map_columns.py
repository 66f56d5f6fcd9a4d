"""What points of the map are coloured by: any column that may be shown, as a number for each point."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histoseek.index import Index
from histoseek.items import item_of
from histoseek.web.columns import shown_value
from histoseek.web.problems import Problem

if TYPE_CHECKING:
    from histoseek.web.archive import Archive

NO_VALUE = 65_535
OTHERS = "others"
MOST_NAMES = NO_VALUE - 1
FEW_NUMBERS, N_BINS = 20, 10
"""Numbers are colours of their own up to so many; more are sorted into bins that hold equally many items."""

SLIDE, PATIENT = "slide", "patient"
_SOURCES = {SLIDE: ("path", "slide"), PATIENT: ("group", "group_source")}

Codes = NDArray[np.uint16]


class NoColumn(Problem):
    """The archive has no such column, or none that may be shown."""

    status = 404


def colour_names(archive: Archive, index: Index) -> list[str]:
    """What points can be coloured by: the columns that are shown, and slides and patients by their pseudonyms."""
    return [*map(_told, archive.kinds_of(index)), SLIDE, PATIENT]


def colour_codes(archive: Archive, index: Index, name: str) -> tuple[list[str], Codes]:
    """A column as names, and for every row `[N]` the place of its value among them, 65535 where there is none.

    Values come by how many items have them, numbers in their order; beyond 65 534 they share the name "others".

    Raises:
        NoColumn: there is no such column.
    """
    items = index.rows.items
    if name in _SOURCES:
        return _by_count(_pseudonyms(archive, items, name))
    kinds = archive.kinds_of(index)
    own = {_told(column): column for column in kinds}
    if name not in own:
        raise NoColumn("there is no such column to colour by; GET /api/v1/map names those there are")
    column = items[own[name]].combine_chunks()
    if kinds[own[name]] == "date":
        column = _texts(column, keep_names=archive.keep_names)
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return _by_size(column)
    return _by_count(column.cast(pa.string()))


def _told(column: str) -> str:
    """What a column of the archive is called: one that is called like the pseudonyms says that it is another."""
    return f"{column} (archive)" if column in _SOURCES else column


def _texts(column: pa.Array, *, keep_names: bool) -> pa.Array:
    """Days as they may be shown."""
    coded = pc.dictionary_encode(column)
    shown = [shown_value(value, "date", keep_names=keep_names) for value in coded.dictionary.to_pylist()]
    return pa.array([None if one is None else str(one) for one in shown], pa.string()).take(coded.indices)


def _pseudonyms(archive: Archive, items: pa.Table, name: str) -> pa.Array:
    """What the slide or the patient of every row is called; one item of each is looked at."""
    first, second = _SOURCES[name]
    marks = pc.binary_join_element_wise(
        items[first].cast(pa.string()).fill_null(""), items[second].cast(pa.string()).fill_null(""), "\x1f"
    )
    coded = pc.dictionary_encode(marks.combine_chunks())
    codes = coded.indices.to_numpy(zero_copy_only=False)
    _, rows = np.unique(codes, return_index=True)
    called: list[Any] = []
    for row in items.take(pa.array(rows)).to_pylist():
        item = item_of(row)
        called.append(archive.slide_name(item) if name == SLIDE else archive.patient_name(item))
    return pa.array(called, pa.string()).take(coded.indices)


def _by_count(column: pa.Array) -> tuple[list[str], Codes]:
    coded = pc.dictionary_encode(column)
    values: list[str] = coded.dictionary.to_pylist()
    places = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    counts = np.bincount(places[places >= 0], minlength=len(values))
    order = sorted(range(len(values)), key=lambda at: (-counts[at], values[at]))
    names = [values[at] for at in order[:MOST_NAMES]]
    if len(order) > MOST_NAMES:
        names[-1] = OTHERS
    code_of = np.full(len(values) + 1, NO_VALUE, dtype=np.uint16)  # the last one answers for −1
    code_of[order] = np.minimum(np.arange(len(order)), MOST_NAMES - 1)
    return names, code_of[places]


def _by_size(column: pa.Array) -> tuple[list[str], Codes]:
    values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    is_known = np.isfinite(values)
    codes = np.full(len(values), NO_VALUE, dtype=np.uint16)
    known = values[is_known]
    different = np.unique(known)
    if len(different) <= FEW_NUMBERS:
        codes[is_known] = np.searchsorted(different, known)
        return [f"{value:g}" for value in different], codes
    edges = np.unique(np.quantile(known, np.linspace(0, 1, N_BINS + 1)))
    codes[is_known] = np.clip(np.searchsorted(edges, known, side="right") - 1, 0, len(edges) - 2)
    return [f"{low:g} – {high:g}" for low, high in pairwise(edges.tolist())], codes
