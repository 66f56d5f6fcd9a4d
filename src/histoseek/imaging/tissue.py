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
Colours = NDArray[np.float32]
"""Red, green and blue in 0…1, each a plane: `[3, h, w]`."""

Values = NDArray[np.float32]

MASK_MPP = 8.0
"""µm per pixel of the mask: a tile of 128 µm is 16 pixels wide."""

FEWEST_PX, MOST_PX = 128, 6000
"""The mask's shorter side is at least, and its longer side at most, so many pixels, as far as the slide has them."""

SMOOTHING_UM = 10.0
"""Standard deviation of the blur before the threshold: nuclei and the pale gaps between them become one colour."""

SATURATION = (0.025, 0.045)
"""Otsu's threshold is kept between these: on nothing but glass, or nothing but tissue, it would split noise in two.

Without any glass the lower one counts.
"""

DARKNESS = 0.28
"""What takes away more light than this is tissue without colour too: silver stains are grey."""

EVEN_UM = 40.0
"""A square of glass of this side is even; one of pale tissue holds nuclei."""

SPECK_UM2 = 10_000.0
HOLE_UM2 = 100_000.0
INK_UM2, INK_HALF_WIDTH_UM = 10_000.0, 10.0
"""Smaller and thinner patches of black or a pure colour are pigment or a strong stain, not the stroke of a pen."""

HALO_UM = 60.0
"""How far around a stroke its paler edge is looked for."""


@dataclass(frozen=True)
class Tissue:
    """A slide at low power: what is tissue, pen and white `[h, w]`, and the picture itself `[h, w, 3]`.

    White is glass, also in gaps inside the tissue. `scale` is level-0 pixels per mask pixel, across and down.
    """

    mask: Mask
    pen: Mask
    white: Mask
    picture: NDArray[np.uint8]
    scale: tuple[float, float]


def find_tissue(reader: Reader, mpp: float) -> Tissue:
    """Find the tissue of a slide whose level-0 pixels are `mpp` µm; see `masks_of`.

    The picture is rebuilt from the slide's own levels.

    Raises:
        ImageError: the slide cannot be read.
        MissingExtraError: the extra `slides` is not installed.
    """
    width, height = reader.size
    shrink = min(MASK_MPP / mpp, min(width, height) / FEWEST_PX)
    shrink = max(1.0, shrink, max(width, height) / MOST_PX)
    out = (max(1, round(width / shrink)), max(1, round(height / shrink)))
    picture = reader.read(Box(0, 0, width, height), out, "bilinear")
    mask, pen, white = masks_of(picture, mpp * shrink)
    return Tissue(mask, pen, white, picture, (width / out[0], height / out[1]))


def masks_of(picture: NDArray[np.uint8], mpp: float) -> tuple[Mask, Mask, Mask]:
    """Masks `[h, w]` of tissue, pen and white glass of a low-power picture `[h, w, 3]` of `mpp` µm per pixel.

    Tissue is what is more saturated than Otsu's threshold (Otsu 1979, IEEE Trans. SMC 9(1)) on the glass-corrected and
    blurred picture, or dark, once pen strokes and black borders are taken out. Specks below 0.01 mm² go, and holes
    below 0.1 mm² are filled.

    Raises:
        MissingExtraError: the extra `slides` is not installed.
    """
    with needs_extra("slides"):
        from scipy import ndimage
    rgb: Colours = np.moveaxis(picture, 2, 0).astype(np.float32, order="C") / np.float32(255)
    black, ink = _black(rgb, mpp), _ink(rgb, mpp)
    shut_out = black | ink
    glass = _glass(rgb, shut_out, mpp)
    rgb = np.minimum(rgb / (np.float32(1) if glass is None else glass[:, None, None]), np.float32(1))
    white = (rgb.min(axis=0) > 0.88) & ~shut_out
    rgb[:, shut_out] = 1.0
    even = np.stack([ndimage.gaussian_filter(plane, SMOOTHING_UM / mpp) for plane in rgb])
    saturation = _saturation(even)
    threshold = SATURATION[0] if glass is None else float(np.clip(_otsu(saturation[~shut_out]), *SATURATION))
    found = (saturation > threshold) | (even.max(axis=0) < 1 - DARKNESS)
    tissue = np.pad(found & ~shut_out, 1, mode="edge")  # a border is no gap
    tissue = ndimage.binary_opening(tissue)[1:-1, 1:-1]
    area = mpp * mpp
    tissue = without_small(tissue, min(SPECK_UM2 / area, 0.002 * tissue.size))
    tissue = ~without_small(~tissue, min(HOLE_UM2 / area, 0.02 * tissue.size)) & ~shut_out
    return tissue, (ink & ~black) | _inner(black), white


def without_small(mask: Mask, fewest: float) -> Mask:
    """Take connected parts of fewer pixels out of a mask."""
    from scipy import ndimage

    parts, _ = ndimage.label(mask)
    keep = np.bincount(parts.ravel()) >= max(1, math.ceil(fewest))
    keep[0] = False
    return np.asarray(keep[parts], dtype=bool)


