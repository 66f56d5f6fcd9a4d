from __future__ import annotations

import numpy as np
import pytest

from histoseek.evaluation.bootstrap import (
    draw_groups,
    holm,
    macro_means,
    over_rounds,
    p_value,
    resampled_means,
    scores_of,
)


def drawn(n_groups: int, n_rounds: int, seed: int) -> np.ndarray:
    return draw_groups(n_groups, n_rounds, np.random.default_rng(seed))


def test_holm_agrees_with_a_worked_example() -> None:
    # R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_every_round_draws_as_many_groups_as_there_are() -> None:
    draws = drawn(7, 100, 0)
    assert draws.shape == (100, 7)
    assert (draws.sum(axis=1) == 7).all()


def test_draws_are_the_same_for_the_same_seed() -> None:
    assert np.array_equal(drawn(9, 50, 3), drawn(9, 50, 3))
    assert not np.array_equal(drawn(9, 50, 3), drawn(9, 50, 4))


def test_resampled_means_agree_with_repeating_the_queries() -> None:
    rng = np.random.default_rng(0)
    groups, labels, values = rng.integers(0, 5, 40), rng.integers(0, 3, 40), rng.random((40, 2))
    draws = drawn(5, 30, 1)
    means, macro = resampled_means(values, groups, draws), macro_means(values, groups, labels, draws)
    for round_, times in enumerate(draws.astype(int)):
        rows = np.concatenate([np.repeat(np.flatnonzero(groups == g), n) for g, n in enumerate(times)])
        assert means[round_] == pytest.approx(values[rows].mean(axis=0))
        parts = [rows[labels[rows] == label] for label in np.unique(labels[rows])]
        assert macro[round_] == pytest.approx(np.mean([values[part].mean(axis=0) for part in parts], axis=0))


def test_groups_make_wider_intervals_than_items_when_data_are_clustered() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 30)
    values = (rng.random(20)[groups] > 0.5).astype(float)[:, None]
    by_group = scores_of(["x"], values.mean(axis=0), resampled_means(values, groups, drawn(20, 2000, 0)))["x"]
    draws = drawn(600, 2000, 0)
    by_item = scores_of(["x"], values.mean(axis=0), resampled_means(values, np.arange(600), draws))["x"]
    assert by_group.high - by_group.low > 3 * (by_item.high - by_item.low)
    assert by_group.low < by_group.value < by_group.high


def test_p_value_counts_the_rounds_on_the_wrong_side() -> None:
    assert p_value(np.ones(999)) == pytest.approx(2 / 1000)
    assert p_value(-np.ones(999)) == pytest.approx(2 / 1000)
    assert p_value(np.zeros(999)) == 1.0
    assert p_value(np.array([1.0] * 900 + [-1.0] * 99)) == pytest.approx(0.2)


def test_blocks_of_rounds_draw_what_one_block_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    values, groups = np.arange(30.0)[:, None], np.arange(30) // 3

    def means(draws: np.ndarray) -> np.ndarray:
        return resampled_means(values, groups, draws)

    at_once = over_rounds(means, 10, 64, 5)
    monkeypatch.setattr("histoseek.evaluation.bootstrap.BLOCK_BYTES", 8 * 10 * 7)
    assert np.array_equal(over_rounds(means, 10, 64, 5), at_once)
