"""Tiles: squares of one scale laid over a slide in a grid, with how much of each is tissue."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.int64]


def tile_side(tile_px: int, tile_mpp: float, mpp: float) -> int:
    """Side in level-0 pixels of a tile that is `tile_px` pixels wide at `tile_mpp` µm per pixel."""
    return max(1, round(tile_px * tile_mpp / mpp))


def lay_tiles(size: tuple[int, int], side: int, overlap: float) -> Boxes:
    """Tiles `[T, 4]` (x, y, width, height) of `side` level-0 pixels over a slide, row by row from the top left.

    Neighbours share `overlap` (0 to below 1) of their side. Only whole tiles count, but a slide narrower than a tile
    gives tiles of its own width.
    """
    width, height = (min(side, length) for length in size)
    step = max(1, round(side * (1 - overlap)))
    x = np.arange(0, size[0] - width + 1, step, dtype=np.int64)
    y = np.arange(0, size[1] - height + 1, step, dtype=np.int64)
    rows, columns = np.meshgrid(y, x, indexing="ij")
    sides = np.broadcast_to(np.array([width, height], dtype=np.int64), (rows.size, 2))
    return np.column_stack([columns.ravel(), rows.ravel(), sides])


def share_of(mask: NDArray[np.bool_], boxes: Boxes, scale: tuple[float, float]) -> NDArray[np.float32]:
    """How much of each box `[T, 4]` (level-0 pixels) a mask covers, 0 to 1, `[T]`.

    `scale` is level-0 pixels per mask pixel, and parts of mask pixels count as parts. A table of sums makes it a few
    look-ups a box (Crow 1984, SIGGRAPH).
    """
    sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1))
    sums[1:, 1:] = mask.cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
    x0, x1 = boxes[:, 0] / scale[0], (boxes[:, 0] + boxes[:, 2]) / scale[0]
    y0, y1 = boxes[:, 1] / scale[1], (boxes[:, 1] + boxes[:, 3]) / scale[1]
    inside = _between(sums, x1, y1) - _between(sums, x0, y1) - _between(sums, x1, y0) + _between(sums, x0, y0)
    share = np.round(inside / ((x1 - x0) * (y1 - y0)), 6)  # sums of parts are not exact
    return np.asarray(np.clip(share, 0, 1), dtype=np.float32)


def _between(sums: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums up to places between the table's, `[T]`: linear there, as pixels are of one value each."""
    column = np.clip(x.astype(np.int64), 0, sums.shape[1] - 2)
    row = np.clip(y.astype(np.int64), 0, sums.shape[0] - 2)
    right, down = np.clip(x - column, 0, 1), np.clip(y - row, 0, 1)
    top = sums[row, column] * (1 - right) + sums[row, column + 1] * right
    bottom = sums[row + 1, column] * (1 - right) + sums[row + 1, column + 1] * right
    return np.asarray(top * (1 - down) + bottom * down, dtype=np.float64)
