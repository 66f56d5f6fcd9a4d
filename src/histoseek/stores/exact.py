"""Exact nearest neighbours by matrix product, with an order that does not depend on how work is divided."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from histoseek.stores.store import Neighbours

BLOCK_BYTES = 128 * 1024 * 1024
"""Score matrices are made in blocks of queries that stay below this size."""


def first_copies(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    """For each row of `[N, D]` the number of the first row with the same vector, bit for bit."""
    if not len(vectors):
        return np.zeros(0, dtype=np.int64)
    plain = np.ascontiguousarray(vectors) + 0.0  # turns −0.0 into 0.0, its equal
    as_bytes = plain.view(np.dtype((np.void, plain.dtype.itemsize * plain.shape[1]))).ravel()
    _, first, inverse = np.unique(as_bytes, return_index=True, return_inverse=True)
    return first[inverse.ravel()].astype(np.int64)


def nearest(
    queries: NDArray[np.float32],
    vectors: NDArray[np.float32],
    k: int,
    allowed: NDArray[np.bool_] | None = None,
    copies: NDArray[np.int64] | None = None,
) -> Neighbours:
    """Find the `k` rows of `vectors` [N, D] with the highest dot product for each of `queries` [Q, D].

    Equal scores are ordered by row. Identical vectors get identical scores through `copies` (`first_copies`):
    a matrix product rounds the same row differently at different places, which would shuffle duplicates with the
    batch size. `allowed` is [N] for all queries or [Q, N].
    """
    n_rows = len(vectors)
    k = max(0, min(k, n_rows))
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    step = max(1, BLOCK_BYTES // max(1, 4 * n_rows))
    for start in range(0, len(queries), step):
        block = queries[start : start + step] @ vectors.T
        if copies is not None:
            block = block[:, copies]
        for at, line in enumerate(block, start=start):
            mask = allowed if allowed is None or allowed.ndim == 1 else allowed[at]
            best = best_rows(line, k, mask)
            rows[at, : len(best)] = best
            scores[at, : len(best)] = line[best]
    return Neighbours(rows, scores)


def best_rows(scores: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """Rows of the `k` highest of `scores` [N], best first, equal ones by row; fewer when fewer are allowed."""
    rows = np.arange(len(scores)) if allowed is None else np.flatnonzero(allowed)
    values = scores if allowed is None else scores[rows]
    if 0 < k < len(rows):
        threshold = np.partition(values, len(values) - k)[len(values) - k]
        rows = rows[values >= threshold]  # all that tie at the border, so that the row decides
        values = scores[rows]
    return rows[np.argsort(-values, kind="stable")[:k]]
