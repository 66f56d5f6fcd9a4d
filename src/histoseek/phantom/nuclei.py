"""Nuclei and other small round things, stamped by the thousand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histoseek.phantom.canvas import Canvas, Floats, Grid
from histoseek.phantom.noise import Ints, smooth_noise


@dataclass(frozen=True)
class Bodies:
    """Ellipses: centres `x`, `y`, half-axes `long`, `short` in µm, `angle` of the long one, `dark`ness; `[N]`."""

    x: Floats
    y: Floats
    long: Floats
    short: Floats
    angle: Floats
    dark: Floats

    def __len__(self) -> int:
        return len(self.x)

    def pick(self, which: Ints | NDArray[np.bool_]) -> Bodies:
        """Keep some of them, by number or by mask."""
        return Bodies(*(values[which] for values in vars(self).values()))


@dataclass(frozen=True)
class Chromatin:
    """How nuclei look inside, each from 0 to about 1.

    `ragged` outlines, `grain` of the chromatin, `open` pale centres under a dark rim, `nucleolus` one dark dot.
    """

    ragged: float = 0.1
    grain: float = 0.25
    open: float = 0.2
    nucleolus: float = 0.0


def make_bodies(
    x: Floats, y: Floats, axes: tuple[float, float], dark: float, rng: np.random.Generator, spread: float = 0.12
) -> Bodies:
    """Give places bodies of about these half-axes in µm and this density, turned at random."""
    count = len(x)
    size = np.exp(rng.standard_normal(count) * spread)
    bend = np.exp(rng.standard_normal(count) * spread * 0.6)
    return Bodies(
        x=np.asarray(x, dtype=np.float32),
        y=np.asarray(y, dtype=np.float32),
        long=(axes[0] * size * bend).astype(np.float32),
        short=(axes[1] * size / bend).astype(np.float32),
        angle=(rng.random(count) * np.pi).astype(np.float32),
        dark=(dark * np.exp(rng.standard_normal(count) * 0.16)).astype(np.float32),
    )


@dataclass(frozen=True)
class _Patch:
    """The pixels around some bodies, `[n, K * K]`: where they lie, and their distance from the centre in half-axes."""

    pixel: Ints
    along: Floats
    across: Floats
    bodies: Bodies


def _patches(grid: Grid, bodies: Bodies) -> Iterator[_Patch]:
    """Cut a square of pixels around every body, many at a time, those of like size together."""
    reach_um = bodies.long * 1.35 + 0.8
    seen = (bodies.x > -reach_um) & (bodies.x < grid.width_um + reach_um)
    seen &= (bodies.y > -reach_um) & (bodies.y < grid.height_um + reach_um)
    bodies, reach_um = bodies.pick(seen), reach_um[seen]
    reach_px = np.ceil(reach_um / grid.mpp / 3).astype(np.intp) * 3
    for reach in np.unique(reach_px):
        members = np.flatnonzero(reach_px == reach)
        step = np.arange(-reach, reach + 1)
        batch = max(1, 2_000_000 // step.size**2)
        for start in range(0, len(members), batch):
            yield _cut(grid, bodies.pick(members[start : start + batch]), step)


def _cut(grid: Grid, bodies: Bodies, step: Ints) -> _Patch:
    column = np.floor(bodies.x / grid.mpp).astype(np.intp)[:, None] + step[None, :]
    row = np.floor(bodies.y / grid.mpp).astype(np.intp)[:, None] + step[None, :]
    dx = ((column + 0.5) * grid.mpp - bodies.x[:, None]).astype(np.float32)[:, None, :]
    dy = ((row + 0.5) * grid.mpp - bodies.y[:, None]).astype(np.float32)[:, :, None]
    cos, sin = np.cos(bodies.angle)[:, None, None], np.sin(bodies.angle)[:, None, None]
    along = (dx * cos + dy * sin) / bodies.long[:, None, None]
    across = (dy * cos - dx * sin) / bodies.short[:, None, None]
    outside = ((column < 0) | (column >= grid.width))[:, None, :] | ((row < 0) | (row >= grid.height))[:, :, None]
    pixel = np.clip(row, 0, grid.height - 1)[:, :, None] * grid.width + np.clip(column, 0, grid.width - 1)[:, None, :]
    along[outside] = 1e3
    count = len(bodies)
    return _Patch(pixel.reshape(count, -1), along.reshape(count, -1), across.reshape(count, -1), bodies)


def _depth(patch: _Patch, grid: Grid, wobble: Floats) -> tuple[Floats, Floats]:
    """How deep pixels lie inside their body, in µm, and how much of each the body covers: both `[n, K * K]`."""
    radius = np.hypot(patch.along, patch.across) + wobble.ravel()[patch.pixel]
    depth = (1.0 - radius) * patch.bodies.short[:, None]
    soft = max(0.35, 0.5 * grid.mpp)
    return depth, np.clip(depth / (2 * soft) + 0.5, 0.0, 1.0)


def cover(canvas: Canvas, bodies: Bodies, ragged: float = 0.1) -> Floats:
    """How much of each pixel lies under some body: `[H, W]`, 0 to 1."""
    grid = canvas.grid
    wobble = smooth_noise(grid, 3.0, canvas.rng) * np.float32(ragged)
    total = np.zeros(grid.width * grid.height, dtype=np.float32)
    for patch in _patches(grid, bodies):
        _, share = _depth(patch, grid, wobble)
        seen = share > 0
        np.maximum.at(total, patch.pixel[seen], share[seen])
    return total.reshape(grid.shape)


def stamp(canvas: Canvas, nuclei: Bodies, chromatin: Chromatin) -> None:
    """Draw nuclei onto a canvas, in its patient's size; where two overlap the darker shows."""
    grid, rng = canvas.grid, canvas.rng
    wobble = smooth_noise(grid, 3.0, rng) * np.float32(chromatin.ragged)
    grain = 1.0 + (smooth_noise(grid, 1.7, rng) + 0.5 * smooth_noise(grid, 0.8, rng)) * np.float32(
        chromatin.grain * 0.5
    )
    scale = np.float32(canvas.nuclear_scale)
    scaled = Bodies(nuclei.x, nuclei.y, nuclei.long * scale, nuclei.short * scale, nuclei.angle, nuclei.dark)
    density = np.zeros(grid.width * grid.height, dtype=np.float32)
    mask = np.zeros_like(density)
    for patch in _patches(grid, scaled):
        depth, share = _depth(patch, grid, wobble)
        seen = share > 0
        pixel = patch.pixel[seen]
        ink = (_ink(patch, depth, chromatin) * share)[seen] * grain.ravel()[pixel]
        np.maximum.at(density, pixel, np.maximum(ink, 0.0))
        np.maximum.at(mask, pixel, share[seen])
    covered = mask.reshape(grid.shape)
    canvas.haematoxylin *= 1.0 - 0.85 * covered
    canvas.haematoxylin += density.reshape(grid.shape)
    canvas.eosin *= 1.0 - 0.55 * covered


def _ink(patch: _Patch, depth: Floats, chromatin: Chromatin) -> Floats:
    """Haematoxylin of each pixel of a patch, `[n, K * K]`, before grain."""
    dark = patch.bodies.dark[:, None]
    rim = np.exp(-np.square((depth - 0.45) / 0.55))
    ink = dark * (1.0 - chromatin.open * (1.0 - rim) * 0.75)
    if chromatin.nucleolus:
        # The angle of a body is random already, so a fixed place along it will do.
        spot = np.square((patch.along - 0.22) * patch.bodies.long[:, None]) + np.square(
            (patch.across + 0.12) * patch.bodies.short[:, None]
        )
        ink = ink + dark * chromatin.nucleolus * np.exp(-spot / 0.7)
    return np.asarray(ink, dtype=np.float32)
