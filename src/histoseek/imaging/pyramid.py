"""Rectangles of a pyramid at any size: the coarsest level that is fine enough, then an antialiased resize."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from histoseek.errors import ImageError
from histoseek.items import Box

Interpolation = Literal["bicubic", "bilinear", "lanczos"]
Decoding = Literal["full", "scaled"]
ReadLevel = Callable[[int, int, int, int, int], NDArray[np.uint8]]
"""(level, x, y, width, height) in pixels of that level → RGB `[height, width, 3]`."""

RESAMPLING = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}
_SUPPORT = 3
"""Pixels of the output that the widest of these filters (Lanczos) reaches on either side."""

PIXELS_AT_ONCE = 16_000_000
"""Larger reads are made in strips: a slide of one level read as a thumbnail would be gigabytes."""


def read_box(
    levels: Sequence[tuple[int, int]], read_level: ReadLevel, box: Box, out: tuple[int, int], how: Interpolation
) -> NDArray[np.uint8]:
    """Read `box` (level-0 pixels) at the size `out` (width, height), as RGB `[H, W, 3]`.

    `levels` are sizes (width, height), the largest first. Strips give the same pixels as one read would.

    Raises:
        ImageError: the box does not lie inside the image.
    """
    width, height = levels[0]
    if box.width < 1 or box.height < 1 or box.x < 0 or box.y < 0 or box.x + box.width > width:
        raise ImageError(f"the box {tuple(box)} is not inside the {width} × {height} image")
    if box.y + box.height > height:
        raise ImageError(f"the box {tuple(box)} is not inside the {width} × {height} image")
    level = _level_for(levels, min(box.width / out[0], box.height / out[1]))
    across, down = levels[level][0] / width, levels[level][1] / height
    left, right = box.x * across, (box.x + box.width) * across
    top, bottom = box.y * down, (box.y + box.height) * down
    x0, x1 = math.floor(left), min(levels[level][0], math.ceil(right))
    rows_a_strip = max(1, int(PIXELS_AT_ONCE / max(1, x1 - x0) / ((bottom - top) / out[1])))
    strips = []
    for first in range(0, out[1], rows_a_strip):
        last = min(out[1], first + rows_a_strip)
        scale = (bottom - top) / out[1]
        start, stop = top + first * scale, top + last * scale
        margin = _SUPPORT * max(1.0, scale)
        y0 = math.floor(max(top, start - margin))
        y1 = min(levels[level][1], math.ceil(min(bottom, stop + margin)))
        pixels = read_level(level, x0, y0, x1 - x0, y1 - y0)
        part = (left - x0, start - y0, right - x0, stop - y0)
        strips.append(_resized(pixels, part, (out[0], last - first), how))
    return strips[0] if len(strips) == 1 else np.concatenate(strips)


def _level_for(levels: Sequence[tuple[int, int]], shrink: float) -> int:
    """The coarsest level that is not coarser than the size wanted."""
    finer = [level for level, size in enumerate(levels) if levels[0][0] / size[0] <= shrink * 1.001]
    return finer[-1] if finer else 0


def _resized(
    pixels: NDArray[np.uint8], part: tuple[float, float, float, float], out: tuple[int, int], how: Interpolation
) -> NDArray[np.uint8]:
    if part == (0, 0, *out) and pixels.shape[:2] == (out[1], out[0]):
        return pixels
    height, width = pixels.shape[:2]
    inside = (max(0.0, part[0]), max(0.0, part[1]), min(width, part[2]), min(height, part[3]))
    return np.asarray(Image.fromarray(pixels).resize(out, RESAMPLING[how], box=inside))
