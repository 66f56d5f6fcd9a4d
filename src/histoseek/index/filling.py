"""Filling a table with embedded items, a durable batch at a time."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from histoseek.errors import InputError
from histoseek.imaging import scale_of
from histoseek.index.embedding import Embedded
from histoseek.items import Item, Skipped, sha256_of, table_of
from histoseek.stores import VECTOR, Store

ROWS_A_COMMIT = 4096
SECONDS_A_COMMIT = 30.0
"""A batch is committed when it has this many rows or this age: what a kill can cost."""

DIGESTERS = 4
DIGESTS_AHEAD = 64
"""Threads that read files for their digests, and how many files ahead: a file may lie on a far disk."""

Progress = Callable[[int, int], None]


def fill(store: Store, schema: pa.Schema, embedded: Iterable[Embedded], told: Callable[[int], None]) -> list[Skipped]:
    """Store embedded items as they come and return those that have no vector; `told` is called with each one's number.

    Ctrl-C stores what is embedded, then goes on its way.
    """
    skipped: list[Skipped] = []
    batch: list[Embedded] = []
    since = time.monotonic()
    try:
        for number, one in enumerate(embedded, 1):
            if one.vector is None:
                skipped.append(Skipped(one.item.id, one.reason))
            else:
                batch.append(one)
            if len(batch) >= ROWS_A_COMMIT or time.monotonic() - since > SECONDS_A_COMMIT:
                _commit(store, schema, batch)
                since = time.monotonic()
            told(number)
    finally:
        _commit(store, schema, batch)
    return skipped


def rows_of(embedded: Iterable[Embedded], schema: pa.Schema) -> pa.Table:
    """Rows of a table from items with vectors; a column that an item does not know is NULL."""
    chosen = list(embedded)
    if not chosen:
        return schema.empty_table()
    flat = pa.array(np.concatenate([one.vector for one in chosen if one.vector is not None]), pa.float32())
    rows = table_of(one.item for one in chosen)
    columns = [
        rows[field.name].cast(field.type) if field.name in rows.schema.names else pa.nulls(len(rows), field.type)
        for field in schema
        if field.name != VECTOR
    ]
    stored = pa.FixedSizeListArray.from_arrays(flat, schema.field(VECTOR).type.list_size)
    return pa.table([*columns, stored], schema=schema)


def schema_of(items: pa.Schema, dim: int) -> pa.Schema:
    """The columns of a table: those of the items and the vector, which stands last."""
    return items.remove_metadata().append(pa.field(VECTOR, pa.list_(pa.float32(), dim)))


def with_digests(items: Iterable[Item], path_of: Callable[[Item], Path]) -> Iterator[Item]:
    """Items with the digest of their file, by which a later change of it is seen; an unreadable file has none.

    Files are read ahead by threads, each once for neighbours that lie in it.
    """
    waiting: deque[tuple[Item, Future[str] | None]] = deque()
    pool = ThreadPoolExecutor(DIGESTERS, thread_name_prefix="digests")
    digest = lru_cache(maxsize=DIGESTS_AHEAD)(lambda path: pool.submit(sha256_of, path))
    try:
        for item in items:
            waiting.append((item, _digest_to_come(item, path_of, digest)))
            if len(waiting) >= DIGESTS_AHEAD:
                yield _with_digest(*waiting.popleft())
        while waiting:
            yield _with_digest(*waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _digest_to_come(
    item: Item, path_of: Callable[[Item], Path], digest: Callable[[Path], Future[str]]
) -> Future[str] | None:
    if item.sha256:
        return None
    try:
        return digest(path_of(item))
    except InputError:  # opening its pixels will say what is wrong with it
        return None


def _with_digest(item: Item, digest: Future[str] | None) -> Item:
    if digest is not None:
        with suppress(OSError):  # opening its pixels will say what is wrong with it
            return replace(item, sha256=digest.result())
    return item


def scales_of(mpp: pa.ChunkedArray, target: float) -> dict[str, int]:
    """How many items were embedded at which kind of scale, by the values of their column `mpp`."""
    counts: Counter[str] = Counter()
    for one in pc.value_counts(mpp).to_pylist():
        counts[scale_of(one["values"], target)] += one["counts"]
    return dict(counts)


def _commit(store: Store, schema: pa.Schema, batch: list[Embedded]) -> None:
    if not batch:
        return
    rows = rows_of(batch, schema)
    batch.clear()  # before the rows are stored: Ctrl-C right after must not store them again
    store.add(rows)
