"""A fast copy brought up to date: what was removed since is shut out, what was added is appended.

An archive of a million tiles gets a few slides a day; copying all of it for each of them would cost minutes a day.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoseek.stores.codes import Codes
from histoseek.stores.difference import Difference
from histoseek.stores.exact import nearest
from histoseek.stores.fast import FastCopy
from histoseek.stores.store import Neighbours, group_numbers


class FreshRows:
    """Rows of a newer version than `base` is a copy of: those of its rows that are kept, then the added ones."""

    def __init__(self, base: FastCopy, version: int, difference: Difference) -> None:
        self.version = version
        self._base = base
        self._kept = np.delete(np.arange(base.items.num_rows), difference.gone)
        self._added = np.asarray(difference.vectors)
        alive = base.items.take(pa.array(self._kept)) if len(difference.gone) else base.items
        self.items: pa.Table = pa.concat_tables([alive, difference.items]).combine_chunks()

    @property
    def codes(self) -> Codes | None:
        """The codes of the base."""
        return self._base.codes

    @cached_property
    def groups(self) -> NDArray[np.int32]:
        """A number `[N]` for the group of every row."""
        return group_numbers(self.items)

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Unit vectors of some rows, `[N, D]`."""
        return self._taken(rows, self._base.vectors)

    def checked(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors of some rows, each held against its checksum; raises `DamagedError` where one differs."""
        return self._taken(rows, self._base.checked)

    def nearest(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None) -> Neighbours:
        """The `k` rows of highest cosine, exactly."""
        return self._both(queries, k, allowed, exact=True)

    def find(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None) -> Neighbours:
        """The `k` rows of highest cosine: old ones by codes where there are codes, new ones exactly."""
        return self._both(queries, k, allowed, exact=False)

    def _taken(self, rows: NDArray[np.int64], old: object) -> NDArray[np.float32]:
        is_new = rows >= len(self._kept)
        taken = np.empty((len(rows), self._added.shape[1]), dtype=np.float32)
        taken[is_new] = self._added[rows[is_new] - len(self._kept)]
        taken[~is_new] = old(self._kept[rows[~is_new]])  # type: ignore[operator]
        return taken

    def _both(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None, *, exact: bool
    ) -> Neighbours:
        n_old = len(self._kept)
        mask = self._mask_of_base(allowed)
        old = (self._base.nearest if exact else self._base.find)(queries, k, mask)
        place = np.full(self._base.items.num_rows, -1, dtype=np.int64)
        place[self._kept] = np.arange(n_old)
        rows = np.where(old.rows >= 0, place[old.rows], -1)
        new = nearest(queries, self._added, k, None if allowed is None else allowed[..., n_old:])
        joined = Neighbours(rows, old.scores), Neighbours(np.where(new.rows >= 0, new.rows + n_old, -1), new.scores)
        return merged(*joined, min(k, self.items.num_rows))

    def _mask_of_base(self, allowed: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
        """The mask over the base's rows; None where all of them are allowed."""
        n_base = self._base.items.num_rows
        if allowed is None:
            if len(self._kept) == n_base:
                return None
            allowed = np.ones(len(self._kept), dtype=bool)
        mask = np.zeros((*allowed.shape[:-1], n_base), dtype=bool)
        mask[..., self._kept] = allowed[..., : len(self._kept)]
        return mask


def merged(one: Neighbours, two: Neighbours, k: int) -> Neighbours:
    """The `k` best of two answers to the same queries; equal scores are ordered by row."""
    rows = np.concatenate([one.rows, two.rows], axis=1)
    scores = np.concatenate([one.scores, two.scores], axis=1)
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    return Neighbours(np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1))
