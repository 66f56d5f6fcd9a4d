"""The colours that tissue has across a training set, and giving one view the colours of another slide.

Shen Y., Luo Y., Shen D., Ke J. "RandStainNA: learning stain-agnostic features from histology slides by bridging stain
augmentation and normalization", MICCAI 2022: a virtual template is drawn from the distribution of the training images'
statistics in LAB, and a view is matched to it as in Reinhard E. et al. "Color transfer between images", IEEE Computer
Graphics and Applications 21(5):34-41, 2001. Unlike there, only tissue is counted and recoloured, so that bare glass
stays bare and a view's share of glass does not pass for a colour of its tissue.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from histoseek.errors import InputError

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

GLASS = 92.0
"""Lightness from which on a pixel is bare glass."""

FADE = 8.0
"""Below glass by this much lightness, a pixel is tissue altogether."""

LEAST_TISSUE = 0.02
"""Share of tissue below which a view has no colours worth counting."""

STRETCH = 1.5
"""Contrast is at most multiplied or divided by this, or the noise of an even view would become a pattern."""

FARTHEST = 2.0
"""Templates are drawn no further out than this many standard deviations."""

# Linear sRGB to XYZ (IEC 61966-2-1), XYZ to LAB (CIE 15:2004); rows over their sums, so that white is (1, 1, 1).
_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
_LAB = ((0.0, 116.0, 0.0), (500.0, -500.0, 0.0), (0.0, 200.0, -200.0))
_KNEE = 6 / 29
_STEPS = 1 << 14


@dataclass(frozen=True)
class Palette:
    """How LAB statistics vary over views: mean `[6]` and covariance `[6, 6]` of three means, then three deviations."""

    mean: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]


def fit_palette(views: Iterable[Pixels]) -> Palette:
    """Measure views uint8 `[P, P, 3]`; those that show hardly any tissue do not count.

    Raises:
        InputError: no view shows tissue.
    """
    found = [one for one in map(_measure, views) if one is not None]
    if not found:
        raise InputError(
            "no training view shows tissue that colours could be taken from; look at the images, or switch colour "
            "transfer off with --augment transfer=0"
        )
    rows = np.stack(found)
    apart = rows - rows.mean(axis=0)
    covariance = apart.T @ apart / len(rows)
    return Palette(tuple(rows.mean(axis=0).tolist()), tuple(tuple(row) for row in covariance.tolist()))


def draw_template(palette: Palette, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Mean `[3]` and standard deviation `[3]` in LAB of a slide that might stand among the measured ones."""
    # The ridge makes a root exist where few views were measured; eigenvectors differ between linear algebra libraries.
    root = np.linalg.cholesky(np.array(palette.covariance) + 1e-6 * np.eye(6))
    drawn = np.array(palette.mean) + root @ np.clip(rng.standard_normal(6), -FARTHEST, FARTHEST)
    return drawn[:3].astype(np.float32), np.maximum(drawn[3:], 0.1).astype(np.float32)


def transfer(view: Pixels, palette: Palette, rng: np.random.Generator) -> Pixels:
    """Give a view `[P, P, 3]` the colours of a template drawn from the palette."""
    return match_template(view, *draw_template(palette, rng))


def match_template(view: Pixels, mean: ArrayLike, deviation: ArrayLike) -> Pixels:
    """Recolour the tissue of a view `[P, P, 3]` to a mean and a standard deviation `[3]` in LAB (Reinhard 2001)."""
    lab = _to_planes(view)
    weight = _tissue(lab)
    own = _moments(lab, weight)
    if own is None:
        return view.copy()
    stretch = np.clip(np.asarray(deviation, np.float32) / np.maximum(own[1], 1e-3), 1 / STRETCH, STRETCH)
    change = lab - own[0][:, None]
    change *= stretch[:, None] - 1
    change += (np.asarray(mean, np.float32) - own[0])[:, None]
    change *= weight
    lab += change
    return _from_planes(lab).reshape(view.shape)