def _saturation(rgb: Colours) -> Values:
    """Saturation as in HSV: 0 for grey."""
    highest = rgb.max(axis=0)
    return np.asarray((highest - rgb.min(axis=0)) / np.maximum(highest, 1e-3), dtype=np.float32)


def _black(rgb: Colours, mpp: float) -> Mask:
    """What was not scanned, and black ink, with the grey rim around it; dense nuclei keep some colour."""
    from scipy import ndimage

    value, chroma = rgb.max(axis=0), np.ptp(rgb, axis=0)
    core = _thick((value < 0.16) & (chroma < 0.07), mpp)
    if not core.any():
        return core
    rim = (value < 0.4) & (chroma < 0.1)
    return np.asarray(ndimage.binary_dilation(_grown(core, rim, 4), iterations=2), dtype=bool)


def _inner(mask: Mask) -> Mask:
    """Parts of a mask that do not reach the edge of the picture, as strokes of black ink and unlike a border."""
    from scipy import ndimage

    parts, _ = ndimage.label(mask)
    keep = np.ones(int(parts.max()) + 1, dtype=bool)
    keep[np.concatenate([[0], parts[0], parts[-1], parts[:, 0], parts[:, -1]])] = False
    return np.asarray(keep[parts], dtype=bool)


def _ink(rgb: Colours, mpp: float) -> Mask:
    """Strokes of markers: blues, greens and reds purer than stains leave at low power, and their paler edges."""
    from scipy import ndimage

    hue, saturation = _hue(rgb), _saturation(rgb)
    value = rgb.max(axis=0)
    green, blue = (hue >= 75) & (hue < 200), (hue >= 200) & (hue < 247)
    red = (hue < 12) | (hue >= 347)
    pure = (green & (saturation > 0.5)) | (blue & (saturation > 0.6)) | (red & (saturation > 0.7) & (value > 0.45))
    core = _thick(pure, mpp)
    if not core.any():
        return core
    pale = (green & (saturation > 0.12)) | (blue & (saturation > 0.25)) | (red & (saturation > 0.5))
    grown = _grown(core, pale | pure, max(2, round(HALO_UM / mpp)))
    return np.asarray(ndimage.binary_dilation(grown, iterations=2), dtype=bool)


def _thick(mask: Mask, mpp: float) -> Mask:
    """Parts of a mask that are as wide and as large as a pen's stroke; the picture may cut them off."""
    from scipy import ndimage

    if not mask.any():
        return mask
    n_px = max(1, round(INK_HALF_WIDTH_UM / mpp))
    wide = ndimage.binary_opening(np.pad(mask, n_px, mode="edge"), iterations=n_px)[n_px:-n_px, n_px:-n_px]
    return without_small(wide, min(INK_UM2 / mpp**2, 0.002 * mask.size))


def _grown(core: Mask, into: Mask, steps: int) -> Mask:
    from scipy import ndimage

    return np.asarray(ndimage.binary_dilation(core, iterations=steps, mask=core | into), dtype=bool)


def _hue(rgb: Colours) -> Values:
    """Hue as in HSV, in degrees."""
    red, green, blue = rgb
    chroma = np.maximum(np.ptp(rgb, axis=0), 1e-6)
    at_red, at_green = (green - blue) / chroma % 6, (blue - red) / chroma + 2
    highest = rgb.max(axis=0)
    sixths = np.where(highest == red, at_red, np.where(highest == green, at_green, (red - green) / chroma + 4))
    return np.asarray(60 * sixths, dtype=np.float32)


def _glass(rgb: Colours, shut_out: Mask, mpp: float) -> Values | None:
    """The colour of empty glass `[3]`: of what is bright, even and nearly without colour; None where nothing is.

    Pale eosin is bright and even too, and is told by its lack of green.
    """
    from scipy import ndimage

    lowest, chroma = rgb.min(axis=0), np.ptp(rgb, axis=0)
    is_pink = (rgb[0] + rgb[2]) / 2 - rgb[1] > 0.03
    bright = (lowest > 0.7) & (chroma < 0.12) & ~is_pink & ~shut_out
    if not bright.any():
        return None
    window = max(5, round(EVEN_UM / mpp))
    mean = ndimage.uniform_filter(lowest, window)
    spread = ndimage.uniform_filter(lowest * lowest, window) - mean * mean
    found = rgb[:, bright & (spread < 0.015**2)]
    if found.shape[1] < max(20, 0.003 * lowest.size):
        return None
    light = found.min(axis=0)
    return np.asarray(np.median(found[:, light >= np.median(light)], axis=1), dtype=np.float32)


def _otsu(values: Values) -> float:
    """The threshold that divides values in 0…1 into two classes of the greatest variance between them."""
    counts, edges = np.histogram(values, bins=256, range=(0.0, 1.0))
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * middles)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(middles[int(np.nanargmax(between))]) if np.isfinite(between).any() else 1.0
