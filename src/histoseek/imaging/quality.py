"""How well a tile can be judged: its sharpness from its own pixels, pen and bare glass from the slide at low power."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# ITU-R BT.601 luma
_GREY = np.array([0.299, 0.587, 0.114])


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
