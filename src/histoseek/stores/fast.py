"""The fast copy: one version of a Lance table as a memory-mapped matrix and an Arrow file.

It is derived and disposable: reading it needs neither LanceDB nor a scan, and a newer table version makes it stale.
Every file is held against its checksum before it is believed; vectors that are too large for that at every start are
checked row by row when they are about to answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from threading import Lock

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoseek.errors import DamagedError
from histoseek.items.files import sha256_of
from histoseek.stores.codes import Codes, Tuned, read_codes, tuning_of, write_codes
from histoseek.stores.copies import array_file, damaged, drop_fast, facts_of, fast_folder, written_folder
from histoseek.stores.exact import nearest, rescored
from histoseek.stores.ledger import Entry
from histoseek.stores.store import VECTOR, Neighbours, group_numbers
from histoseek.stores.sums import ITEM_SUM, VECTOR_SUM, facts_sum, vector_sums

CHECKED_AT_START = 64 * 1024**2
"""Vectors up to this many bytes are checked whole when the copy is opened."""

ROW_ID = "_rowid"
_ASKED_AT_ONCE = 256  # queries whose candidates are read together
_SLAB = 262_144  # rows an Arrow batch: few and long, so that taking rows stays quick


class FastCopy:
    """Rows of one table version, read through the page cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            about = facts_of(folder)
            self.checksum = facts_sum(about)  # of all that it holds: what tells it from any other copy
            self.mark = str(about["mark"])
            self.entry = Entry(int(about["version"]), int(about["generation"]))
            self._check(about["files"])
            self._file = (folder / "vectors.npy").open("rb", buffering=0)  # readable also when a newer copy replaced it
            self._turn = Lock()
            self._matrix = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
            self.row_ids = np.load(folder / "rows.npy", mmap_mode="r", allow_pickle=False)
            self._sums = np.load(folder / "sums.npy", mmap_mode="r", allow_pickle=False)
            with pa.memory_map(str(folder / "items.arrow")) as stream:
                self.items: pa.Table = pa.ipc.open_file(stream).read_all()
            shape = (self.items.num_rows, int(about["dim"]))
            if folder != fast_folder(folder.parent, self.entry.version):
                raise ValueError(folder.name)
        except (OSError, ValueError, KeyError, TypeError, EOFError, pa.ArrowException) as error:
            raise damaged(self.folder) from error
        if self._matrix.shape != shape or self._matrix.dtype != np.float32:
            raise damaged(self.folder)

    @property
    def version(self) -> int:
        """The table version that this is a copy of."""
        return self.entry.version

    @cached_property
    def codes(self) -> Codes | None:
        """Short codes of the vectors, where they were made and the package that reads them is installed."""
        return read_codes(self.folder)

    @cached_property
    def groups(self) -> NDArray[np.int32]:
        """A number `[N]` for the group of every row."""
        return group_numbers(self.items)

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Unit vectors of some rows, `[N, D]`."""
        return np.asarray(self._matrix[rows])

    def nearest(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None) -> Neighbours:
        """The `k` rows of highest cosine, exactly; see `histoseek.stores.exact.nearest`."""
        self._check_vectors()
        return nearest(queries, np.asarray(self._matrix), k, allowed)

    def find(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None) -> Neighbours:
        """The `k` rows of highest cosine: by codes and their measured recall where there are codes, else exactly."""
        if self.codes is None or k > self.codes.most:
            return self.nearest(queries, k, allowed)
        codes, parts = self.codes, [slice(at, at + _ASKED_AT_ONCE) for at in range(0, len(queries), _ASKED_AT_ONCE)]

        def near(part: slice) -> list[NDArray[np.int64]]:
            return codes.near(queries[part], k, allowed if allowed is None or allowed.ndim == 1 else allowed[part])

        if len(parts) == 1:
            return rescored(queries, near(parts[0]), self.checked, k)
        with ThreadPoolExecutor(1) as ahead:  # FAISS looks through codes of the next part while rows of this are read
            found = [
                rescored(queries[part], rows, self.checked, k)
                for part, rows in zip(parts, ahead.map(near, parts), strict=True)
            ]
        return Neighbours(np.concatenate([one.rows for one in found]), np.concatenate([one.scores for one in found]))

    def checked(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors of some rows, each held against its checksum; raises `DamagedError` where one differs."""
        if self._is_checked:
            return self.vectors(rows)
        vectors = self._read(rows)
        if not np.array_equal(vector_sums(vectors), self._sums[rows]):
            raise damaged(self.folder)
        return vectors

    def _read(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Rows of a large matrix, read from the file: mapping a page maps its neighbours too, and memory fills up."""
        vectors = np.empty((len(rows), self._matrix.shape[1]), dtype=np.float32)
        step = vectors.strides[0]
        room = vectors.reshape(-1).view(np.uint8).data
        with self._turn:  # a file has one place that it is read at
            for at, row in enumerate(rows.tolist()):
                self._file.seek(self._matrix.offset + row * step)
                self._file.readinto(room[at * step : (at + 1) * step])
        return vectors

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def make_codes(self) -> Tuned:
        """Make this copy's codes, or keep those that are there."""
        tuned = tuning_of(self.folder)
        if tuned is None:
            self._check_vectors()
            tuned = write_codes(self.folder, np.asarray(self._matrix), self.groups)
            self.__dict__.pop("codes", None)
        return tuned

    def verify(self) -> None:
        """Check everything, however large; raises `DamagedError` where something is not what was written."""
        self._check_vectors()
        read_codes(self.folder)

    def _check(self, files: dict[str, str]) -> None:
        for name in ("vectors.npy", "rows.npy", "sums.npy", "items.arrow"):
            path = self.folder / name
            large = name == "vectors.npy" and path.stat().st_size > CHECKED_AT_START
            if not large and sha256_of(path) != files[name]:
                raise ValueError(name)
            if name == "vectors.npy":
                self._is_checked = not large
                self._vectors_sha256 = files[name]

    def _check_vectors(self) -> None:
        """Check the whole matrix, once, before work that reads all of it."""
        if not self._is_checked:
            with self._turn:
                self._file.seek(0)
                found = hashlib.file_digest(self._file, "sha256").hexdigest()
            if found != self._vectors_sha256:
                raise damaged(self.folder)
        self._is_checked = True


def write_fast(home: Path, entry: Entry, mark: str, batches: pa.RecordBatchReader, n_rows: int) -> FastCopy:
    """Write the fast copy of a table read in batches, in bounded memory, and drop those of older versions.

    `mark` tells this table from another one that lay at the same place and had as many versions.
    """
    target = fast_folder(home, entry.version)
    dim = batches.schema.field(VECTOR).type.list_size
    with written_folder(target, {**entry._asdict(), "mark": mark, "dim": dim}) as draft:
        _write_columns(draft, batches, n_rows, dim)
    drop_fast(home, entry.version)
    return FastCopy(target)


def _write_columns(draft: Path, batches: pa.RecordBatchReader, n_rows: int, dim: int) -> None:
    hidden = {VECTOR, ROW_ID, VECTOR_SUM, ITEM_SUM}
    columns = [field for field in batches.schema if field.name not in hidden]
    at = 0
    with (
        (draft / "items.arrow").open("wb") as sink,
        pa.ipc.new_file(sink, pa.schema(columns)) as writer,
        array_file(draft / "vectors.npy", "<f4", (n_rows, dim)) as vectors,
        array_file(draft / "rows.npy", "<u8", (n_rows,)) as row_ids,
        array_file(draft / "sums.npy", "<u8", (n_rows,)) as sums,
    ):

        def without_numbers() -> Iterator[pa.RecordBatch]:
            for batch in batches:
                matrix = matrix_of(pa.chunked_array([batch[VECTOR]]))
                vectors.write(np.ascontiguousarray(matrix).data)
                row_ids.write(np.ascontiguousarray(batch[ROW_ID].to_numpy()).data)
                sums.write(vector_sums(matrix).data)
                yield batch.select([field.name for field in columns])

        for slab in _slabs(without_numbers()):
            writer.write_table(slab.combine_chunks())
            at += slab.num_rows
    if at != n_rows:
        raise DamagedError(f"{draft.parent} gave {at} rows instead of {n_rows}; restore it from a snapshot")


def _slabs(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The batches joined to slabs of many rows."""
    waiting: list[pa.RecordBatch] = []
    n_waiting = 0
    for batch in batches:
        waiting.append(batch)
        n_waiting += batch.num_rows
        if n_waiting >= _SLAB:
            yield pa.Table.from_batches(waiting)
            waiting, n_waiting = [], 0
    if n_waiting:
        yield pa.Table.from_batches(waiting)


def matrix_of(column: pa.ChunkedArray) -> NDArray[np.float32]:
    """A column of vectors as a matrix `[N, D]`."""
    joined = column.combine_chunks()
    flat = joined.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    matrix: NDArray[np.float32] = flat.reshape(-1, column.type.list_size)
    return matrix
