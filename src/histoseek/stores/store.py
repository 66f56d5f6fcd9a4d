"""What every store offers: rows of vectors and item columns, kept safely, and the nearest of them."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

VECTOR = "vector"


class Neighbours(NamedTuple):
    """The nearest rows of Q queries, best first: `rows` [Q, K] and cosine `scores` [Q, K]; −1 fills short rows."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]


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

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Unit vectors of some rows, `[N, D]`."""
        ...

    def nearest(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None) -> Neighbours:
        """The `k` rows of highest cosine with each query `[Q, D]`; `allowed` [N] or [Q, N] shuts rows out before."""
        ...


class Store(Protocol):
    """A table of items on disk or on a server."""

    @property
    def version(self) -> int:
        """Number of the newest version."""
        ...

    def add(self, rows: pa.Table) -> None:
        """Append rows durably: when this returns, a power cut loses none of them."""
        ...

    def remove(self, where: pc.Expression) -> int:
        """Take the rows out that fulfil a condition; returns how many."""
        ...

    def rows(self) -> Rows:
        """The newest version, ready to be searched."""
        ...
