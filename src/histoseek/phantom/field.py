"""A large piece of tissue on glass, made of several kinds whose places are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from histoseek.errors import InputError
from histoseek.items import Box
from histoseek.phantom.canvas import Floats, Grid, ramp, stretch
from histoseek.phantom.kinds import KINDS
from histoseek.phantom.noise import cloud
from histoseek.phantom.patient import Patient, scan
from histoseek.phantom.picture import lay


class Region(NamedTuple):
    """A place of one kind: nothing else lies inside its box, which is in pixels of the picture."""

    kind: str
    box: Box


class Field(NamedTuple):
    """A picture, uint8 `[H, W, 3]`, and what it shows where."""

    picture: NDArray[np.uint8]
    regions: list[Region]


class _Room(NamedTuple):
    """A rectangle in µm."""

    left: float
    top: float
    right: float
    bottom: float


class _Layout(NamedTuple):
    """Rooms inside the tissue's outline; borders sway by up to `sway` µm, as `shift` `[2, h, w]` on `coarse` says."""

    outline: _Room
    rooms: list[_Room]
    sway: float
    coarse: Grid
    shift: Floats


def draw_field(width: int, height: int, mpp: float, patient: Patient, seed: int, kinds: Sequence[str] = KINDS) -> Field:
    """Draw tissue of several kinds side by side with empty glass around: a picture `[height, width, 3]` and its truth.

    Kinds are dealt out in shuffled order until every region has one. About 110 bytes of memory a pixel of the largest
    region are needed, and 30 a pixel of the whole.

    Raises:
        InputError: no kind or one that is unknown, or a picture without pixels or scale.
    """
    if not kinds:
        raise InputError("a field needs at least one kind of tissue")
    rng = np.random.default_rng([seed, 11])
    grid = Grid(width, height, mpp)
    layout = _lay_out(grid, rng)
    haematoxylin, eosin = np.zeros(grid.shape, dtype=np.float32), np.zeros(grid.shape, dtype=np.float32)
    deal = [kinds[number] for _ in range(len(layout.rooms)) for number in rng.permutation(len(kinds))]
    regions = []
    for number, (room, kind) in enumerate(zip(layout.rooms, deal, strict=False)):
        part = _pixels(grid, room, layout.sway)
        rows, columns = part
        own = Grid(columns.stop - columns.start, rows.stop - rows.start, mpp)
        canvas = lay(kind, own, patient, seed * 1009 + number)
        inside = _belongs(layout, room, grid, part)
        haematoxylin[part] += inside * (canvas.haematoxylin - haematoxylin[part])
        eosin[part] += inside * (canvas.eosin - eosin[part])
        box = _pure_box(grid, layout, room)
        if box.width > 0 and box.height > 0:
            regions.append(Region(kind, box))
    picture = scan(haematoxylin, eosin, mpp, patient, np.random.default_rng([seed, 12]))
    return Field(picture, regions)


def _lay_out(grid: Grid, rng: np.random.Generator) -> _Layout:
    """Leave a rim of glass and cut the rest again and again across its longer side."""
    shorter = min(grid.width_um, grid.height_um)
    rim = 0.07 * shorter
    outline = _Room(rim, rim, grid.width_um - rim, grid.height_um - rim)
    rooms = _cut(outline, max(0.45 * shorter, min(450.0, shorter)), rng)
    sway = min(35.0, 0.05 * shorter)
    coarse = grid.coarse(4.0)
    scale = min(180.0, 0.3 * shorter)
    shift = np.stack([np.clip(0.45 * cloud(coarse, scale, 5, rng), -1, 1) for _ in range(2)]) * np.float32(sway)
    return _Layout(outline, rooms, sway, coarse, shift)


def _cut(room: _Room, longest: float, rng: np.random.Generator) -> list[_Room]:
    across, down = room.right - room.left, room.bottom - room.top
    if max(across, down) <= longest:
        return [room]
    share = rng.uniform(0.4, 0.6)
    if across >= down:
        at = room.left + share * across
        halves = room._replace(right=at), room._replace(left=at)
    else:
        at = room.top + share * down
        halves = room._replace(bottom=at), room._replace(top=at)
    return [part for half in halves for part in _cut(half, longest, rng)]


def _pixels(grid: Grid, room: _Room, more: float) -> tuple[slice, slice]:
    """Rows and columns of a room and `more` µm around it."""
    left, top = max(0, int((room.left - more) / grid.mpp)), max(0, int((room.top - more) / grid.mpp))
    right = min(grid.width, int((room.right + more) / grid.mpp) + 1)
    bottom = min(grid.height, int((room.bottom + more) / grid.mpp) + 1)
    return slice(top, bottom), slice(left, right)


def _belongs(layout: _Layout, room: _Room, grid: Grid, part: tuple[slice, slice]) -> Floats:
    """How much of each pixel of a part belongs to a room, `[h, w]`: soft towards glass, sharp towards neighbours."""
    rows, columns = part
    cells = grid.mpp / layout.coarse.mpp
    box = (columns.start * cells, rows.start * cells, columns.stop * cells, rows.stop * cells)
    own = Grid(columns.stop - columns.start, rows.stop - rows.start, grid.mpp)
    x = grid.x[:, columns] + stretch(layout.shift[0], own, box)
    y = grid.y[rows] + stretch(layout.shift[1], own, box)
    inside = (x >= room.left) & (x < room.right) & (y >= room.top) & (y < room.bottom)
    outline, corner = layout.outline, 4 * layout.sway
    # How far out of a rectangle with round corners, in µm.
    beyond_x = np.maximum(outline.left + corner - x, x - outline.right + corner)
    beyond_y = np.maximum(outline.top + corner - y, y - outline.bottom + corner)
    beyond = np.hypot(np.maximum(beyond_x, 0), np.maximum(beyond_y, 0)) - corner
    return np.asarray(inside * ramp(beyond.astype(np.float32), 0.0, -2.0), dtype=np.float32)


def _pure_box(grid: Grid, layout: _Layout, room: _Room) -> Box:
    """Shrink a room by as much as its borders may sway, and more where the tissue's round corners cut into it."""
    inset = [
        1.05 * layout.sway + 1.0 + (1.2 * layout.sway) * (wall == rim)
        for wall, rim in zip(room, layout.outline, strict=True)
    ]
    left, top = int(np.ceil((room.left + inset[0]) / grid.mpp)), int(np.ceil((room.top + inset[1]) / grid.mpp))
    right, bottom = int((room.right - inset[2]) / grid.mpp), int((room.bottom - inset[3]) / grid.mpp)
    return Box(left, top, right - left, bottom - top)
