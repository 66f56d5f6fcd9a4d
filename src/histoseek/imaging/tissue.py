"""Where a slide shows tissue: a mask at low power, without glass, pen and the scanner's black border."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histoseek.errors import needs_extra
from histoseek.imaging.views import Reader
from histoseek.items import Box

Mask = NDArray[np.bool_]

MASK_MPP = 8.0
"""µm per pixel of the mask: a tile of 128 µm is 16 pixels wide."""

FEWEST_PX, MOST_PX = 256, 6000
"""The mask's longer side is at least, and at most, so many pixels, as far as the slide has them."""

SATURATION = (0.05, 0.08)
"""Otsu's threshold is kept between these: on nothing but glass, or nothing but tissue, it would split noise in two."""

SPECK_UM2 = 10_000.0
HOLE_UM2 = 100_000.0
STROKE_UM2 = 20_000.0
"""Smaller spots of the colour of ink are nuclei."""

_GLASS_VALUE = 0.75


@dataclass(frozen=True)
class Tissue:
    """A slide at low power: what is tissue, pen and white glass `[h, w]`, and the picture itself `[h, w, 3]`.

    `scale` is level-0 pixels per mask pixel, across and down.
    """

    mask: Mask
    pen: Mask
    white: Mask
    picture: NDArray[np.uint8]
    scale: tuple[float, float]


def find_tissue(reader: Reader, mpp: float) -> Tissue:
    """Find the tissue of a slide whose level-0 pixels are `mpp` µm.

    Tissue is what is more saturated than Otsu's threshold (Otsu 1979, IEEE Trans. SMC 9(1)) on the glass-corrected
    picture, once pen strokes and black borders are taken out; specks below 0.01 mm² go, and holes below 0.1 mm² are
    filled. The picture is rebuilt from the slide's own levels.

    Raises:
        ImageError: the slide cannot be read.
        MissingExtraError: the extra `slides` is not installed.
    """
    width, height = reader.size
    longer = max(width, height)
    side = min(longer, MOST_PX, max(FEWEST_PX, round(longer * mpp / MASK_MPP)))
    out = (max(1, round(width * side / longer)), max(1, round(height * side / longer)))
    picture = reader.read(Box(0, 0, width, height), out, "bilinear")
    scale = (width / out[0], height / out[1])
    mask, pen, white = masks_of(picture, mpp * longer / side)
    return Tissue(mask, pen, white, picture, scale)


def masks_of(picture: NDArray[np.uint8], mpp: float) -> tuple[Mask, Mask, Mask]:
    """Masks `[h, w]` of tissue, pen and white glass of a low-power picture `[h, w, 3]` of `mpp` µm per pixel."""
    with needs_extra("slides"):
        from scipy import ndimage
    rgb: NDArray[np.float32] = picture.astype(np.float32) / np.float32(255)
    value, saturation = rgb.max(axis=2), _saturation(rgb)
    dark = ((value < 0.22) & (saturation < 0.4)) | ((value < 0.4) & (saturation < 0.15))  # dense nuclei are purple
    pen = _pen(rgb) & ~dark
    pen = _without_small(ndimage.binary_opening(pen), STROKE_UM2 / (mpp * mpp))
    pen = ndimage.binary_dilation(pen, iterations=2) if pen.any() else pen
    shut_out = ndimage.binary_dilation(dark, iterations=2) | pen if dark.any() else pen
    rgb = np.minimum(rgb / _glass(rgb, shut_out), np.float32(1))
    saturation = ndimage.median_filter(_saturation(rgb), size=3)
    inside = saturation[~shut_out]
    threshold = float(np.clip(_otsu(inside), *SATURATION)) if inside.size else 1.0
    tissue = ndimage.binary_opening((saturation > threshold) & ~shut_out)
    area = mpp * mpp
    tissue = _without_small(tissue, min(SPECK_UM2 / area, 0.002 * tissue.size))
    tissue = ~_without_small(~tissue, min(HOLE_UM2 / area, 0.02 * tissue.size)) & ~shut_out
    white = (saturation <= threshold) & (rgb.min(axis=2) > _GLASS_VALUE)
    return tissue, pen, white & ~shut_out


def _saturation(rgb: NDArray[np.float32]) -> NDArray[np.float32]:
    """Saturation as in HSV: 0 for grey."""
    highest = rgb.max(axis=2)
    return np.asarray((highest - rgb.min(axis=2)) / np.maximum(highest, 1e-3), dtype=np.float32)


def _pen(rgb: NDArray[np.float32]) -> Mask:
    """Ink of markers: purer blues, greens and reds than stains leave at low power."""
    red, green, blue = np.moveaxis(rgb, 2, 0)
    blue_ink = (blue > 1.6 * red) & (blue > 1.25 * green) & (red < 0.45)
    green_ink = (green > 1.25 * red) & (green > 1.1 * blue) & (red < 0.6)
    cyan_ink = (red < 0.6 * green) & (red < 0.6 * blue)
    red_ink = (red > 0.5) & (green < 0.4 * red) & (blue < 0.42 * red)
    return np.asarray(blue_ink | green_ink | cyan_ink | red_ink, dtype=bool)


def _glass(rgb: NDArray[np.float32], shut_out: Mask) -> NDArray[np.float32]:
    """The colour of empty glass `[3]`: of the brightest pixels, where those are bright enough to be glass."""
    inside = rgb[~shut_out]
    if not len(inside):
        return np.ones(3, dtype=np.float32)
    value = inside.min(axis=1)
    brightest = inside[value >= np.quantile(value, 0.95)]
    colour = np.median(brightest, axis=0)
    is_glass = colour.min() > 0.84 and (colour.max() - colour.min()) < 0.065  # pale mucin is darker or more tinted
    return np.asarray(colour if is_glass else np.ones(3), dtype=np.float32)


def _otsu(values: NDArray[np.float32]) -> float:
    """The threshold that divides values in 0…1 into two classes of the greatest variance between them."""
    counts, edges = np.histogram(values, bins=256, range=(0.0, 1.0))
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * middles)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(middles[int(np.nanargmax(between))]) if np.isfinite(between).any() else 1.0


def _without_small(mask: Mask, fewest: float) -> Mask:
    """Take connected parts of fewer pixels out of a mask."""
    from scipy import ndimage

    parts, _ = ndimage.label(mask)
    keep = np.bincount(parts.ravel()) >= max(1, math.ceil(fewest))
    keep[0] = False
    return np.asarray(keep[parts], dtype=bool)
