"""Heat maps as tiles that lie on a slide's own Deep Zoom tiles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histoseek.figures.heat import CELLS_A_TILE, coloured, rasterised, score_range
from histoseek.imaging import DeepZoom
from histoseek.index.heat import HeatMap

LONGEST = 4096
"""Cells along the longer side of a slide at most, so that a map takes 16 MB."""

_N_COLOURS = 255
_RAMP = np.zeros((_N_COLOURS + 1, 4), dtype=np.uint8)  # the first one is transparent
_RAMP[1:, :3] = np.round(coloured(np.linspace(0, 1, _N_COLOURS)[None], 0, 1)[0])
_RAMP[1:, 3] = 255


@dataclass(frozen=True)
class HeatGrid:
    """A heat map as cells over a slide of `size` (width, height): numbers of colours `[h, w]`, 0 where no tile lies.

    `cell` is a cell's side in level-0 pixels; `low` and `high` are the cosines of the first and the last colour.
    """

    size: tuple[int, int]
    cell: float
    numbers: NDArray[np.uint8]
    low: float
    high: float

    @classmethod
    def of(cls, heat: HeatMap, size: tuple[int, int]) -> HeatGrid:
        """Lay a heat map over its slide."""
        cell = max(1.0, float(heat.boxes[:, 2:].min()) / CELLS_A_TILE, max(size) / LONGEST)
        out = (int(np.ceil(size[0] / cell)), int(np.ceil(size[1] / cell)))
        values = rasterised(heat, (out[0] * cell, out[1] * cell), out)
        low, high = score_range(heat.scores)
        values -= low  # in place from here on: there may be 16 million cells
        values *= (_N_COLOURS - 1) / (high - low)
        np.clip(values, 0, _N_COLOURS - 1, out=values)
        np.round(values, out=values)
        values += 1
        np.nan_to_num(values, copy=False, nan=0)
        return cls(size, cell, values.astype(np.uint8), low, high)

    def tile(self, level: int, column: int, row: int) -> NDArray[np.uint8]:
        """The map's part of a Deep Zoom tile, RGBA `[h, w, 4]`, opaque where there are tiles and else transparent.

        Raises:
            InputError: there is no such tile.
        """
        pyramid = DeepZoom(self.size)
        x, y, width, height = pyramid.tile_box(level, column, row)
        rows, columns = (
            np.minimum(((start + np.arange(n) + 0.5) * pyramid.shrink(level) / self.cell).astype(int), most - 1)
            for start, n, most in ((y, height, self.numbers.shape[0]), (x, width, self.numbers.shape[1]))
        )
        return _RAMP[self.numbers[np.ix_(rows, columns)]]
