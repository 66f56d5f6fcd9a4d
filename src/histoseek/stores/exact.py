"""Exact nearest neighbours, with scores and an order that do not depend on how work is divided.

A matrix product rounds the same row differently at different places and batch sizes, which would shuffle duplicates and
close neighbours. So it only finds the candidates; each then gets its score by itself, in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from histoseek.stores.store import Neighbours

BLOCK_BYTES = 128 * 1024 * 1024
"""Score matrices are made in blocks of queries that stay below this size."""


RESCORED_AT_ONCE = 4096


def nearest(
    queries: NDArray[np.float32],
    vectors: NDArray[np.float32],
    k: int,
    allowed: NDArray[np.bool_] | None = None,
) -> Neighbours:
    """Find the `k` rows of `vectors` [N, D] with the highest cosine to each of `queries` [Q, D], all of unit length.

    Equal scores are ordered by row; identical vectors have identical scores. `allowed` is [N] for all queries or
    [Q, N].
    """
    n_rows = len(vectors)
    k = max(0, min(k, n_rows))
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    step = max(1, BLOCK_BYTES // max(1, 4 * n_rows))
    for start in range(0, len(queries), step):
        for at, line in enumerate(queries[start : start + step] @ vectors.T, start=start):
            mask = allowed if allowed is None or allowed.ndim == 1 else allowed[at]
            near = candidates(line, k, vectors.shape[1] * 2.0**-24, mask)
            exact = _scores(queries[at], vectors, near)
            best = np.argsort(-exact, kind="stable")[:k]
            rows[at, : len(best)] = near[best]
            scores[at, : len(best)] = exact[best]
    return Neighbours(rows, scores)


def rescored(
    queries: NDArray[np.float32],
    near: Sequence[NDArray[np.int64]],
    vectors: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    k: int,
) -> Neighbours:
    """The `k` best of each query's candidate rows `near`, scored and ordered as `nearest` does.

    `vectors` gives the unit vectors of some rows.
    """
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    wanted = np.unique(np.concatenate(near)) if len(near) else np.empty(0, dtype=np.int64)
    found = vectors(wanted)
    for at, (query, mine) in enumerate(zip(queries, near, strict=True)):
        ascending = np.sort(mine)
        exact = _cosines(query, found[np.searchsorted(wanted, ascending)])
        best = np.argsort(-exact, kind="stable")[:k]
        rows[at, : len(best)] = ascending[best]
        scores[at, : len(best)] = exact[best]
    return Neighbours(rows, scores)


def candidates(
    scores: NDArray[np.float32], k: int, margin: float, allowed: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """Rows, ascending, whose score in `scores` [N] is at most twice `margin` below the k-th highest allowed one.

    With scores that are off by at most `margin`, the true k best are among them. The default margin of `nearest` is
    the bound of a float32 product of unit vectors with its terms in any order.
    """
    n_allowed = len(scores) if allowed is None else int(np.count_nonzero(allowed))
    if not 0 < k < n_allowed:
        return np.arange(len(scores)) if allowed is None else np.flatnonzero(allowed)
    values = scores if allowed is None else np.where(allowed, scores, -np.inf)
    rows = np.flatnonzero(values >= _surely_reached(values, k) - 2 * margin)
    best = values[rows]
    threshold = np.partition(best, len(best) - k)[len(best) - k]
    near: NDArray[np.int64] = rows[best >= threshold - 2 * margin]
    return near


def _surely_reached(values: NDArray[np.float32], k: int) -> np.float32:
    """A value that at least `k` of all values reach, close to the k-th highest and quicker to find.

    The k highest maxima of disjoint parts are k of the values.
    """
    n_parts = max(16 * k, len(values) // 64)
    if n_parts * 4 > len(values):
        return np.float32(np.partition(values, len(values) - k)[len(values) - k])
    whole = len(values) // n_parts * n_parts
    maxima = values[:whole].reshape(-1, n_parts).max(axis=0)
    return np.float32(np.partition(maxima, n_parts - k)[n_parts - k])


def _scores(query: NDArray[np.float32], vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Cosines of some rows with one query, each summed alone."""
    scores = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), RESCORED_AT_ONCE):
        part = slice(start, start + RESCORED_AT_ONCE)
        scores[part] = _cosines(query, vectors[rows[part]])
    return scores


def _cosines(query: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    cosines: NDArray[np.float32] = (vectors * query.astype(np.float64)).sum(axis=1).astype(np.float32)
    return cosines
