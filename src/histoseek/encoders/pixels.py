"""Views on their way into an encoder: checked, stacked, scaled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from histoseek.encoders.encoder import Preprocessing
from histoseek.errors import EncoderError


def stacked(views: Sequence[NDArray[np.uint8]], view_px: int) -> NDArray[np.uint8]:
    """Put views of one size into one array `[N, view_px, view_px, 3]`.

    Raises:
        EncoderError: a view has another shape or is not uint8.
    """
    for number, view in enumerate(views):
        if not isinstance(view, np.ndarray) or view.shape != (view_px, view_px, 3) or view.dtype != np.uint8:
            found = f"{view.dtype} {list(view.shape)}" if isinstance(view, np.ndarray) else type(view).__name__
            raise EncoderError(
                f"view {number} is {found}, but this encoder takes uint8 [{view_px}, {view_px}, 3]; "
                "cut and resize views with histoseek.imaging first"
            )
    if len(views) == 0:
        return np.zeros((0, view_px, view_px, 3), np.uint8)
    return np.stack(list(views))


def normalised(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Scale pixels `[N, H, W, 3]` to [0, 1], take off mean, divide by std; channels come first: `[N, 3, H, W]`."""
    scaled = pixels.astype(np.float32) / np.float32(255)
    scaled -= np.asarray(preprocessing.mean, np.float32)
    scaled /= np.asarray(preprocessing.std, np.float32)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def spans(n: int, size: int) -> Iterator[slice]:
    """Cut the range of `n` rows into spans of `size` rows; the last may be shorter."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))
