"""Bundles of wavy fibres: strands that follow the contours of a bent plane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from histoseek.phantom.canvas import Floats, Grid
from histoseek.phantom.noise import smooth_noise

# A texture of strands covers this many strand widths and lengths before it repeats.
_STRANDS, _LENGTHS, _FINE = 192, 32, 8


@dataclass(frozen=True)
class Course:
    """Where fibres run: `across` and `along` `[H, W]` are µm at right angles to them and with them."""

    grid: Grid
    across: Floats
    along: Floats

    def direction_at(self, x: Floats, y: Floats) -> Floats:
        """Angle of the fibres, in radians, at places in µm `[N]`."""
        reach = np.float32(max(2.0, self.grid.mpp))
        right = self.grid.take(self.across, x + reach, y) - self.grid.take(self.across, x - reach, y)
        down = self.grid.take(self.across, x, y + reach) - self.grid.take(self.across, x, y - reach)
        return np.asarray(np.arctan2(right, -down), dtype=np.float32)


def lay_course(grid: Grid, angle: float, wave_um: float, length_um: float, rng: np.random.Generator) -> Course:
    """Let fibres run at `angle`, swaying by about `wave_um` every `length_um`."""
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    sway = smooth_noise(grid, length_um, rng) * np.float32(wave_um)
    sway += smooth_noise(grid, length_um / 3.7, rng) * np.float32(wave_um / 7.0)
    return Course(grid, grid.y * cos - grid.x * sin + sway, grid.x * cos + grid.y * sin)


def strands(course: Course, width_um: float, length_um: float, rng: np.random.Generator) -> Floats:
    """Streaks along a course, of about this width and length: `[H, W]`, mean 0, standard deviation about 1."""
    lattice = rng.standard_normal((_STRANDS, _LENGTHS), dtype=np.float32)
    picture = Image.fromarray(np.pad(lattice, 3, mode="wrap"))
    size = (_LENGTHS * _FINE, _STRANDS * _FINE)
    box = (3.0, 3.0, 3.0 + _LENGTHS, 3.0 + _STRANDS)
    texture = np.asarray(picture.resize(size, Image.Resampling.BICUBIC, box=box), dtype=np.float32)
    row = np.floor(course.across * np.float32(_FINE / width_um)).astype(np.int32) % (_STRANDS * _FINE)
    column = np.floor(course.along * np.float32(_FINE / length_um)).astype(np.int32) % (_LENGTHS * _FINE)
    return np.asarray(texture[row, column] * np.float32(1.3), dtype=np.float32)
