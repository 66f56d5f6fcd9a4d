"""Deep Zoom: an image as a pyramid of small tiles, each level half as large as the next, as viewers in browsers ask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histoseek.errors import ImageError, InputError
from histoseek.imaging.views import Reader
from histoseek.items import Box

TILE, OVERLAP = 256, 1
"""Side of a tile, and the pixels that it shares with each neighbour, so that no seam shows where a viewer scales."""

MARGIN = 4
"""Pixels that are read around a tile and cut off again: a resize at the very border would know one side only."""

MOST_PIXELS = 300_000_000
"""Source pixels decoded for one tile at most: a slide without small levels costs all of itself in the overview."""


@dataclass(frozen=True)
class DeepZoom:
    """The pyramid over an image of `size` (width, height); level 0 has one pixel, the last one every pixel."""

    size: tuple[int, int]

    @property
    def n_levels(self) -> int:
        """How many levels there are."""
        return max(self.size[0] - 1, self.size[1] - 1, 0).bit_length() + 1

    def shrink(self, level: int) -> int:
        """Image pixels along the side of a pixel of a level."""
        return 1 << (self.n_levels - 1 - level)

    def level_size(self, level: int) -> tuple[int, int]:
        """Width and height of a level in its own pixels; raises `InputError` for a level that is not there."""
        if not 0 <= level < self.n_levels:
            raise InputError(f"there is no level {level}: the levels go from 0 to {self.n_levels - 1}")
        shrink = self.shrink(level)
        return -(-self.size[0] // shrink), -(-self.size[1] // shrink)

    def n_tiles(self, level: int) -> tuple[int, int]:
        """How many tiles a level has across and down."""
        width, height = self.level_size(level)
        return -(-width // TILE), -(-height // TILE)

    def tile_box(self, level: int, column: int, row: int) -> Box:
        """Where a tile with its overlap lies, in pixels of its level.

        Raises:
            InputError: there is no such tile.
        """
        across, down = self.n_tiles(level)
        if not (0 <= column < across and 0 <= row < down):
            raise InputError(f"there is no tile {column}_{row} at level {level}: it has {across} × {down} tiles")
        width, height = self.level_size(level)
        left, top = max(0, column * TILE - OVERLAP), max(0, row * TILE - OVERLAP)
        right, bottom = min(width, (column + 1) * TILE + OVERLAP), min(height, (row + 1) * TILE + OVERLAP)
        return Box(left, top, right - left, bottom - top)

    def xml(self) -> str:
        """The `.dzi` file that tells a viewer all this."""
        width, height = self.size
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f'<Image xmlns="http://schemas.microsoft.com/deepzoom/2008" Format="jpg" Overlap="{OVERLAP}" '
            f'TileSize="{TILE}"><Size Width="{width}" Height="{height}"/></Image>\n'
        )


def read_tile(reader: Reader, level: int, column: int, row: int) -> NDArray[np.uint8]:
    """Read a Deep Zoom tile, RGB `[h, w, 3]`: the same pixels as the level read at once would have there.

    The last tiles reach to the image's border, also where that is no whole pixel of the level, as viewers draw them.

    Raises:
        InputError: there is no such tile.
        ImageError: it cannot be decoded, or the image has no level small enough to make it from.
    """
    pyramid = DeepZoom(reader.size)
    tile = pyramid.tile_box(level, column, row)
    shrink = pyramid.shrink(level)
    x, out_x, cut_x = _span(tile.x, tile.width, shrink, reader.size[0])
    y, out_y, cut_y = _span(tile.y, tile.height, shrink, reader.size[1])
    _check_work(reader, (x[1] - x[0]) * (y[1] - y[0]), shrink)
    pixels = reader.read(Box(x[0], y[0], x[1] - x[0], y[1] - y[0]), (out_x, out_y))
    return pixels[cut_y : cut_y + tile.height, cut_x : cut_x + tile.width]


def _span(start: int, length: int, shrink: int, whole: int) -> tuple[tuple[int, int], int, int]:
    """One direction of a tile: what to read of the image, to how many pixels, and how many of them come before it."""
    first, last = start * shrink, min(whole, (start + length) * shrink)
    step = (last - first) / length  # less than `shrink` in the last tile
    before = min(start, MARGIN)
    after = MARGIN if last + MARGIN * shrink <= whole else 0
    return (max(0, first - round(before * step)), last + after * shrink), before + length + after, before


def _check_work(reader: Reader, n_pixels: int, shrink: int) -> None:
    finest = max((reader.size[0] / size[0] for size in reader.levels if reader.size[0] / size[0] <= shrink), default=1)
    if n_pixels / finest**2 > MOST_PIXELS:
        raise ImageError(
            "the slide has no small levels, and this overview would decode all of it; write it as a pyramid"
        )
