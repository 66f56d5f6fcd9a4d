"""One version of an archive as a search sees it: rows, and what is remembered about them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histoseek.index.near_duplicates import Closeness, closeness_of
from histoseek.items import parse_filter
from histoseek.stores import Rows

MASKS_KEPT = 16
"""Filters whose rows are remembered while the archive does not change: a page asks the same ones again and again."""

IDS_KEPT = 10_000


class View:
    """Rows of one version, with the filters and ids that were asked of them; `state` tells the version from others.

    A search takes one view and keeps it, so that rows and their numbers belong together whatever others write.
    """

    def __init__(self, rows: Rows, state: Any) -> None:
        self.rows = rows
        self.state = state
        self._masks: dict[str, NDArray[np.bool_]] = {}
        self._row_by_id: dict[str, int] = {}

    @cached_property
    def closeness(self) -> Closeness:
        """Above which cosine two pictures of this archive count as one."""
        return closeness_of(self.rows)

    def allowed(self, where: str | None, only: Iterable[str] | None = None) -> NDArray[np.bool_] | None:
        """Which rows fulfil a filter and, if given, are among the ids `only`, `[N]`; None means all."""
        if only is not None:
            rows = self.rows_of(only)
            among = np.zeros(self.rows.items.num_rows, dtype=bool)
            among[rows[rows >= 0]] = True
            fulfils = self.allowed(where)
            return among if fulfils is None else among & fulfils
        if where is None:
            return None
        mask = self._masks.get(where)
        if mask is None:
            items = self.rows.items
            condition = parse_filter(where, items.schema)
            numbered = items.append_column("_row", pa.array(np.arange(items.num_rows)))
            mask = np.zeros(items.num_rows, dtype=bool)
            mask[numbered.filter(condition)["_row"].to_numpy()] = True
            if len(self._masks) >= MASKS_KEPT:
                self._masks.clear()
            self._masks[where] = mask
        return mask

    def rows_of(self, ids: Iterable[str]) -> NDArray[np.int64]:
        """Row numbers of items by id; −1 for one that the archive does not hold."""
        names = list(ids)
        if len(names) == 1:
            return np.array([self._row_of(names[0])], dtype=np.int64)
        wanted, places = np.unique(np.array(names, dtype=object), return_inverse=True)
        found = pc.index_in(self.rows.items["id"], value_set=pa.array(wanted, pa.string()))
        which = found.fill_null(-1).to_numpy()  # for every row of the archive: the name that it has, if any
        rows = np.full(len(wanted), -1, dtype=np.int64)
        held = np.flatnonzero(which >= 0)
        rows[which[held]] = held
        return rows[places]

    def _row_of(self, name: str) -> int:
        row = self._row_by_id.get(name)
        if row is None:
            row = int(pc.index(self.rows.items["id"], name).as_py())
            if len(self._row_by_id) >= IDS_KEPT:
                self._row_by_id.clear()
            self._row_by_id[name] = row
        return row

    def names_like(self, name: str) -> list[str]:
        """Some ids that `name` is a part of."""
        ids = self.rows.items["id"]
        found: list[str] = ids.filter(pc.match_substring(ids, name)).slice(0, 3).to_pylist()
        return found
