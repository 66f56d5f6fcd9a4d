"""A region of a slide or a flat image, as a query: a rectangle in pixels or µm, or polygons of a GeoJSON file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from histoseek.errors import InputError, needs_extra
from histoseek.imaging import OpenReaders, Reader, open_pixels
from histoseek.items import Box

_FORM = "SLIDE:X,Y,WIDTH,HEIGHT in level-0 pixels, the same with um behind it, or SLIDE:OUTLINE.geojson"


@dataclass(frozen=True)
class Region:
    """Part of a slide: a rectangle (x, y, width, height), or its outline in level-0 pixels.

    The rectangle is in level-0 pixels, or with `in_um` in µm from the slide's top left corner. The outline is a GeoJSON
    file, or the `corners` (x, y) of a polygon.
    """

    slide: Path
    rectangle: tuple[float, float, float, float] | None = None
    outline: Path | None = None
    in_um: bool = False
    corners: tuple[tuple[float, float], ...] | None = None

    def __str__(self) -> str:
        if self.corners is not None:
            return f"{self.slide}:a polygon of {len(self.corners)} corners"
        if self.rectangle is None:
            return f"{self.slide}:{self.outline}"
        return f"{self.slide}:{','.join(f'{number:g}' for number in self.rectangle)}{'um' if self.in_um else ''}"


@dataclass(frozen=True)
class Placed:
    """A region laid onto its open slide.

    `box` is its bounding box in level-0 pixels of `mpp` µm; `covered` says how much of other boxes belongs to it, None
    for a rectangle.
    """

    image: Reader
    mpp: float
    box: Box
    covered: Callable[[list[Box]], NDArray[np.float64]] | None


def region_of(value: Region | Any) -> Region:
    """A region, from itself or from its text."""
    return value if isinstance(value, Region) else parse_region(str(value))


def parse_region(text: str) -> Region:
    """Read a region as it is typed: `a.svs:1000,2000,512,512`, `a.svs:500,1000,256,256um`, or `a.svs:roi.geojson`.

    Raises:
        InputError: it is none of these.
    """
    slide, colon, rest = text.rpartition(":")
    if not colon or not slide:
        raise InputError(f"the region {text!r} names no place; write {_FORM}")
    if rest.lower().endswith((".geojson", ".json")):
        return Region(Path(slide), outline=Path(rest))
    in_um = rest.lower().endswith(("um", "µm", "μm"))
    numbers = rest[:-2] if in_um else rest
    try:
        x, y, width, height = (float(number) for number in numbers.split(","))
    except ValueError as error:
        raise InputError(f"the region {text!r} is not of the form {_FORM}") from error
    if not all(math.isfinite(number) for number in (x, y, width, height)) or min(x, y) < 0 or min(width, height) <= 0:
        raise InputError(f"the region {text!r} has no area, or starts outside the slide")
    return Region(Path(slide), (x, y, width, height), in_um=in_um)


@contextmanager
def open_region(region: Region, mpp: float | None = None, readers: OpenReaders | None = None) -> Iterator[Placed]:
    """Open the slide of a region and lay the region onto it; `mpp` states the slide's scale where it is not known.

    A flat image counts as a slide. `readers` may hold it open already.

    Raises:
        ImageError: the slide cannot be read.
        InputError: the scale is unknown, or the region does not lie inside the slide.
    """
    with closing(open_pixels(region.slide)) if readers is None else readers.open(region.slide) as image:
        known = mpp if mpp is not None else image.mpp
        if known is None:
            raise InputError(f"{region.slide} does not say how large its pixels are; state µm per pixel with --mpp")
        yield _placed(region, image, known)


def picture_of_region(
    region: Region, mpp: float | None, side: int, readers: OpenReaders | None = None
) -> tuple[Image.Image, float]:
    """A picture of a region, at most `side` pixels wide and high, and its µm per pixel."""
    with open_region(region, mpp, readers) as placed:
        box = placed.box
        shrink = max(1.0, max(box.width, box.height) / side)
        out = (max(1, round(box.width / shrink)), max(1, round(box.height / shrink)))
        return Image.fromarray(placed.image.read(box, out)), placed.mpp * shrink


def _placed(region: Region, image: Reader, mpp: float) -> Placed:
    covered = None
    if region.rectangle is not None:
        scale = 1 / mpp if region.in_um else 1.0
        x, y, width, height = (round(number * scale) for number in region.rectangle)
        box = Box(x, y, max(1, width), max(1, height))
    elif region.outline is not None or region.corners is not None:
        shape = _shape_of(region)
        left, top, right, bottom = shape.bounds
        x, y = max(0, math.floor(left)), max(0, math.floor(top))
        box = Box(x, y, math.ceil(min(right, image.size[0])) - x, math.ceil(min(bottom, image.size[1])) - y)
        covered = _coverage_by(shape)
    else:
        raise InputError("a region needs a rectangle or an outline")
    fits = box.x + box.width <= image.size[0] and box.y + box.height <= image.size[1]
    if min(box.width, box.height) < 1 or not fits:
        raise InputError(
            f"the region {region} does not lie inside the slide, which is {image.size[0]} × {image.size[1]} pixels"
        )
    return Placed(image, mpp, box, covered)


def _shape_of(region: Region) -> Any:
    """The outline of a region as a shape, in level-0 pixels."""
    if region.outline is not None:
        from histoseek.datasets.annotations import read_polygon  # loads shapely, of the extra `slides`

        return read_polygon(region.outline, region.slide)
    with needs_extra("slides"):
        import shapely
    shape = shapely.make_valid(shapely.Polygon(region.corners))  # drawn by hand, a line may cross itself
    if shape.area <= 0:
        raise InputError(f"the region {region} has no area")
    return shape


def _coverage_by(shape: Any) -> Callable[[list[Box]], NDArray[np.float64]]:
    import shapely

    def covered(boxes: list[Box]) -> NDArray[np.float64]:
        x, y, width, height = np.array(boxes, dtype=float).T
        tiles = shapely.box(x, y, x + width, y + height)
        return np.asarray(shapely.area(shapely.intersection(tiles, shape)) / (width * height), dtype=np.float64)

    return covered
