"""Rows told apart by 8 bytes each, however long their text is: what may be equal is then compared in full."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_STEP = np.uint64(0x9E3779B97F4A7C15)
_ROWS = 65_536
_SIDES = ("box_x", "box_y", "box_width", "box_height")
_LETTERS: NDArray[np.uint64] = np.random.PCG64(0).random_raw(256)  # raw, so that no NumPy draws other ones
_LENGTH = np.uint64(0xD6E8FEB86659FD93)


def text_digests(column: pa.ChunkedArray | pa.Array) -> NDArray[np.uint64]:
    """64-bit digests `[N]` of a text column; equal text has equal digests, and NULL counts as empty text.

    A polynomial over random numbers for the bytes, modulo 2^64: quick in blocks, and no proof that text is equal.
    """
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = [_block_digests(chunk.slice(start, _ROWS)) for chunk in chunks for start in range(0, len(chunk), _ROWS)]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.uint64)


def repeated(parts: Sequence[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    """Those digests that stand more than once in all parts together, sorted."""
    ordered = np.concatenate([*parts, np.empty(0, dtype=np.uint64)])
    ordered.sort()
    return np.unique(ordered[1:][ordered[1:] == ordered[:-1]])


def among(digests: NDArray[np.uint64], chosen: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which digests `[N]` are among some sorted ones."""
    if not len(chosen):
        return np.zeros(len(digests), dtype=bool)
    found = np.empty(len(digests), dtype=bool)
    for start in range(0, len(digests), _ROWS):
        part = digests[start : start + _ROWS]
        at = np.minimum(np.searchsorted(chosen, part), len(chosen) - 1)
        found[start : start + _ROWS] = chosen[at] == part
    return found


def mixed(digests: NDArray[np.uint64], column: pa.Array) -> NDArray[np.uint64]:
    """Digests `[N]` of rows with one more column of whole numbers taken in; NULL differs from every number."""
    known = pc.is_valid(column).to_numpy(zero_copy_only=False)
    values = (
        pc.fill_null(column, 0).to_numpy(zero_copy_only=False).astype(np.int64).view(np.uint64) * np.uint64(2) + known
    )
    turned = (digests ^ (digests >> np.uint64(29))) * _LENGTH
    return np.asarray((turned + values * _STEP) * _LENGTH, dtype=np.uint64)


def content_digests(table: pa.Table) -> NDArray[np.uint64]:
    """64-bit digests `[N]` of what a manifest's rows show: the digest of the file, and the box inside it."""
    found = np.empty(table.num_rows, dtype=np.uint64)
    start = 0
    for batch in table.select(["sha256", *_SIDES]).to_batches(max_chunksize=_ROWS):
        block = text_digests(batch["sha256"])
        for side in _SIDES:
            block = mixed(block, batch[side])
        found[start : start + len(block)] = block
        start += len(block)
    return found


def _block_digests(block: pa.Array) -> NDArray[np.uint64]:
    if not len(block):
        return np.empty(0, dtype=np.uint64)
    filled = pc.fill_null(block, "") if block.null_count else block
    _, ends, data = filled.buffers()
    offsets = np.frombuffer(ends, dtype=np.int32)[filled.offset : filled.offset + len(filled) + 1].astype(np.int64)
    lengths = np.diff(offsets)
    if not offsets[-1] - offsets[0]:
        return lengths.astype(np.uint64) * _LENGTH
    raw = np.frombuffer(data, dtype=np.uint8)[offsets[0] : offsets[-1]]
    powers = np.cumprod(np.full(int(lengths.max()), _STEP, dtype=np.uint64))
    starts = np.repeat(offsets[:-1] - offsets[0], lengths)
    terms = _LETTERS[raw] * powers[np.arange(len(raw)) - starts]
    sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(terms, dtype=np.uint64)])
    at = offsets - offsets[0]
    return np.asarray(sums[at[1:]] - sums[at[:-1]] + lengths.astype(np.uint64) * _LENGTH, dtype=np.uint64)