def rgb_to_lab(rgb: Pixels) -> Floats:
    """CIELAB under D65 of sRGB colours: uint8 `[..., 3]` to float32 `[..., 3]`.

    Pillow has LAB only through LittleCMS, in whole steps of eight bits, which is too coarse for means.
    """
    return np.ascontiguousarray(_to_planes(rgb).T).reshape(rgb.shape)


def lab_to_rgb(lab: Floats) -> Pixels:
    """SRGB colours of CIELAB, clipped to what a screen can show: float `[..., 3]` to uint8 `[..., 3]`."""
    return _from_planes(np.array(lab.reshape(-1, 3).T, np.float32)).reshape(lab.shape)


def tissue_moments(view: Pixels) -> tuple[Floats, Floats] | None:
    """Mean `[3]` and standard deviation `[3]` in LAB of a view's tissue; None where there is hardly any."""
    lab = _to_planes(view)
    return _moments(lab, _tissue(lab))


def _measure(view: Pixels) -> NDArray[np.float64] | None:
    found = tissue_moments(view)
    return None if found is None else np.concatenate(found).astype(np.float64)


# One plane for each channel, `[3, N]`: arithmetic along short rows of three takes several times as long.


def _to_planes(rgb: Pixels) -> Floats:
    """LAB planes `[3, N]` of pixels `[..., 3]`."""
    light = _xyz() @ np.take(_linear(), rgb.reshape(-1, 3).T)
    dark = light < _KNEE**3
    straight = light[dark] / np.float32(3 * _KNEE**2) + np.float32(4 / 29)
    np.maximum(light, np.float32(1e-9), out=light)
    np.log(light, out=light)
    light *= np.float32(1 / 3)
    root = np.exp(light, out=light)
    root[dark] = straight
    lab = np.array(_LAB, np.float32) @ root
    lab[0] -= 16
    return np.asarray(lab, dtype=np.float32)


def _from_planes(lab: Floats) -> Pixels:
    """Pixels `[N, 3]` of LAB planes `[3, N]`, which are changed."""
    lab[0] += 16
    root = np.linalg.inv(_LAB).astype(np.float32) @ lab
    dark = root < np.float32(_KNEE)
    straight = np.float32(3 * _KNEE**2) * (root[dark] - np.float32(4 / 29))
    light = root * root
    light *= root
    light[dark] = straight
    levels = np.linalg.inv(_xyz()).astype(np.float32) @ light
    np.clip(levels, 0, 1, out=levels)
    levels *= _STEPS - 1
    levels += np.float32(0.5)
    return np.ascontiguousarray(np.take(_encoded(), levels.astype(np.int32)).T)


def _tissue(lab: Floats) -> Floats:
    """How much of a pixel counts as tissue, from 0 to 1: planes `[3, N]` to `[N]`."""
    weight: Floats = np.clip((np.float32(GLASS) - lab[0]) / np.float32(FADE), 0, 1)
    return weight


def _moments(lab: Floats, weight: Floats) -> tuple[Floats, Floats] | None:
    total = float(weight.sum())
    if total < LEAST_TISSUE * len(weight):
        return None
    mean = lab @ weight / np.float32(total)
    apart = lab - mean[:, None]
    apart *= apart
    return mean, np.sqrt(apart @ weight / np.float32(total))


@cache
def _xyz() -> Floats:
    matrix = np.array(_XYZ)
    return np.asarray(matrix / matrix.sum(axis=1, keepdims=True), dtype=np.float32)


@cache
def _linear() -> Floats:
    """Light of each of 256 levels."""
    level = np.arange(256) / 255
    return np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4).astype(np.float32)


@cache
def _encoded() -> Pixels:
    """Level of each of evenly spaced amounts of light, fine enough for the steep beginning of the curve."""
    light = np.arange(_STEPS) / (_STEPS - 1)
    level = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(255 * level), dtype=np.uint8)
