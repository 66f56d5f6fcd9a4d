"""What tissue is drawn on: a grid of known scale and, on it, how much haematoxylin and eosin each place holds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from histoseek.errors import InputError

Floats = NDArray[np.float32]
Amount = NDArray[np.floating[Any]] | float


@dataclass(frozen=True)
class Grid:
    """Pixels of `mpp` µm each; `x` `[1, W]` and `y` `[H, 1]` are their centres in µm."""

    width: int
    height: int
    mpp: float

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1 or not 0.05 <= self.mpp <= 20:
            size = f"{self.width} × {self.height} pixels of {self.mpp} µm"
            raise InputError(f"cannot draw {size}; give at least one pixel each way, of 0.05 to 20 µm")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        return self.height, self.width

    @property
    def width_um(self) -> float:
        """Width in µm."""
        return self.width * self.mpp

    @property
    def height_um(self) -> float:
        """Height in µm."""
        return self.height * self.mpp

    @cached_property
    def x(self) -> Floats:
        """Horizontal pixel centres in µm, `[1, W]`."""
        return ((np.arange(self.width, dtype=np.float32) + 0.5) * np.float32(self.mpp))[None, :]

    @cached_property
    def y(self) -> Floats:
        """Vertical pixel centres in µm, `[H, 1]`."""
        return ((np.arange(self.height, dtype=np.float32) + 0.5) * np.float32(self.mpp))[:, None]

    def coarse(self, step_um: float) -> Grid:
        """Give the same area in pixels of `step_um`, or this grid where it is coarser already."""
        if step_um <= self.mpp:
            return self
        return Grid(math.ceil(self.width_um / step_um), math.ceil(self.height_um / step_um), step_um)

    def take(self, field: Floats, x: Floats, y: Floats) -> Floats:
        """Read `field` `[H, W]` at places in µm `[N]`, at the border for places outside."""
        columns = np.clip((x / self.mpp).astype(np.intp), 0, self.width - 1)
        rows = np.clip((y / self.mpp).astype(np.intp), 0, self.height - 1)
        return np.asarray(field[rows, columns], dtype=np.float32)

    def resample(self, field: Floats, source: Grid) -> Floats:
        """Bring `field`, drawn on the coarser grid `source`, onto this one: `[H, W]`."""
        if source == self:
            return field
        box = (0.0, 0.0, self.width_um / source.mpp, self.height_um / source.mpp)
        return stretch(field, self, box)


def stretch(field: Floats, grid: Grid, box: tuple[float, float, float, float]) -> Floats:
    """Spread the part `box` (left, top, right, bottom in cells of `field`) smoothly over a whole grid: `[H, W]`."""
    picture = Image.fromarray(np.ascontiguousarray(field, dtype=np.float32))
    spread = picture.resize((grid.width, grid.height), Image.Resampling.BICUBIC, box=box)
    return np.array(spread, dtype=np.float32)


def ramp(values: Floats, low: float, high: float) -> Floats:
    """Go smoothly from 0 at `low` to 1 at `high` (which may lie below `low`)."""
    t = np.clip((values - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), dtype=np.float32)


class Canvas:
    """Amounts of stain on a grid, in optical density, with the generator that draws them.

    `haematoxylin` and `eosin` are float32 `[H, W]`. How many random numbers are taken depends on µm alone,
    never on pixels, so the same seed draws the same tissue at any scale.
    """

    def __init__(self, grid: Grid, rng: np.random.Generator, nuclear_scale: float = 1.0) -> None:
        self.grid = grid
        self.rng = rng
        self.nuclear_scale = nuclear_scale
        self.haematoxylin: Floats = np.zeros(grid.shape, dtype=np.float32)
        self.eosin: Floats = np.zeros(grid.shape, dtype=np.float32)

    def paint(self, cover: Floats, haematoxylin: Amount, eosin: Amount) -> None:
        """Replace what lies under `cover` (0 to 1, `[H, W]`) by these amounts of stain."""
        self.haematoxylin += cover * (haematoxylin - self.haematoxylin)
        self.eosin += cover * (eosin - self.eosin)
