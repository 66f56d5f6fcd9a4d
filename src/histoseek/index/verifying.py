"""Verifying an index: every file against the ledger, every row against its checksums, and what `index.json` says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from histoseek.errors import DamagedError, StorageError
from histoseek.stores import VECTOR
from histoseek.stores.difference import damaged_copies
from histoseek.stores.fast import matrix_of
from histoseek.stores.sums import VECTOR_SUM, wrong_rows

if TYPE_CHECKING:
    from histoseek.index.index import Index

TRIES = 5

UNIT_TOLERANCE = 1e-3
"""How far a vector's length may be from one: reduced precisions round."""


@dataclass(frozen=True)
class Verified:
    """What verification saw: `damage` makes answers doubtful, `remarks` do not; `n_rows` were looked at."""

    n_rows: int
    n_files: int
    damage: tuple[str, ...]
    remarks: tuple[str, ...]


def verify_index(index: Index, progress: Callable[[int, int], None] | None = None) -> Verified:
    """Look at every byte of an index; see `Index.verify`. It begins again where somebody wrote meanwhile."""
    for _ in range(TRIES):
        before = index.store.n_commits, index.store.version
        found = _looked_through(index, progress)
        if (index.store.n_commits, index.store.version) == before:
            return found
    raise StorageError(f"{index.address} is written to all the time; verify it when its writers are done")


def _looked_through(index: Index, progress: Callable[[int, int], None] | None) -> Verified:
    damage: list[str] = []
    remarks: list[str] = []
    n_rows = n_files = 0
    if not index.store.has_sums:
        remarks.append("the index is of format 1, without checksums; histoseek index compact brings it to the present")
    try:
        damage += [f"{name} is not what was stored" for name in index.store.damaged_files()]
        n_files = index.store.n_files
        n_rows = _rows(index, damage, progress)
        if index.about.dim != index.store.schema.field(VECTOR).type.list_size:
            damage.append(f"index.json says {index.about.dim} numbers a vector, and the table holds others")
    except (DamagedError, StorageError) as error:
        damage.append(str(error))
    if not damage and n_rows != index.about.n_items:
        remarks.append(f"index.json counts {index.about.n_items} items and the table holds {n_rows}")
    remarks += damaged_copies(index.path)  # derived: they are made anew when they are next needed
    return Verified(n_rows, n_files, tuple(damage), tuple(remarks))


def _rows(index: Index, damage: list[str], progress: Callable[[int, int], None] | None) -> int:
    n_rows, total = 0, index.store.count()
    ids: set[str] = set()
    for batch in index.store.batches():
        rows = pa.Table.from_batches([batch]).drop_columns(["_rowid"])
        names = rows["id"].to_pylist()
        if VECTOR_SUM in rows.schema.names:
            damage += [f"the row {names[row]!r} is not what was stored" for row in wrong_rows(rows, VECTOR)]
        lengths = np.linalg.norm(matrix_of(rows[VECTOR]), axis=1)
        wrong = np.flatnonzero(~(np.abs(lengths - 1) <= UNIT_TOLERANCE))
        damage += [f"the vector of {names[row]!r} does not have length one" for row in wrong]
        for name in names:
            if name in ids:
                damage.append(f"the id {name!r} is there twice")
            ids.add(name)
        n_rows += len(names)
        if progress is not None:
            progress(n_rows, total)
    if n_rows != total:
        damage.append(f"{n_rows} rows can be read of {total}")
    return n_rows
