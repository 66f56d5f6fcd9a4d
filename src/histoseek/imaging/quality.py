"""How well a tile can be judged by its own pixels: its sharpness, and whether it shows anything but glass."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# ITU-R BT.601 luma
_GREY = np.array([0.299, 0.587, 0.114])

BRIGHT, COLOURLESS = 215, 20
"""Glass is at least so bright in its darkest channel, and its channels differ by no more than that, of 255."""

BLANK_SHARE = 0.97
EVEN_SPREAD = 2.0
"""Grey levels of 255: camera noise alone on plain glass or a lens cap spreads about as far."""

LOOKED_AT_PX = 1024


def sharpness_of(tile: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian of a tile's grey levels `[H, W, 3]`: low where it is out of focus, and on plain areas.

    Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000. Values compare at one scale only.
    A tile of less than three pixels in a direction has 0.
    """
    if min(tile.shape[:2]) < 3:
        return 0.0
    grey = tile.astype(np.float64) @ _GREY
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float(np.var(around - 4 * grey[1:-1, 1:-1]))


def white_share(picture: NDArray[np.uint8]) -> float:
    """The part of a picture `[H, W, 3]` that is as bright and colourless as bare glass, 0 to 1."""
    lowest, highest = picture.min(axis=2), picture.max(axis=2)
    return float(np.mean((lowest >= BRIGHT) & (highest - lowest <= COLOURLESS)))


def why_blank(picture: NDArray[np.uint8]) -> str | None:
    """Why a picture `[H, W, 3]` shows hardly any tissue: white, or of one colour; None where it may show some."""
    step = max(1, round(max(picture.shape[:2]) / LOOKED_AT_PX))
    seen = picture[::step, ::step]
    white = white_share(seen)
    if white >= BLANK_SHARE:
        return f"{white:.0%} of it is white"
    if float(np.std(seen.astype(np.float64) @ _GREY)) < EVEN_SPREAD:
        return "all of it has one colour"
    return None
