"""Views: the squares that an encoder looks at, laid over an image at the encoder's scale."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from histoseek.imaging.pyramid import Decoding, Interpolation
from histoseek.items import Box

Scale = Literal["matched", "own", "fitted"]

SLACK = 0.12
"""A strip narrower than this part of a view gets no view of its own: the others are stretched over it."""

MOST_FITTED = 16
"""Views along the long side of an image of unknown scale, at most."""


class Reader(Protocol):
    """Pixels at a place and a scale."""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in level-0 pixels."""
        ...

    @property
    def mpp(self) -> float | None:
        """µm per pixel at level 0, None when unknown."""
        ...

    @property
    def levels(self) -> tuple[tuple[int, int], ...]:
        """Sizes (width, height) of the levels that are stored, the full one first."""
        ...

    def read(
        self, box: Box, out: tuple[int, int], interpolation: Interpolation = "bicubic", decoding: Decoding = "full"
    ) -> NDArray[np.uint8]:
        """Read `box` (level-0 pixels) at the size `out` (width, height), as RGB `[H, W, 3]`.

        A coarse read uses a coarse level, and with the `decoding` "scaled" a JPEG file is decoded smaller for it.
        """
        ...

    def close(self) -> None:
        """Free what is open; nothing can be read afterwards."""
        ...


class ViewPlan(NamedTuple):
    """Where the views of a rectangle lie: squares of `side` level-0 pixels at the corners `corners`."""

    side: int
    corners: tuple[tuple[int, int], ...]


def plan_views(width: int, height: int, mpp: float | None, view_px: int, view_mpp: float) -> ViewPlan:
    """Lay views over a `width` × `height` rectangle (level-0 pixels), evenly spaced, in rows from the top left.

    Together they cover it: neighbours overlap where it is no multiple of the view, or the views are made a little
    larger (`SLACK`). A rectangle of unknown scale is covered by views as large as its short side.
    """
    if mpp is None:
        side = max(min(width, height), math.ceil(max(width, height) / MOST_FITTED))
    else:
        side = max(1, round(view_px * max(1.0, view_mpp / mpp)))
    across, down = (max(1, math.ceil(length / side - SLACK)) for length in (width, height))
    side = max(side, math.ceil(width / across), math.ceil(height / down))
    corners = tuple((x, y) for y in _starts(height, side, down) for x in _starts(width, side, across))
    return ViewPlan(side, corners)


def scale_of(mpp: float | None, view_mpp: float) -> Scale:
    """How views come to their scale.

    "matched" to the encoder's, "own" because the image is coarser than the encoder wants and nothing is invented by
    enlarging it, or "fitted" because the image's scale is unknown.
    """
    if mpp is None:
        return "fitted"
    return "matched" if mpp <= view_mpp * 1.02 else "own"


def read_views(
    reader: Reader, box: Box, plan: ViewPlan, view_px: int, interpolation: Interpolation, decoding: Decoding = "full"
) -> Iterator[NDArray[np.uint8]]:
    """Read the views of a plan one by one, each `[view_px, view_px, 3]`; where tissue ends it is mirrored."""
    for x, y in plan.corners:
        part = Box(box.x + x, box.y + y, min(plan.side, box.width), min(plan.side, box.height))
        shrink = view_px / plan.side
        out = (max(1, round(part.width * shrink)), max(1, round(part.height * shrink)))
        yield _mirrored(reader.read(part, out, interpolation, decoding), view_px)


def _starts(length: int, side: int, n: int) -> list[int]:
    if n == 1:  # most tiles; numpy would take longer than all the rest of a plan
        return [0]
    return [round(at) for at in np.linspace(0, max(0, length - side), n)]


def _mirrored(pixels: NDArray[np.uint8], view_px: int) -> NDArray[np.uint8]:
    """Fill `[H, W, 3]` up to `[view_px, view_px, 3]`; glass or black beside a small RoI would look like a finding."""
    height, width = pixels.shape[:2]
    if (height, width) == (view_px, view_px):
        return pixels
    return np.pad(pixels, ((0, view_px - height), (0, view_px - width), (0, 0)), mode="symmetric")
