"""What every store offers: rows of vectors and item columns, kept safely, and the nearest of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

VECTOR = "vector"

FEW = 200
"""Up to so many rows are sliced out of a large table one by one."""


class Neighbours(NamedTuple):
    """The nearest rows of Q queries, best first: `rows` [Q, K] and cosine `scores` [Q, K]; −1 fills short rows."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]


def group_numbers(items: pa.Table) -> NDArray[np.int32]:
    """A number `[N]` for the group of every row; all rows without one share a number."""
    codes = pc.dictionary_encode(items["group"].combine_chunks(), null_encoding="encode").indices
    return np.asarray(codes.to_numpy(zero_copy_only=False), dtype=np.int32)


def rows_at(items: pa.Table, rows: NDArray[np.int64]) -> pa.Table:
    """Some rows of a table, in the order asked; Arrow's own `take` copies the chunks that they come from first."""
    if len(rows) > FEW:
        return items.take(pa.array(rows))
    parts = [items.slice(int(row), 1) for row in rows]
    return pa.concat_tables(parts) if parts else items.slice(0, 0)


class Rows(Protocol):
    """One version of a store, readable: the columns of its items, their vectors, and the nearest of them."""

    @property
    def version(self) -> int:
        """Number of the version."""
        ...

    @property
    def items(self) -> pa.Table:
        """Item columns, one row an item, in the store's order."""
        ...

    @property
    def groups(self) -> NDArray[np.int32]:
        """A number `[N]` for the group of every row: what is never matched with itself."""
        ...

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Unit vectors of some rows, `[N, D]`."""
        ...

    def checked(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The same, each vector held against its checksum; raises `DamagedError` where one differs."""
        ...

    def find(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None) -> Neighbours:
        """As `nearest`, but where the archive is large with the recall that its index was tuned to."""
        ...

    def nearest(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None) -> Neighbours:
        """The `k` rows of highest cosine with each query `[Q, D]`, exactly; `allowed` [N] or [Q, N] says which."""
        ...


class Store(Protocol):
    """A table of items on disk or on a server."""

    @property
    def version(self) -> int:
        """Number of the newest version."""
        ...

    def count(self) -> int:
        """How many items there are."""
        ...

    def add(self, rows: pa.Table) -> None:
        """Add rows durably: when this returns, a power cut loses none; one whose id is there takes its place."""
        ...

    def remove(self, ids: Sequence[str]) -> int:
        """Take items out, all or none; returns how many were there."""
        ...
