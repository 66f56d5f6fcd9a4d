"""Tables that are too large for memory: written block by block to a temporary file and read through the page cache."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoseek.errors import InputError
from histoseek.items.digests import among, repeated, text_digests
from histoseek.items.table import UNIQUE_AFTER, Check

LARGE = 1_000_000
"""Tables of so many rows are not held in memory."""

BLOCK = 65_536
"""Rows that are in memory at once."""

Blocks = Callable[[], Iterable[pa.Table]]
"""Gives the rows of one table block by block, the same ones each time."""


def is_large(n_rows: int) -> bool:
    """Whether a table of so many rows is to stay on disk."""
    return n_rows >= LARGE


def spooled(schema: pa.Schema, blocks: Iterable[pa.Table]) -> pa.Table:
    """Write blocks of rows to a temporary file and map it as one table.

    The file has no name, or one that the system takes away: it is gone when the last column that lies in it is let
    go, or the process ends, however it ends.

    Raises:
        InputError: the temporary folder has no room.
    """
    with tempfile.TemporaryFile(prefix="histoseek-", suffix=".arrow") as file:
        with _room_told():
            writer = pa.ipc.new_file(pa.PythonFile(file, "w"), schema)
        for block in blocks:
            for batch in block.combine_chunks().to_batches():
                with _room_told():
                    writer.write_batch(batch)
        with _room_told():
            writer.close()
            file.flush()
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # holds the file open for itself
    return pa.ipc.open_file(pa.py_buffer(mapped)).read_all()


@contextmanager
def _room_told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"a large table goes through the temporary folder {tempfile.gettempdir()}, which cannot be written to "
            f"({error.strerror or error}); name a roomier one in the environment variable TMPDIR"
        ) from error


def blocks_of(table: pa.Table) -> Iterator[pa.Table]:
    """A table's rows in blocks, none of them copied."""
    for batch in table.to_batches(max_chunksize=BLOCK):
        yield pa.Table.from_batches([batch])


def rows_of(table: pa.Table, rows: NDArray[np.int64]) -> pa.Table:
    """Some rows of a table, ascending; Arrow's own `take` would copy the whole of every column of text first."""
    ends = np.cumsum([0, *(batch.num_rows for batch in table.to_batches())])
    cuts = np.searchsorted(rows, ends)
    found = [
        batch.take(pa.array(rows[low:high] - start))
        for batch, start, low, high in zip(table.to_batches(), ends[:-1], cuts[:-1], cuts[1:], strict=True)
        if high > low
    ]
    return pa.Table.from_batches(found, table.schema)


def check_large(table: pa.Table, name: str) -> pa.Table:
    """As `check_table` in blocks; a table in which nothing is to be completed comes back as it is."""
    seen = _Seen(table.schema, name)
    schema, same = None, True
    for block in blocks_of(table):
        checked = seen.checked(block)
        if checked is not None:
            schema, same = checked.schema, same and _is_same(checked, block)
    seen.refuse_wrong(lambda: blocks_of(table))
    if same and schema is not None:
        return pa.table(table.select(schema.names).columns, schema=schema)
    return spool_checked(table.schema, lambda: blocks_of(table), name)


def spool_checked(schema: pa.Schema, blocks: Blocks, name: str) -> pa.Table:
    """Check and complete blocks of rows, one at least, on their way to a temporary file.

    Raises:
        InputError: as `check_table`, or the temporary folder has no room.
    """
    seen = _Seen(schema, name)
    found = (block for block in map(seen.checked, blocks()) if block is not None)
    first = next(found, None)
    table = schema.empty_table() if first is None else spooled(first.schema, chain([first], found))
    seen.refuse_wrong(blocks)
    return table


class _Seen:
    """What the blocks of one table have shown: digests of their ids, and the error that is to be told.

    A whole table is looked at check by check and blocks come one by one: the error is that of the block that passed
    the fewest checks, so that both tell the same.
    """

    def __init__(self, schema: pa.Schema, name: str) -> None:
        self._check = Check(schema, name)
        self._name = name
        self._digests: list[NDArray[np.uint64]] = []
        self._n_rows = 0
        self._wrong: tuple[int, InputError] | None = None

    def checked(self, block: pa.Table) -> pa.Table | None:
        """The block completed; None from the first wrong one on."""
        first = self._n_rows
        self._n_rows += block.num_rows
        try:
            checked = self._check.completed(block, first)
        except InputError as error:
            if self._wrong is None or self._check.passed < self._wrong[0]:
                self._wrong = (self._check.passed, error)
        if self._wrong is not None and self._wrong[0] < UNIQUE_AFTER:
            return None
        self._digests.append(text_digests(_ids_of(block)))
        return checked if self._wrong is None else None

    def refuse_wrong(self, blocks: Blocks) -> None:
        """Raise what was wrong, once all blocks were seen; `blocks` gives them again."""
        if self._wrong is not None and self._wrong[0] < UNIQUE_AFTER:
            raise self._wrong[1]
        twice = repeated(self._digests)
        if len(twice):
            self._refuse_repeats(blocks(), twice)
        if self._wrong is not None:
            raise self._wrong[1]

    def _refuse_repeats(self, blocks: Iterable[pa.Table], twice: NDArray[np.uint64]) -> None:
        """Compare in full the ids whose digests are among `twice`."""
        rows_of: dict[str, int] = {}
        first = 1
        for block, digests in zip(blocks, self._digests, strict=True):
            rows = np.flatnonzero(among(digests, twice))
            for row, value in zip(rows.tolist(), _ids_of(block).take(pa.array(rows)).to_pylist(), strict=True):
                if value in rows_of:
                    place = f"{self._name}, row {first + row}, column 'id'"
                    raise InputError(f"{place}: {value!r} stands in row {rows_of[value]} already")
                rows_of[value] = first + row
            first += block.num_rows


def _ids_of(block: pa.Table) -> pa.ChunkedArray:
    return block["id"].cast(pa.string())


def _is_same(checked: pa.Table, block: pa.Table) -> bool:
    """Whether completing a block changed nothing; of the columns that fit, only three are ever filled in."""
    names = checked.schema.names
    fits = set(names) <= set(block.schema.names) and all(checked[name].type == block[name].type for name in names)
    return fits and all(checked[name].equals(block[name]) for name in ("dataset", "group", "group_source"))
