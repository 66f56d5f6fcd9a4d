"""Light absorbed by stains: from colour to optical density to the amount of each stain, and back.

Ruifrok A. C., Johnston D. A. "Quantification of histochemical staining by color deconvolution", Analytical and
Quantitative Cytology and Histology 23(4):291-299, 2001. Optical densities are base 10, as in the paper, so stains that
lie on top of each other add up (Beer-Lambert) and a density of 1 lets a tenth of the light through.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]

WHITE = 255.0

# Absorption of red, green and blue light by each stain, as unit vectors (the values published with the paper).
HAEMATOXYLIN = (0.650, 0.704, 0.286)
EOSIN = (0.072, 0.990, 0.105)


def rgb_to_od(rgb: ArrayLike) -> Floats:
    """Optical density of colours: uint8 `[..., 3]` to float32 `[..., 3]`; a black channel counts as level 1."""
    levels = np.maximum(np.asarray(rgb, dtype=np.float32), 1.0)
    return np.asarray(-np.log10(levels / WHITE), dtype=np.float32)


def od_to_rgb(od: ArrayLike) -> NDArray[np.uint8]:
    """Colours that have these optical densities: float `[..., 3]` to uint8 `[..., 3]`, rounded and clipped."""
    levels = WHITE * np.power(np.float32(10.0), -np.asarray(od, dtype=np.float32))
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def stain_matrix(haematoxylin: ArrayLike = HAEMATOXYLIN, eosin: ArrayLike = EOSIN) -> Floats:
    """Unit absorption vectors of haematoxylin, eosin and the residual at right angles to both, in rows: `[3, 3]`."""
    first, second = _unit(haematoxylin), _unit(eosin)
    return np.stack([first, second, _unit(np.cross(first, second))]).astype(np.float32)


def separate_stains(rgb: ArrayLike, stains: ArrayLike | None = None) -> Floats:
    """Amount of each stain: uint8 `[..., 3]` to float32 `[..., 3]` (haematoxylin, eosin, residual), possibly below 0.

    `stains` `[3, 3]` holds one absorption vector in each row, by default `stain_matrix()`.
    """
    matrix = np.asarray(stain_matrix() if stains is None else stains, dtype=np.float64)
    return np.asarray(rgb_to_od(rgb) @ np.linalg.inv(matrix), dtype=np.float32)


def combine_stains(amounts: ArrayLike, stains: ArrayLike | None = None) -> NDArray[np.uint8]:
    """Colours of these amounts of stain: float `[..., S]` to uint8 `[..., 3]`, with `stains` `[S, 3]` as above."""
    matrix = np.asarray(stain_matrix() if stains is None else stains, dtype=np.float32)
    return od_to_rgb(np.asarray(amounts, dtype=np.float32) @ matrix)


def _unit(vector: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(vector, dtype=np.float64)
    return np.asarray(values / np.linalg.norm(values), dtype=np.float64)
