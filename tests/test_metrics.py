from __future__ import annotations

import doctest
from collections import Counter

import numpy as np
import pytest
import pytrec_eval
from numpy.typing import NDArray

from histoseek import metrics

K_MAX = 20


def random_rankings(n_queries: int, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Relevance of 20 hits, few or many relevant, and how many more relevant items were never found."""
    rng = np.random.default_rng(seed)
    relevant = rng.random((n_queries, K_MAX)) < rng.random((n_queries, 1))
    relevant[: n_queries // 10] = False
    missed = rng.integers(0, 30, n_queries) * (rng.random(n_queries) < 0.7)
    n_relevant = relevant.sum(axis=1) + missed
    n_relevant[n_relevant == 0] = 1
    return relevant, n_relevant


def by_trec_eval(relevant: NDArray[np.bool_], n_relevant: NDArray[np.int64], ks: tuple[int, ...]) -> dict[str, NDArray]:
    """Per-query figures of NIST's trec_eval: relevant hits and unfound relevant items are its judgements."""
    qrels, run = {}, {}
    for query, (row, n) in enumerate(zip(relevant, n_relevant, strict=True)):
        wanted = {f"d{hit}": 1 for hit in np.flatnonzero(row)}
        qrels[f"q{query}"] = wanted | {f"missed{m}": 1 for m in range(n - len(wanted))}
        run[f"q{query}"] = {f"d{hit}": float(K_MAX - hit) for hit in range(K_MAX)}
    measures = {f"{name}.{','.join(map(str, ks))}" for name in ("success", "P", "map_cut", "ndcg_cut")}
    found = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(run)
    return {name: np.array([found[query][name] for query in qrels]) for name in found["q0"]}


@pytest.fixture(scope="module")
def compared() -> tuple[NDArray[np.bool_], NDArray[np.int64], dict[str, NDArray]]:
    relevant, n_relevant = random_rankings(3000, 0)
    ks = (1, 3, 5, 10, 20)
    return relevant, n_relevant, by_trec_eval(relevant, n_relevant, ks)


@pytest.mark.parametrize("k", [1, 3, 5, 10, 20])
def test_metrics_agree_with_trec_eval(compared: tuple[NDArray, NDArray, dict[str, NDArray]], k: int) -> None:
    relevant, n_relevant, theirs = compared
    ap = (
        metrics.ap_at_k(relevant, n_relevant, k) * np.minimum(k, n_relevant) / n_relevant
    )  # trec_eval divides by n_relevant
    ours = {
        f"success_{k}": metrics.acc_at_k(relevant, k),
        f"P_{k}": metrics.precision_at_k(relevant, k),
        f"map_cut_{k}": ap,
        f"ndcg_cut_{k}": metrics.ndcg_at_k(relevant, n_relevant, k),
    }
    for name, values in ours.items():
        assert np.abs(values - theirs[name]).max() < 1e-9, name


def test_ap_divides_by_the_smaller_of_k_and_the_number_of_relevant_items() -> None:
    relevant = np.array([[True, True, False, True]])
    full = 1 + 1 + 3 / 4
    for n_relevant, k, value in (
        (3, 4, full / 3),
        (100, 4, full / 4),
        (5, 4, full / 4),
        (100, 2, 1.0),
        (100, 3, 2 / 3),
    ):
        assert metrics.ap_at_k(relevant, np.array([n_relevant]), k)[0] == pytest.approx(value)


def test_perfect_ranking_scores_one_everywhere() -> None:
    relevant = np.arange(10)[None] < 4
    n_relevant = np.array([4])
    for k in (1, 4, 10):
        assert metrics.ap_at_k(relevant, n_relevant, k)[0] == pytest.approx(1)
        assert metrics.ndcg_at_k(relevant, n_relevant, k)[0] == pytest.approx(1)


def test_nothing_relevant_in_reach_scores_zero_without_a_warning() -> None:
    relevant, none = np.zeros((1, 5), dtype=bool), np.array([0])
    assert metrics.ap_at_k(relevant, none, 5).tolist() == [0]
    assert metrics.ndcg_at_k(relevant, none, 5).tolist() == [0]


def test_hits_that_are_missing_count_as_misses() -> None:
    relevant = np.array([[True, True]])
    assert metrics.precision_at_k(relevant, 5)[0] == pytest.approx(2 / 5)
    assert metrics.ap_at_k(relevant, np.array([4]), 5)[0] == pytest.approx(2 / 4)
    assert metrics.acc_at_k(relevant, 5)[0] == 1
    gained = 1 + 1 / np.log2(3)
    best = sum(1 / np.log2(rank + 1) for rank in range(1, 5))
    assert metrics.ndcg_at_k(relevant, np.array([4]), 5)[0] == pytest.approx(gained / best)


def naive_majority(labels: list[int]) -> int:
    counts = Counter(label for label in labels if label >= 0)
    return max(counts, key=lambda label: (counts[label], -labels.index(label)), default=-1)


def naive_weighted(labels: list[int], scores: list[float], temperature: float) -> int:
    totals: dict[int, float] = {}
    for label, score in zip(labels, scores, strict=True):
        if label >= 0:
            totals[label] = totals.get(label, 0) + np.exp(score / temperature)
    return max(totals, key=lambda label: totals[label], default=-1)


@pytest.mark.parametrize("k", [1, 2, 3, 5, 8, 30])
def test_majority_vote_agrees_with_counting(k: int) -> None:
    rng = np.random.default_rng(k)
    labels = rng.integers(-1, 4, (2000, 8))
    labels[:50] = -1
    assert metrics.majority_vote(labels, k).tolist() == [naive_majority(list(row[:k])) for row in labels]


@pytest.mark.parametrize("k", [1, 3, 8, 30])
def test_weighted_vote_agrees_with_adding_up(k: int) -> None:
    rng = np.random.default_rng(k)
    labels = rng.integers(-1, 4, (2000, 8))
    labels[:50] = -1
    scores = -np.sort(-rng.uniform(-1, 1, (2000, 8)), axis=1)
    scores[labels < 0] = -np.inf
    expected = [naive_weighted(list(row[:k]), list(part[:k]), 0.07) for row, part in zip(labels, scores, strict=True)]
    assert metrics.weighted_vote(labels, scores.astype(np.float32), k).tolist() == expected


def test_votes_without_hits_are_minus_one() -> None:
    nothing = np.zeros((3, 0))
    assert metrics.majority_vote(nothing.astype(np.int64), 5).tolist() == [-1] * 3
    assert metrics.weighted_vote(nothing.astype(np.int64), nothing.astype(np.float32), 5).tolist() == [-1] * 3


def test_near_hits_outweigh_many_far_ones() -> None:
    labels, scores = np.array([[0, 1, 1]]), np.array([[0.95, 0.5, 0.5]], dtype=np.float32)
    assert metrics.majority_vote(labels, 3)[0] == 1
    assert metrics.weighted_vote(labels, scores, 3)[0] == 0


def test_examples_in_the_documentation_hold() -> None:
    failed, tried = doctest.testmod(metrics, extraglobs={"np": np})
    assert failed == 0
    assert tried >= 5
