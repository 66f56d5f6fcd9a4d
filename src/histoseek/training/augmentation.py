"""What may differ between two views of the same tissue without a pathologist minding: how it lies, is stained, scanned.

Stain: Tellez D. et al. "Whole-slide mitosis detection in H&E breast histology using PHH3 as a reference to train
distilled stain-invariant convolutional networks", IEEE Transactions on Medical Imaging 37(9):2126-2136, 2018, compared
with other changes by Tellez D. et al., Medical Image Analysis 58:101544, 2019. Elastic: Simard P. Y., Steinkraus D.,
Platt J. C. "Best practices for convolutional neural networks applied to visual document analysis", ICDAR 2003.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from io import BytesIO

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageFilter

from histoseek.errors import InputError
from histoseek.imaging.stain import WHITE, rgb_to_od, stain_matrix
from histoseek.training.palette import Palette, transfer

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

LIMITS = {
    "scale": 2.0, "stain": 0.9, "transfer": 1.0, "blur": 1.0, "jpeg": 1.0, "elastic": 1.0, "brightness": 0.9,
}  # fmt: skip
"""The most that each number may be; the least is 0, which switches it off."""

GLASS, TISSUE = 0.12, 0.4
"""Optical densities, summed over red, green and blue, between which the shift of a stain sets in."""

SHIFT = (0.5, 0.5, 0.15)
"""Shifts of haematoxylin, eosin and residual for a strength of 1: pale stroma holds about 0.1 of eosin and turns green
without it, and the residual is no dye."""

BLUR_PX = (0.3, 1.2)
QUALITY = (40, 95)

MESH = 6
"""Cells along each side of the mesh that elastic changes pull at."""

PULL = 0.25
"""Standard deviation of a mesh node's shift, in cells."""


@dataclass(frozen=True)
class Augmentation:
    """How strongly views are changed; 0 switches a change off.

    `turns`: the eight symmetries of a square. `scale`: a view is cut at the encoder's µm per pixel times 2 to a power
    within ± this. `stain`: each stain's amount is multiplied by 1 ± this and shifted by ± this times `SHIFT`.
    `brightness`: light is multiplied by 1 ± this. `transfer` (colours of another slide), `blur`, `jpeg` and
    `elastic` are the probabilities of these changes.

    Raises:
        InputError: a number makes no sense.
    """

    turns: bool = True
    scale: float = 0.25
    stain: float = 0.1
    transfer: float = 0.5
    blur: float = 0.2
    jpeg: float = 0.2
    elastic: float = 0.0
    brightness: float = 0.1

    def __post_init__(self) -> None:
        if self.turns not in (0, 1):
            raise InputError(f"turns is {self.turns}; it is on (1) or off (0)")
        object.__setattr__(self, "turns", bool(self.turns))  # the command line gives a number
        for name, most in LIMITS.items():
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise InputError(f"the augmentation's {name} is {value:g}; give a number from 0 (off) to {most:g}")


def augmentation_of(strengths: Mapping[str, float]) -> Augmentation:
    """The usual changes but for some strengths, by name.

    Raises:
        InputError: there is no such change, or a number makes no sense.
    """
    names = [field.name for field in fields(Augmentation)]
    for name in strengths:
        if name not in names:
            raise InputError(f"there is no augmentation {name!r}; choose from {', '.join(names)}")
    return Augmentation(**strengths)  # type: ignore[arg-type]


NONE = Augmentation(turns=False, scale=0.0, stain=0.0, transfer=0.0, blur=0.0, jpeg=0.0, elastic=0.0, brightness=0.0)


def scale_factor(how: Augmentation, rng: np.random.Generator) -> float:
    """What the encoder's µm per pixel are multiplied by for one view."""
    return float(2 ** rng.uniform(-how.scale, how.scale))


def augment(view: Pixels, how: Augmentation, rng: np.random.Generator, palette: Palette | None = None) -> Pixels:
    """A changed copy of a view `[P, P, 3]`, decided by `rng` alone; without a palette no colours are transferred."""
    view = turn(view, int(rng.integers(8))) if how.turns else view.copy()
    if rng.random() < how.elastic:
        view = pull(view, rng)
    if rng.random() < how.transfer and palette is not None:
        view = transfer(view, palette, rng)
    if how.stain:
        view = jitter_stain(view, how.stain, rng)
    if how.brightness:
        view = brighten(view, float(rng.uniform(1 - how.brightness, 1 + how.brightness)))
    if rng.random() < how.blur:
        view = blur(view, float(rng.uniform(*BLUR_PX)))
    if rng.random() < how.jpeg:
        view = compress(view, int(rng.integers(QUALITY[0], QUALITY[1] + 1)))
    return view


