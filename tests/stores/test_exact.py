from __future__ import annotations

import numpy as np
import pytest

from histoseek.stores import exact
from histoseek.stores.exact import candidates, nearest


def test_candidates_are_all_rows_within_the_margin() -> None:
    scores = np.array([0.5, 0.9, 0.89, 0.4, 0.9], dtype=np.float32)
    assert candidates(scores, 1, 0.0).tolist() == [1, 4]
    assert candidates(scores, 1, 0.01).tolist() == [1, 2, 4]
    assert candidates(scores, 1, 0.0, np.array([True, False, True, True, False])).tolist() == [2]
    assert candidates(scores, 9, 0.0).tolist() == [0, 1, 2, 3, 4]


def test_blocks_of_queries_do_not_change_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    allowed = rng.random((50, 200)) < 0.5
    whole = nearest(vectors[:50], vectors, 7, allowed)
    monkeypatch.setattr(exact, "BLOCK_BYTES", 4 * 200 * 3)
    monkeypatch.setattr(exact, "RESCORED_AT_ONCE", 3)
    parts = nearest(vectors[:50], vectors, 7, allowed)
    assert np.array_equal(whole.rows, parts.rows)
    assert np.array_equal(whole.scores, parts.scores)


def test_no_queries_and_no_rows_are_fine() -> None:
    nothing, some = np.zeros((0, 4), dtype=np.float32), np.ones((2, 4), dtype=np.float32) / 2
    assert nearest(nothing, some, 3).rows.shape == (0, 2)
    assert nearest(some, nothing, 3).rows.shape == (2, 0)
    assert nearest(some, some, 0).rows.shape == (2, 0)


@pytest.mark.parametrize("n_rows", [50, 640, 5000, 70_001])
@pytest.mark.parametrize("share", [None, 0.9, 0.004])
@pytest.mark.parametrize("k", [1, 10])
def test_candidates_are_all_near_the_kth_highest_and_nothing_else(n_rows: int, share: float | None, k: int) -> None:
    rng = np.random.default_rng(n_rows)
    scores = np.round(rng.normal(size=n_rows), 3).astype(np.float32)  # with many equal ones
    allowed = None if share is None else rng.random(n_rows) < share
    rows = np.arange(n_rows) if allowed is None else np.flatnonzero(allowed)
    lowest = np.sort(scores[rows])[-k] if len(rows) > k else -np.inf
    wanted = rows[scores[rows] >= lowest - np.float32(0.02)]
    assert candidates(scores, k, 0.01, allowed).tolist() == wanted.tolist()
