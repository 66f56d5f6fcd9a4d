"""Parts of slides that clients ask with: whether they lie on their slide, told without naming its file."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from histoseek.encoders import Preprocessing
from histoseek.errors import HistoseekError, needs_extra
from histoseek.imaging import OpenReaders
from histoseek.index import Region
from histoseek.web.problems import CannotAnswer, NotNow
from histoseek.web.schemas import PolygonIn, RectangleIn

_LOG = logging.getLogger("histoseek.web")


@dataclass(frozen=True)
class Canvas:
    """What a region is drawn on: its width and height in level-0 pixels, and µm per pixel where the file says so."""

    size: tuple[int, int]
    mpp: float | None


def canvas_of(readers: OpenReaders, path: Path) -> Canvas:
    """Look at a slide or a flat image; raises `NotNow` where it is gone or damaged."""
    try:
        with readers.open(path) as reader:
            return Canvas(reader.size, reader.mpp)
    except (HistoseekError, OSError) as error:
        _LOG.warning("the slide of a question: %s", error)
        raise NotNow(
            "this slide cannot be read now: its file is gone or damaged; ask whoever runs the server"
        ) from error


def side_of(view: Preprocessing, mpp: float | None) -> float:
    """Level-0 pixels that one view of the encoder takes of a slide of a scale; none is ever enlarged."""
    return view.view_px * (max(1.0, view.mpp / mpp) if view.mpp and mpp else 1.0)


def region_of(asked: RectangleIn | PolygonIn, path: Path, canvas: Canvas) -> tuple[Region, float]:
    """A part of a slide as the index takes it, and the area of its bounding box in pixels.

    Raises:
        CannotAnswer: it has no area, lies beyond the slide's border, or the slide has no scale.
    """
    if canvas.mpp is None:
        raise CannotAnswer("nobody knows how large the pixels of this slide are, so no part of it can be asked with")
    width, height = canvas.size
    border = f"the slide is {width} × {height} pixels"
    if isinstance(asked, PolygonIn):
        corners = tuple((float(x), float(y)) for x, y in asked.polygon)
        area, (left, top, right, bottom) = _extent_of(corners)
        if not area:
            raise CannotAnswer("the outline has no area: its corners lie on a line, or it crosses itself")
        if left >= width or top >= height:
            raise CannotAnswer(f"the outline lies beyond the border: {border}")
        return Region(path, corners=corners), (right - left) * (bottom - top)
    sides = (round(asked.x), round(asked.y), max(1, round(asked.width)), max(1, round(asked.height)))
    if sides[0] + sides[2] > width or sides[1] + sides[3] > height:
        raise CannotAnswer(f"the box does not lie inside the slide: {border}")
    return Region(path, (asked.x, asked.y, asked.width, asked.height)), asked.width * asked.height


def _extent_of(corners: tuple[tuple[float, float], ...]) -> tuple[float, tuple[float, float, float, float]]:
    """Area and bounds of an outline; raises `CannotAnswer` where it crosses itself.

    To tell which parts of a tangle are inside takes minutes of work for a few hundred corners.
    """
    with needs_extra("slides"):
        import shapely
    shape = shapely.Polygon(corners)
    left, top, right, bottom = shape.bounds
    if shape.area and not shape.is_valid:
        raise CannotAnswer("the outline crosses or touches itself; draw it around one piece of tissue")
    return float(shape.area), (left, top, right, bottom)