def turn(view: Pixels, which: int) -> Pixels:
    """One of the eight symmetries of a square: `which` counts right angles, and from 4 on mirrors as well."""
    turned = np.rot90(view, which % 4)
    return np.ascontiguousarray(turned[:, ::-1] if which >= 4 else turned)


def jitter_stain(view: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Stain a view `[P, P, 3]` a little differently: every stain by its own factor and shift (Tellez et al. 2018)."""
    factor = rng.uniform(1 - strength, 1 + strength, 3)
    shift = rng.uniform(-strength, strength, 3) * SHIFT
    return restain(view, factor, shift)


def restain(view: Pixels, factor: ArrayLike, shift: ArrayLike) -> Pixels:
    """Multiply the amounts of haematoxylin, eosin and residual by `factor` [3] and add `shift` [3].

    The shift fades out where next to no light is absorbed: glass does not take up stain.
    """
    stains = stain_matrix().astype(np.float64)
    change = np.linalg.inv(stains) @ np.diag(np.asarray(factor, np.float64)) @ stains
    added = (np.asarray(shift, np.float64) @ stains).astype(np.float32)
    # One plane for each channel: arithmetic along short rows of three takes several times as long.
    density = np.take(_densities(), view.reshape(-1, 3).T)
    depth = np.clip((density.sum(axis=0) - np.float32(GLASS)) / np.float32(TISSUE - GLASS), 0, 1)
    density = change.T.astype(np.float32) @ density
    density += added[:, None] * depth
    density *= np.float32(-np.log(10))
    np.exp(density, out=density)
    density *= np.float32(WHITE)
    return np.ascontiguousarray(_to_levels(density).T).reshape(view.shape)


def brighten(view: Pixels, factor: float) -> Pixels:
    """Multiply the light of a view by a factor."""
    return np.take(_to_levels(np.arange(256, dtype=np.float32) * np.float32(factor)), view)


def blur(view: Pixels, radius_px: float) -> Pixels:
    """Put a view out of focus: a Gaussian of this standard deviation."""
    return np.asarray(Image.fromarray(view).filter(ImageFilter.GaussianBlur(radius_px))).copy()


def compress(view: Pixels, quality: int) -> Pixels:
    """Send a view through JPEG of this quality."""
    kept = BytesIO()
    Image.fromarray(view).save(kept, "JPEG", quality=quality)
    with Image.open(kept, formats=["JPEG"]) as image:
        return np.asarray(image).copy()


def pull(view: Pixels, rng: np.random.Generator) -> Pixels:
    """Distort a view as soft tissue gives way: nodes of a coarse mesh move by chance, what lies between follows.

    Simard et al. (2003) smooth a shift of every pixel; here the mesh smooths. Nodes stay inside the view.
    """
    side = view.shape[0]
    edges = np.rint(np.linspace(0, side, MESH + 1)).astype(int).tolist()
    nodes = np.stack(np.meshgrid(edges, edges), axis=-1).astype(np.float64)
    # Below half a cell, or the mesh could fold.
    shift = np.clip(rng.normal(0, PULL, nodes.shape), -0.45, 0.45) * side / MESH
    moved = np.clip(nodes + shift, 0, side)
    moved[:, (0, -1), 0], moved[(0, -1), :, 1] = nodes[:, (0, -1), 0], nodes[(0, -1), :, 1]
    mesh = [
        (
            (edges[x], edges[y], edges[x + 1], edges[y + 1]),
            tuple(float(v) for node in ((y, x), (y + 1, x), (y + 1, x + 1), (y, x + 1)) for v in moved[node]),
        )
        for y in range(MESH)
        for x in range(MESH)
    ]
    image = Image.fromarray(view).transform((side, side), Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)
    return np.asarray(image).copy()


def _to_levels(values: Floats) -> Pixels:
    """Round and clip to 0…255; the array is changed."""
    np.clip(values, 0, WHITE, out=values)
    values += np.float32(0.5)
    return values.astype(np.uint8)


@cache
def _densities() -> Floats:
    """Optical density of each of 256 levels."""
    return rgb_to_od(np.arange(256))
