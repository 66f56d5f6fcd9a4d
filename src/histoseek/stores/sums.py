"""Checksums of rows: what tells a flipped bit from what was stored.

Multilinear hashing (Carter and Wegman 1979): every 32-bit word of a row times its own odd 64-bit number, summed modulo
2^64. A single flipped bit always changes the sum; other damage goes unseen once in about 2^32 rows. Text counts by its
digest, a polynomial that a flipped bit changes as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histoseek.items.digests import text_digests

Sums = NDArray[np.uint64]

VECTOR_SUM, ITEM_SUM = "_vector_sum", "_item_sum"
"""The table's columns that hold the checksums."""

_ROWS_AT_ONCE = 1024


def with_sums(rows: pa.Table, vector: str) -> pa.Table:
    """Add both checksums to rows of item columns and a `vector` column of fixed size."""
    column = rows[vector].combine_chunks()
    matrix = column.flatten().to_numpy(zero_copy_only=False).reshape(len(rows), column.type.list_size)
    sums = (vector_sums(matrix), item_sums(rows.drop_columns([vector])))
    for name, values in zip((VECTOR_SUM, ITEM_SUM), sums, strict=True):
        rows = rows.append_column(pa.field(name, pa.uint64()), pa.array(values))
    return rows


def wrong_rows(rows: pa.Table, vector: str) -> NDArray[np.int64]:
    """Which rows do not have the checksums that they carry."""
    plain = rows.drop_columns([VECTOR_SUM, ITEM_SUM])
    fresh = with_sums(plain, vector)
    same = [fresh[name].to_numpy() == rows[name].to_numpy() for name in (VECTOR_SUM, ITEM_SUM)]
    return np.flatnonzero(~(same[0] & same[1]))


def vector_sums(vectors: NDArray[np.float32]) -> Sums:
    """Checksums `[N]` of vectors `[N, D]`, bit by bit: −0.0 and 0.0 differ."""
    words = np.ascontiguousarray(vectors, dtype=np.float32).view(np.uint32)
    factors = _factors(words.shape[1])
    sums = np.empty(len(words), dtype=np.uint64)
    for start in range(0, len(words), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        sums[part] = np.einsum("ij,j->i", words[part], factors)
    return sums


def item_sums(items: pa.Table) -> Sums:
    """Checksums `[N]` of rows of item columns; the order of the columns does not count, their names do."""
    total = np.zeros(items.num_rows, dtype=np.uint64)
    for name in items.schema.names:
        column = items[name].combine_chunks()
        total += _column_sums(column) * np.uint64(_number(f"column {name}") | 1)
    return total


def facts_sum(facts: Mapping[str, Any]) -> str:
    """Checksum of what a JSON file says."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _column_sums(column: pa.Array) -> Sums:
    """A number for every value of a column; NULL has one of its own."""
    if isinstance(column, pa.ChunkedArray):  # what Arrow makes of a column without chunks
        column = pa.array([], column.type) if not column.num_chunks else pa.concat_arrays(column.chunks)
    kind = column.type
    if pa.types.is_temporal(kind):
        column = column.cast(pa.int64() if column.type.bit_width == 64 else pa.int32())
    if pa.types.is_primitive(column.type) and not pa.types.is_boolean(column.type):
        return _number_sums(column)
    words = pc.dictionary_encode(column.cast(pa.string()))
    known = np.append(text_digests(words.dictionary), np.uint64(_number("\0 NULL")))
    sums: Sums = known.take(words.indices.fill_null(len(known) - 1).to_numpy(zero_copy_only=False))
    return sums


def _number_sums(column: pa.Array) -> Sums:
    missing = column.is_null().to_numpy(zero_copy_only=False)
    values = np.ascontiguousarray(column.fill_null(0).to_numpy(zero_copy_only=False))
    bits = values.view(f"u{values.itemsize}").astype(np.uint64)
    low, high = _factors(2)
    sums: Sums = (bits & np.uint64(0xFFFFFFFF)) * low + (bits >> np.uint64(32)) * high
    return np.where(missing, np.uint64(_number("\0 NULL")), sums)


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


@cache
def _factors(n: int) -> Sums:
    """`n` odd numbers, the same on every machine."""
    drawn: Sums = np.random.PCG64(0x4853).random_raw(n)
    return drawn | np.uint64(1)
