"""Intervals and paired tests by drawing whole groups again and again.

Items of one patient are alike, so resampling single queries would make intervals too narrow; the cluster bootstrap
(Field & Welsh, J. R. Statist. Soc. B 2007) draws patients with replacement instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from histoseek.evaluation.report import Score

LEVEL = 0.95


BLOCK_BYTES = 16 * 1024 * 1024
"""Draws are made for so many rounds at a time that they stay below this size."""

Figure = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def over_rounds(figure: Figure, n_groups: int, n_rounds: int, seed: int) -> NDArray[np.float64]:
    """Work out `figure`, draws [b, G] → values [b, M], for all rounds, `[B, M]`; blocks do not change the draws."""
    rng = np.random.default_rng(seed)
    step = max(1, BLOCK_BYTES // (8 * n_groups))
    blocks = [min(step, n_rounds - start) for start in range(0, n_rounds, step)]
    return np.concatenate([figure(draw_groups(n_groups, block, rng)) for block in blocks])


def draw_groups(n_groups: int, n_rounds: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """How often each group is drawn in each round, `[B, G]`."""
    drawn: NDArray[np.float64] = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n_rounds).astype(float)
    return drawn


def resampled_means(
    values: NDArray[np.float64], groups: NDArray[np.int64], draws: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Means over queries of `values` [Q, M] in every round, `[B, M]`; NaN where a round drew no query."""
    n_groups = draws.shape[1]
    sums = np.zeros((n_groups, values.shape[1]))
    np.add.at(sums, groups, values)
    counts = np.bincount(groups, minlength=n_groups).astype(float)
    drawn = draws @ counts
    total = draws @ sums
    means: NDArray[np.float64] = np.full_like(total, np.nan)
    np.divide(total, drawn[:, None], out=means, where=drawn[:, None] > 0)
    return means


def macro_means(
    values: NDArray[np.float64], groups: NDArray[np.int64], labels: NDArray[np.int64], draws: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Means over classes of the class means in every round, `[B, M]`; a class that was not drawn is left out."""
    total = np.zeros((len(draws), values.shape[1]))
    n_drawn = np.zeros((len(draws), 1))
    for label in np.unique(labels):
        rows = labels == label
        means = resampled_means(values[rows], groups[rows], draws)
        total += np.nan_to_num(means)
        n_drawn += ~np.isnan(means[:, :1])
    return np.divide(total, n_drawn, out=np.full_like(total, np.nan), where=n_drawn > 0)


def scores_of(names: Sequence[str], values: NDArray[np.float64], rounds: NDArray[np.float64]) -> dict[str, Score]:
    """Figures `[M]` with percentile intervals from their values in every round `[B, M]`."""
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(rounds, [tail, 1 - tail], axis=0)
    return {name: Score(float(values[at]), float(low[at]), float(high[at])) for at, name in enumerate(names)}


def p_value(differences: NDArray[np.float64]) -> float:
    """Two-sided p of a difference being zero, from its values in every round `[B]`; never below 1 / (B + 1)."""
    n_rounds = len(differences)
    if not differences.any():
        return 1.0
    fewer = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2 * (fewer + 1) / (n_rounds + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Scand. J. Statist. 1979) of p values, in their order."""
    order = np.argsort(p_values, kind="stable")
    corrected = np.empty(len(p_values))
    worst = 0.0
    for place, at in enumerate(order):
        worst = max(worst, min(1.0, (len(p_values) - place) * p_values[at]))
        corrected[at] = worst
    return [float(value) for value in corrected]
