"""Gland outlines: closed curves that share the room between them, and what lies along them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from histoseek.phantom.canvas import Floats, Grid
from histoseek.phantom.noise import Ints, Points

TURN = 96
_ANGLES = (np.arange(TURN) * (2 * np.pi / TURN)).astype(np.float32)


@dataclass(frozen=True)
class Glands:
    """Closed outlines: centres `x`, `y` `[N]` and `radius` `[N, TURN]` in µm at equal steps of angle."""

    x: Floats
    y: Floats
    radius: Floats


@dataclass(frozen=True)
class Inside:
    """Where glands lie: `depth` `[H, W]` is µm below the outline (below 0 outside), `owner` `[H, W]` the gland or -1.

    `room` `[H, W]` is the radius of the gland in that direction, `arc` `[H, W]` µm along its outline.
    """

    depth: Floats
    owner: Ints
    room: Floats
    arc: Floats


def shape_glands(points: Points, gap_um: float, largest_um: float, bumps: float, rng: np.random.Generator) -> Glands:
    """Let a gland grow around each place until it meets a neighbour, less a gap, or reaches its largest radius.

    `bumps` is how irregular outlines are, as a share of the radius.
    """
    count = len(points.x)
    radius = np.full((count, TURN), 1e6, dtype=np.float32)
    for other in range(count):
        dx, dy = points.x[other] - points.x, points.y[other] - points.y
        distance = np.hypot(dx, dy)
        near = np.flatnonzero((distance > 0) & (distance < 4 * largest_um))
        facing = np.cos(_ANGLES[None, :] - np.arctan2(dy, dx)[near, None])
        reach = (distance[near, None] - gap_um) / 2 / np.maximum(facing, 1e-3)
        radius[near] = np.minimum(radius[near], np.where(facing > 0.02, reach, 1e6))
    ceiling = largest_um * np.exp(rng.standard_normal((count, 1)) * 0.12)
    radius = np.minimum(radius, ceiling.astype(np.float32))
    for _ in range(3):
        # Rounding the corners can only shrink a gland, so neighbours never overlap.
        radius = np.minimum(radius, _blur(radius))
        radius = _blur(radius)
    for wave in range(2, 8):
        swing = bumps * rng.standard_normal((count, 1)) / wave**0.5
        radius = radius * (1.0 + swing * np.cos(wave * _ANGLES + rng.random((count, 1)) * 2 * np.pi) - abs(swing) / 2)
    return Glands(points.x, points.y, np.maximum(radius, 4.0).astype(np.float32))


def _blur(radius: Floats) -> Floats:
    weights = (0.06, 0.12, 0.2, 0.24, 0.2, 0.12, 0.06)
    total = sum(weight * np.roll(radius, shift - 3, axis=1) for shift, weight in enumerate(weights))
    return np.asarray(total, dtype=np.float32)


def fill(grid: Grid, glands: Glands) -> Inside:
    """Find for every pixel the gland it lies in and how deep."""
    depth = np.full(grid.shape, -1e3, dtype=np.float32)
    owner = np.full(grid.shape, -1, dtype=np.intp)
    room, arc = np.ones(grid.shape, dtype=np.float32), np.zeros(grid.shape, dtype=np.float32)
    arcs = _arc_lengths(glands.radius)
    for number, (x, y, radius) in enumerate(zip(glands.x, glands.y, glands.radius, strict=True)):
        reach = float(radius.max()) + 6.0
        rows = _span(y - reach, y + reach, grid.mpp, grid.height)
        columns = _span(x - reach, x + reach, grid.mpp, grid.width)
        dx, dy = grid.x[:, columns] - x, grid.y[rows] - y
        if not dx.size or not dy.size:
            continue
        turn = np.arctan2(dy, dx) * np.float32(TURN / (2 * np.pi)) % TURN
        wall = _around(radius, turn)
        # Where the outline runs aslant, the way to it is shorter than along the radius.
        slope = (np.roll(radius, -1) - np.roll(radius, 1)) / (4 * np.pi / TURN * radius)
        below = (wall - np.hypot(dx, dy)) * _around(1 / np.sqrt(1 + slope**2), turn)
        part = (rows, columns)
        deeper = below > depth[part]
        for field, value in ((depth, below), (owner, number), (room, wall), (arc, _around(arcs[number], turn))):
            field[part] = np.where(deeper, value, field[part])
    owner[depth <= 0] = -1
    return Inside(depth, owner, room, arc)


def _span(low: float, high: float, mpp: float, size: int) -> slice:
    return slice(int(np.clip(np.floor(low / mpp), 0, size)), int(np.clip(np.ceil(high / mpp), 0, size)))


def _around(values: Floats, turn: Floats) -> Floats:
    """Interpolate one value in each direction, `[TURN]`, at directions counted in steps."""
    step = turn.astype(np.intp) % TURN
    share = turn - np.floor(turn)
    following = np.append(values[1:], values[0])
    return np.asarray(values[step] * (1 - share) + following[step] * share, dtype=np.float32)


def _arc_lengths(radius: Floats) -> Floats:
    """Length of outline up to each direction, `[N, TURN]`."""
    px, py = radius * np.cos(_ANGLES), radius * np.sin(_ANGLES)
    steps = np.hypot(px - np.roll(px, 1, axis=1), py - np.roll(py, 1, axis=1))
    return np.asarray(np.cumsum(steps, axis=1), dtype=np.float32)


class Row(NamedTuple):
    """Places along outlines: `x`, `y` in µm, `inward` the angle from the outline to the inside, `gland`; `[N]`."""

    x: Floats
    y: Floats
    inward: Floats
    gland: Ints


def line_up(glands: Glands, depth_um: float, every_um: float, loose_um: float, rng: np.random.Generator) -> Row:
    """Set places along each outline, `depth_um` inside it and `every_um` apart, each displaced by about `loose_um`."""
    rows: list[Row] = []
    for number, radius in enumerate(glands.radius):
        inner = np.maximum(radius - depth_um, 2.0)
        px, py = inner * np.cos(_ANGLES), inner * np.sin(_ANGLES)
        length = np.append(0, np.cumsum(np.hypot(np.roll(px, -1) - px, np.roll(py, -1) - py)))
        count = max(3, round(length[-1] / every_um))
        at = (np.arange(count) + rng.random() + rng.normal(0, 0.16, count)) * length[-1] / count % length[-1]
        along = np.interp(at, length, np.arange(TURN + 1))
        angle = along * (2 * np.pi / TURN)
        slope = np.interp(along, np.arange(TURN + 1), np.append(np.gradient(inner), 0)) * TURN / (2 * np.pi)
        here = np.interp(along, np.arange(TURN + 1), np.append(inner, inner[0])) - rng.normal(0, loose_um, count)
        inward = angle + np.pi - np.arctan2(slope, here)
        x, y = glands.x[number] + here * np.cos(angle), glands.y[number] + here * np.sin(angle)
        x, y, inward = (values.astype(np.float32) for values in (x, y, inward))
        rows.append(Row(x, y, inward, np.full(count, number)))
    return Row(*(np.concatenate(parts) for parts in zip(*rows, strict=True)))
