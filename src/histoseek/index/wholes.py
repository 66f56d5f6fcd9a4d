"""Wholes: the slides, or the patients, that the tiles of an archive add up to."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoseek.errors import InputError

Level = Literal["slide", "case"]
COLUMNS: dict[Level, str] = {"slide": "slide", "case": "group"}
"""Which column names a whole: a case is what may never be matched with itself, the patient where that is known."""


@dataclass(frozen=True)
class Whole:
    """A slide or a case: its name, the rows of its items `[T]`, and the group that they belong to."""

    name: str
    rows: NDArray[np.int64]
    group: str


def wholes_of(items: pa.Table, level: Level, allowed: NDArray[np.bool_] | None = None) -> list[Whole]:
    """The slides or cases of a table of items, by name; items without one, or not `allowed` [N], are left out.

    Slides of one name in several groups are several slides, and are named `group/slide`.

    Raises:
        InputError: no item names one.
    """
    named = items[COLUMNS[level]].to_pylist()
    groups = items["group"].to_pylist()
    rows_of: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row, (name, group) in enumerate(zip(named, groups, strict=True)):
        if name is not None and (allowed is None or allowed[row]):
            rows_of[name, group].append(row)
    if not rows_of:
        raise InputError(f"no item of the archive names a {level}, so there is nothing to compare at that level")
    twice = {name for name, n_groups in Counter(name for name, _ in rows_of).items() if n_groups > 1}
    wholes = [
        Whole(f"{group}/{name}" if name in twice else name, np.array(rows, dtype=np.int64), group)
        for (name, group), rows in rows_of.items()
    ]
    return sorted(wholes, key=lambda whole: whole.name)


def label_column(items: pa.Table, asked: str | None) -> str:
    """The column with the labels of wholes: what is asked for, else `slide_label`, else `label`.

    Raises:
        InputError: there is no such column.
    """
    column = asked or ("slide_label" if "slide_label" in items.schema.names else "label")
    if column not in items.schema.names:
        raise InputError(f"the index has no column {column!r}; the columns are: {', '.join(items.schema.names)}")
    return column


def labels_of(items: pa.Table, wholes: Sequence[Whole], column: str) -> tuple[list[str | None], int]:
    """The label of each whole, and how many wholes carry several.

    Of several labels the one of most items counts, and of equal ones none.
    """
    values = np.array(items[column].cast(pa.string()).to_pylist(), dtype=object)
    labels: list[str | None] = []
    n_mixed = 0
    for whole in wholes:
        counts = Counter(value for value in values[whole.rows] if value is not None).most_common(2)
        n_mixed += len(counts) > 1
        is_tie = len(counts) > 1 and counts[0][1] == counts[1][1]
        labels.append(counts[0][0] if counts and not is_tie else None)
    return labels, n_mixed
