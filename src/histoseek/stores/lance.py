"""The Lance store: the table on disk that everything else is derived from."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histoseek.errors import DamagedError, InputError
from histoseek.items.files import flush_to_disk
from histoseek.stores.exact import nearest
from histoseek.stores.fast import MAX_BYTES, FastCopy, fast_folder, write_fast
from histoseek.stores.store import VECTOR, Neighbours, Rows

TABLE = "items"
_V2_TOP = 2**64 - 1


class LanceStore:
    """A Lance table `items.lance` in a folder, with the fast copy of its newest version beside it."""

    def __init__(self, home: str | Path) -> None:
        self.home = Path(home)
        self._open_table: Any = None

    @classmethod
    def create(cls, home: str | Path, schema: pa.Schema) -> LanceStore:
        """Make an empty table; `schema` holds the item columns and a `vector` of fixed size."""
        store = cls(home)
        if store.exists:
            raise InputError(f"{store._lance} is there already; choose another folder")
        store._open_table = _connect(store.home).create_table(TABLE, schema=schema)
        store._make_durable(set())
        return store

    @property
    def exists(self) -> bool:
        """Whether the folder holds a table."""
        return (self._lance / "_versions").is_dir()

    @property
    def version(self) -> int:
        """Number of the newest version, read from the names of Lance's version files, without LanceDB.

        Lance names them `N.manifest`, or, so that the newest sorts first, `(2^64 − 1 − N).manifest` with 20 digits.
        """
        try:
            names = [path.stem for path in (self._lance / "_versions").glob("*.manifest")]
        except OSError as error:
            raise DamagedError(f"{self._lance} cannot be read: {error.strerror}") from error
        numbers = [_V2_TOP - int(name) if len(name) == 20 else int(name) for name in names if name.isdigit()]
        if not numbers:
            raise DamagedError(f"{self._lance} holds no table; build the index again")
        return max(numbers)

    def add(self, rows: pa.Table) -> None:
        """Append rows; they are on disk when this returns. LanceDB itself leaves that to the system."""
        before = set(self._lance.rglob("*"))
        self._table.add(rows)
        self._make_durable(before)

    def remove(self, where: pc.Expression) -> int:
        """Take the rows out whose item columns fulfil a condition."""
        before = set(self._lance.rglob("*"))
        ids = self.rows().items.filter(where)["id"].to_pylist()
        for start in range(0, len(ids), 500):
            quoted = ", ".join("'" + name.replace("'", "''") + "'" for name in ids[start : start + 500])
            self._table.delete(f"id IN ({quoted})")
        self._make_durable(before)
        return len(ids)

    def rows(self) -> Rows:
        """The newest version: its fast copy where that fits, made now if it is missing or stale."""
        version = self.version
        folder = fast_folder(self.home, version)
        if (folder / "fast.json").is_file():
            try:
                return FastCopy(folder)
            except DamagedError:  # derived and disposable: it is made anew from the table
                shutil.rmtree(folder, ignore_errors=True)
        table = self._table
        table.checkout_latest()
        schema = table.schema
        if table.count_rows() * schema.field(VECTOR).type.list_size * 4 > MAX_BYTES:
            fixed = _connect(self.home).open_table(TABLE)  # a handle of its own, which no later refresh moves
            fixed.checkout(table.version)
            return LanceRows(fixed)
        whole = table.to_arrow()
        if os.access(self.home, os.W_OK):
            return write_fast(self.home, table.version, whole)
        return MemoryRows(whole, table.version)

    def ids(self) -> set[str]:
        """The ids of all items."""
        table = self._table
        table.checkout_latest()
        return set(table.search().select(["id"]).limit(max(1, table.count_rows())).to_arrow()["id"].to_pylist())

    def drop(self) -> None:
        """Delete the table and its fast copies."""
        shutil.rmtree(self._lance, ignore_errors=True)
        for copy in self.home.glob("fast-*"):
            shutil.rmtree(copy, ignore_errors=True)
        self._open_table = None

    @property
    def _lance(self) -> Path:
        return self.home / f"{TABLE}.lance"

    @property
    def _table(self) -> Any:
        if self._open_table is None:
            try:
                self._open_table = _connect(self.home).open_table(TABLE)
            except (ValueError, RuntimeError, OSError) as error:
                reason = str(error).split("\n")[0]
                raise DamagedError(f"{self._lance} cannot be opened ({reason}); build the index again") from error
        return self._open_table

    def _make_durable(self, before: set[Path]) -> None:
        fresh = [path for path in self._lance.rglob("*") if path not in before]
        for path in [*fresh, *{path.parent for path in fresh}, self.home]:
            if path.exists():
                flush_to_disk(path)


class MemoryRows:
    """Rows held in memory: what a read-only folder without a fast copy gives."""

    def __init__(self, whole: pa.Table, version: int) -> None:
        self.version = version
        column = whole[VECTOR].combine_chunks()
        self._matrix = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, column.type.list_size)
        self.items: pa.Table = whole.drop_columns([VECTOR])

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Unit vectors of some rows, `[N, D]`."""
        return np.asarray(self._matrix[rows])

    def nearest(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None) -> Neighbours:
        """The `k` rows of highest cosine, exactly."""
        return nearest(queries, self._matrix, k, allowed)


class LanceRows:
    """Rows too many for a fast copy: item columns in memory, vectors scanned on disk."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self.version: int = table.version
        n_rows = max(1, table.count_rows())
        columns = [name for name in table.schema.names if name != VECTOR]
        self.items: pa.Table = table.search().select(columns).limit(n_rows).to_arrow()

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Unit vectors of some rows, `[N, D]`."""
        ascending, places = np.unique(rows, return_inverse=True)  # LanceDB gives each row once, in its own order
        dim = self._table.schema.field(VECTOR).type.list_size
        if not len(ascending):
            return np.zeros((0, dim), dtype=np.float32)
        found = self._table.take_offsets([int(row) for row in ascending]).select([VECTOR]).to_arrow()
        flat = found[VECTOR].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return np.asarray(flat, dtype=np.float32).reshape(-1, dim)[places]

    def nearest(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None) -> Neighbours:
        """The `k` rows of highest cosine, exactly, read through in blocks."""
        best = Neighbours(
            np.full((len(queries), 0), -1, dtype=np.int64), np.full((len(queries), 0), -np.inf, dtype=np.float32)
        )
        step = 200_000
        for start in range(0, self.items.num_rows, step):
            rows = np.arange(start, min(start + step, self.items.num_rows))
            part = None if allowed is None else allowed[..., rows]
            found = nearest(queries, self.vectors(rows), k, part)
            best = _merge(best, Neighbours(np.where(found.rows >= 0, found.rows + start, -1), found.scores), k)
        return best


def _merge(one: Neighbours, two: Neighbours, k: int) -> Neighbours:
    rows = np.concatenate([one.rows, two.rows], axis=1)
    scores = np.concatenate([one.scores, two.scores], axis=1)
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    return Neighbours(np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1))


def _connect(home: Path) -> Any:
    import lancedb

    return lancedb.connect(str(home))
