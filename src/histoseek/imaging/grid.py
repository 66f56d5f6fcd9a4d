"""Tiles: squares of one scale laid over a slide in a grid, with how much of each is tissue."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.int64]


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

    `scale` is level-0 pixels per mask pixel. A table of sums makes it four look-ups a box (Crow 1984, SIGGRAPH).
    """
    sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), dtype=np.int64)
    sums[1:, 1:] = mask.cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
    x0, x1 = _edges(boxes[:, 0], boxes[:, 2], scale[0], mask.shape[1])
    y0, y1 = _edges(boxes[:, 1], boxes[:, 3], scale[1], mask.shape[0])
    inside = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]
    return np.asarray(inside / ((x1 - x0) * (y1 - y0)), dtype=np.float32)


def _edges(start: Boxes, length: Boxes, scale: float, most: int) -> tuple[Boxes, Boxes]:
    """First and last edge of boxes in mask pixels, at least one pixel apart."""
    first = np.clip(np.rint(start / scale).astype(np.int64), 0, most - 1)
    last = np.clip(np.rint((start + length) / scale).astype(np.int64), 1, most)
    return first, np.maximum(last, first + 1)
