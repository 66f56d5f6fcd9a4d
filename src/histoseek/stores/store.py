"""What every store offers: rows of vectors and item columns, kept safely, and the nearest of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

if TYPE_CHECKING:
    from histoseek.stores.codes import Codes, Tuned

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
    def codes(self) -> Codes | None:
        """Short codes of the vectors of a large archive, where they were made."""
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


class TableStore(Store, Protocol):
    """A Lance table, on disk or on object storage: the truth of an archive, with what its later life needs."""

    @property
    def state(self) -> object:
        """What tells the newest version from others, also from those of another table that lay at the same place."""
        ...

    @property
    def exists(self) -> bool:
        """Whether there is a table."""
        ...

    @property
    def schema(self) -> pa.Schema:
        """Item columns and the `vector`."""
        ...

    @property
    def n_commits(self) -> int:
        """Commits since the table was last compacted."""
        ...

    @property
    def n_files(self) -> int:
        """How many files there are checksums of."""
        ...

    @property
    def has_sums(self) -> bool:
        """Whether rows and files have checksums; the first format had none."""
        ...

    def rows(self) -> Rows:
        """The newest version, ready to be searched."""
        ...

    def ids(self) -> set[str]:
        """The ids of all items."""
        ...

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows with item columns, vector, checksums and row ids, in bounded memory."""
        ...

    def damaged_files(self) -> list[str]:
        """Names of the table's files that are not what was stored."""
        ...

    def compact(self) -> bool:
        """Take what was removed, and all older versions, from the disk; False where that changes nothing."""
        ...

    def make_codes(self) -> Tuned:
        """Make the codes that a large archive is searched by."""
        ...

    def drop(self) -> None:
        """Delete the table and what is derived from it."""
        ...

    def locked(self) -> AbstractContextManager[None]:
        """Keep other writers out for a while, where that can be done; not to be nested."""
        ...
