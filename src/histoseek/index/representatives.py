"""A few tiles that stand for a slide.

Two ways, both written from the ideas in the papers. "mosaic": clusters by appearance, then by place, as the mosaic of
Kalra et al., "Yottixel", Medical Image Analysis 65 (2020) 101757, with the clusters made of embeddings as in Wang et
al., "RetCCL", Medical Image Analysis 83 (2023) 102645. "diverse": tiles are walked through, and each one that is kept
drops those that look much like it, after SPLICE (Alsaafin et al., arXiv 2404.17704, 2024).
"""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from histoseek.errors import needs_extra

Choice = Literal["mosaic", "diverse"]

CLUSTERS = 9
SHARE = 0.05
"""Part of a cluster's tiles that stand for it, at least one."""

MOST = 100
"""Representatives of a slide, about: a larger slide gets a smaller share."""

PERCENTILE = 30.0
"""Of the tiles still there, this percentage is dropped with each one that "diverse" keeps."""

SEED = 20_240_417
Vectors = NDArray[np.float32]


def choose(vectors: Vectors, places: NDArray[np.float64], how: Choice) -> NDArray[np.int64]:
    """Positions, ascending, of the representatives among tiles with unit vectors `[T, D]` and places `[T, 2]`.

    Places are in pixels. The same tiles give the same answer.

    Raises:
        MissingExtraError: the extra `slides` is not installed.
    """
    chosen = _mosaic(vectors, places) if how == "mosaic" else _diverse(vectors)
    return np.unique(np.asarray(chosen, dtype=np.int64))


def _mosaic(vectors: Vectors, places: NDArray[np.float64]) -> list[int]:
    share = min(SHARE, MOST / len(vectors))
    _, looks = _k_means(vectors.astype(np.float64), CLUSTERS)
    chosen: list[int] = []
    for look in np.unique(looks):
        members = np.flatnonzero(looks == look)
        n_kept = max(1, round(share * len(members)))
        for tile in _middles(places[members], n_kept):
            chosen.append(int(members[tile]))
    return chosen


def _middles(points: NDArray[np.float64], n_clusters: int) -> list[int]:
    """The point nearest to each of the centres of `n_clusters`, all different."""
    centres, _ = _k_means(points, n_clusters)
    free = np.ones(len(points), dtype=bool)
    found = []
    for centre in centres:
        distances = np.where(free, ((points - centre) ** 2).sum(axis=1), np.inf)
        nearest = int(distances.argmin())
        free[nearest] = False
        found.append(nearest)
    return found


def _k_means(points: NDArray[np.float64], n_clusters: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    with needs_extra("slides"):
        from scipy.cluster.vq import kmeans2
    n_clusters = min(n_clusters, len(np.unique(points, axis=0)))
    if n_clusters == 1:
        return points.mean(axis=0, keepdims=True), np.zeros(len(points), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an empty cluster does no harm here
        centres, labels = kmeans2(points, n_clusters, iter=20, minit="++", rng=np.random.default_rng(SEED))
    return centres, labels.astype(np.int64)


def _diverse(vectors: Vectors) -> list[int]:
    """Walk through the tiles in their order, from the one nearest to the slide's mean."""
    left = np.arange(len(vectors))
    start = int((vectors @ vectors.mean(axis=0)).argmax())
    left = np.concatenate([[start], left[left != start]])
    chosen = []
    while len(left):
        tile, left = int(left[0]), left[1:]
        chosen.append(tile)
        if len(left):
            distances = 1 - vectors[left] @ vectors[tile]
            left = left[distances > np.percentile(distances, PERCENTILE)]
    return chosen
