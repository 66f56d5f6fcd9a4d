"""Chance with a scale in µm: clouds, and places scattered with room around each."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from histoseek.phantom.canvas import Floats, Grid, stretch

Ints = NDArray[np.intp]


def smooth_noise(grid: Grid, scale_um: float, rng: np.random.Generator, onto: Grid | None = None) -> Floats:
    """Noise without detail below about `scale_um`: `[H, W]`, mean 0, standard deviation about 1.

    `onto` is a coarser grid over the same area on which to show it, without a change to what is drawn by lot.
    """
    columns = math.ceil(grid.width_um / scale_um) + 3
    rows = math.ceil(grid.height_um / scale_um) + 3
    lattice = rng.standard_normal((rows, columns), dtype=np.float32)
    shown = grid if onto is None else onto
    box = (1.0, 1.0, 1.0 + shown.width_um / scale_um, 1.0 + shown.height_um / scale_um)
    return stretch(lattice, shown, box) * np.float32(1.3)


def cloud(grid: Grid, scale_um: float, octaves: int, rng: np.random.Generator) -> Floats:
    """Noise with detail at `scale_um` and at each halving of it: `[H, W]`, standard deviation about 1."""
    weights = [0.6**octave for octave in range(octaves)]
    total = np.zeros(grid.shape, dtype=np.float32)
    for octave, weight in enumerate(weights):
        total += np.float32(weight) * smooth_noise(grid, scale_um / 2**octave, rng)
    return total / np.float32(math.sqrt(sum(weight * weight for weight in weights)))


@dataclass(frozen=True)
class Points:
    """Places in µm at least `spacing` apart: `x`, `y` `[N]`; `table` `[R, C]` holds the place in each cell, or -1."""

    x: Floats
    y: Floats
    spacing: float
    table: Ints

    @property
    def cell(self) -> float:
        """Side of a table cell in µm: its diagonal is the spacing, so no cell ever holds two places."""
        return self.spacing / math.sqrt(2.0)


# Places are wanted a little outside the picture too, so that what stands on them is cut by its border.
MARGIN_CELLS = 3


def scatter(grid: Grid, spacing: float, rng: np.random.Generator, rounds: int = 4) -> Points:
    """Throw places over a grid and its surroundings until few more fit: random, yet nowhere closer than `spacing`."""
    cell = spacing / math.sqrt(2.0)
    columns = math.ceil(grid.width_um / cell) + 2 * MARGIN_CELLS
    rows = math.ceil(grid.height_um / cell) + 2 * MARGIN_CELLS
    # Three empty cells on every side spare the neighbour search any thought about borders.
    px = np.full((rows + 6, columns + 6), -1e6, dtype=np.float32)
    py = np.full_like(px, -1e6)
    for _ in range(rounds):
        for turn in rng.permutation(9):
            # Cells three apart never see each other's places, so they can be tried all at once.
            _throw(px, py, divmod(int(turn), 3), rng)
    keep = px > -1e5
    table = np.full(px.shape, -1, dtype=np.intp)
    table[keep] = np.arange(int(keep.sum()))
    offset = np.float32((MARGIN_CELLS + 3) * cell)
    return Points(px[keep] * np.float32(cell) - offset, py[keep] * np.float32(cell) - offset, spacing, table)


def _throw(px: Floats, py: Floats, turn: tuple[int, int], rng: np.random.Generator) -> None:
    """Try one place in every third cell from `turn` on, in units of cells, and keep those with room around them."""
    top, left = 3 + turn[0], 3 + turn[1]
    bottom, right = px.shape[0] - 3, px.shape[1] - 3
    rows, columns = np.arange(top, bottom, 3, dtype=np.float32), np.arange(left, right, 3, dtype=np.float32)
    y = rows[:, None] + rng.random((len(rows), len(columns)), dtype=np.float32)
    x = columns[None, :] + rng.random((len(rows), len(columns)), dtype=np.float32)
    # Every cell's 5 x 5 neighbours at once: a call for each of them costs more than the sums on small tables.
    near = (slice(top - 2, bottom - 2, 3), slice(left - 2, right - 2, 3))
    away_x = sliding_window_view(px, (5, 5))[near] - x[..., None, None]
    away_y = sliding_window_view(py, (5, 5))[near] - y[..., None, None]
    free = (np.square(away_x) + np.square(away_y) >= 2.0).all(axis=(2, 3))
    here = (slice(top, bottom, 3), slice(left, right, 3))
    px[here] = np.where(free, x, px[here])
    py[here] = np.where(free, y, py[here])
