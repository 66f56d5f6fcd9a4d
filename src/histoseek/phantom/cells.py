"""Cells around scattered places: whose they are, and how far their walls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from histoseek.phantom.canvas import Floats, Grid
from histoseek.phantom.noise import MARGIN_CELLS, Ints, Points, smooth_noise

_FAR = np.float32(1e6)


@dataclass(frozen=True)
class Cells:
    """The tissue divided among places: `owner` `[H, W]` indexes them, `centre` and `wall` `[H, W]` are µm to each."""

    owner: Ints
    centre: Floats
    wall: Floats


def divide(grid: Grid, points: Points, bend: tuple[float, float], step_um: float, rng: np.random.Generator) -> Cells:
    """Give each pixel to its nearest place, computed every `step_um`.

    Walls curve: `bend` says by how many µm, and over what distance. Corners, where three cells meet, are rounded off.
    """
    coarse = grid.coarse(step_um)
    amount, scale_um = np.float32(bend[0]), bend[1]
    x = coarse.x + amount * smooth_noise(grid, scale_um, rng, onto=coarse)
    y = coarse.y + amount * smooth_noise(grid, scale_um, rng, onto=coarse)
    owner = np.full(coarse.shape, -1, dtype=np.intp)
    nearest = np.full((3, *coarse.shape), _FAR, dtype=np.float32)
    column, row = _table_cell(points, x), _table_cell(points, y)
    table = np.pad(points.table, 2, constant_values=-1)
    column = np.clip(column, 0, points.table.shape[1] - 1) + 2
    row = np.clip(row, 0, points.table.shape[0] - 1) + 2
    px, py = np.append(points.x, _FAR), np.append(points.y, _FAR)
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            candidate = table[row + dy, column + dx]
            distance = np.hypot(px[candidate] - x, py[candidate] - y)
            closer = distance < nearest[0]
            owner[closer] = candidate[closer]
            _insert(nearest, distance)
    return _finish(grid, coarse, owner, nearest)


def _table_cell(points: Points, along: Floats) -> Ints:
    return np.asarray(np.floor(along / points.cell), dtype=np.intp) + MARGIN_CELLS + 3


def _insert(nearest: Floats, distance: Floats) -> None:
    """Keep the three smallest distances in order."""
    for rank in range(3):
        smaller = np.minimum(nearest[rank], distance)
        distance = np.maximum(nearest[rank], distance)
        nearest[rank] = smaller


def _finish(grid: Grid, coarse: Grid, owner: Ints, nearest: Floats) -> Cells:
    second, third = nearest[1] - nearest[0], nearest[2] - nearest[0]
    soft = np.float32(6.0) * (nearest[0].mean() / np.float32(25.0))
    wall = second - soft * np.exp(-third / soft)
    rows = np.minimum((grid.y[:, 0] / coarse.mpp).astype(np.intp), coarse.height - 1)
    columns = np.minimum((grid.x[0] / coarse.mpp).astype(np.intp), coarse.width - 1)
    return Cells(
        owner=owner[np.ix_(rows, columns)],
        centre=grid.resample(nearest[0], coarse),
        wall=grid.resample(wall / 2, coarse),
    )
