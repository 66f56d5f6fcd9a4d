"""Retrieval metrics: pure arithmetic on relevance matrices.

`relevant` [Q, K] says for each query which of its K hits, best first, carries its label; `n_relevant` [Q] how many
such items the gallery holds for it. Definitions follow Manning, Raghavan & Schütze, Introduction to Information
Retrieval (2008), chapter 8; nDCG is Järvelin & Kekäläinen (2002) with gains 0 and 1. Where the gallery gives fewer
than K hits the rest counts as not relevant.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Relevance = NDArray[np.bool_]
PerQuery = NDArray[np.float64]


def acc_at_k(relevant: Relevance, k: int) -> PerQuery:
    """Acc@k: 1 where any of the first k hits is relevant, `[Q]`.

    >>> acc_at_k(np.array([[False, True], [False, False]]), 2)
    array([1., 0.])
    """
    return relevant[:, :k].any(axis=1).astype(float)


def precision_at_k(relevant: Relevance, k: int) -> PerQuery:
    """P@k: the share of relevant ones among the first k hits, `[Q]`; missing hits count as misses.

    >>> precision_at_k(np.array([[True, False]]), 2)
    array([0.5])
    """
    share: PerQuery = relevant[:, :k].sum(axis=1) / k
    return share


def ap_at_k(relevant: Relevance, n_relevant: NDArray[np.int64], k: int) -> PerQuery:
    """AP@k: precision at each relevant hit among the first k, summed and divided by min(k, n_relevant), `[Q]`.

    >>> ap_at_k(np.array([[True, False, True]]), np.array([2]), 3)
    array([0.83333333])
    """
    top = relevant[:, :k].astype(float)
    precision = np.cumsum(top, axis=1) / np.arange(1, top.shape[1] + 1)
    return _divided((precision * top).sum(axis=1), np.minimum(k, n_relevant))


def ndcg_at_k(relevant: Relevance, n_relevant: NDArray[np.int64], k: int) -> PerQuery:
    """nDCG@k: gain of the first k hits, each over log2(rank + 1), against that of a perfect ranking, `[Q]`.

    >>> ndcg_at_k(np.array([[True, False]]), np.array([1]), 2)
    array([1.])
    """
    discount = 1 / np.log2(np.arange(2, k + 2))
    gained = relevant[:, :k] @ discount[: relevant[:, :k].shape[1]]
    best = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(k, n_relevant)]
    return _divided(gained, best)


def majority_vote(labels: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """The label most frequent among the first k hits, `[Q]`, from label codes `[Q, K]`; −1 is no hit or no label.

    Between equally frequent labels the one whose best hit ranks higher wins. Without any label the vote is −1.

    >>> majority_vote(np.array([[2, 1, 1], [3, 0, -1]]), 3)
    array([1, 3])
    """
    top = labels[:, :k]
    if not top.size:
        return np.full(len(labels), -1, dtype=np.int64)
    counts = (top[:, :, None] == top[:, None, :]).sum(axis=2) * (top >= 0)
    return np.take_along_axis(top, counts.argmax(axis=1)[:, None], axis=1)[:, 0]


def weighted_vote(
    labels: NDArray[np.int64], scores: NDArray[np.float32], k: int, temperature: float = 0.07
) -> NDArray[np.int64]:
    """The label of greatest weight among the first k hits, each weighing exp(score / temperature), `[Q]`.

    The k-nearest-neighbour classifier of Wu et al. (CVPR 2018, arXiv 1805.01978).
    """
    top, cosine = labels[:, :k], scores[:, :k].astype(float)
    if not top.size:
        return np.full(len(labels), -1, dtype=np.int64)
    weight = np.where(top >= 0, np.exp((np.where(top >= 0, cosine, 0) - 1) / temperature), 0)
    totals = np.where(top[:, :, None] == top[:, None, :], weight[:, None, :], 0).sum(axis=2) * (top >= 0)
    return np.take_along_axis(top, totals.argmax(axis=1)[:, None], axis=1)[:, 0]


def _divided(values: PerQuery, by: NDArray[np.floating] | NDArray[np.int64]) -> PerQuery:
    return np.divide(values, by, out=np.zeros_like(values), where=np.asarray(by) > 0)
