"""How much work of the encoder one question may ask for, or one batch of questions together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from histoseek.web.problems import CannotAnswer
from histoseek.web.regions import canvas_of, side_of
from histoseek.web.schemas import PolygonIn, RegionExample, SearchIn, TextExample

if TYPE_CHECKING:
    from histoseek.index import Index
    from histoseek.web.archive import Archive

A_QUESTION, A_BATCH = 400, 1600
"""Views that the encoder takes of regions, at most: more would keep all others waiting."""

OPENING = 4
"""What a region costs beyond its views, for its slide is opened; words cost one view."""


class Budget:
    """Views that are left to a batch of questions."""

    def __init__(self, n_views: int = A_BATCH) -> None:
        self._left = n_views

    def spend(self, n_views: int) -> None:
        """Take views off.

        Raises:
            CannotAnswer: it is too much for one question, or for what is left to the batch.
        """
        if n_views > A_QUESTION:
            raise CannotAnswer("the regions are too large, or too many, for one question; draw fewer or smaller ones")
        if n_views > self._left:
            raise CannotAnswer("the questions before took all that one batch may take; send this one in another batch")
        self._left -= n_views


def cost_of(archive: Archive, asked: SearchIn, index: Index) -> int:
    """Views that the encoder takes of a question in a version, the same example counted once; raises `Problem`."""
    words = {one.text for one in asked.examples if isinstance(one, TextExample)}
    regions = {one.region.model_dump_json(): one.region for one in asked.examples if isinstance(one, RegionExample)}
    scales = {slide: _scale_of(archive, slide, index) for slide in {region.slide for region in regions.values()}}
    view = archive.index.about.fingerprint.preprocessing
    total = len(words)
    for region in regions.values():
        if isinstance(region, PolygonIn):
            sides = [max(places) - min(places) for places in zip(*region.polygon, strict=True)]
        else:
            sides = [region.width, region.height]
        side = side_of(view, scales[region.slide])
        total += math.prod(max(1, math.ceil(length / side)) for length in sides)
        total += OPENING if len(regions) > 1 else 0
    return total


def _scale_of(archive: Archive, opaque: str, index: Index) -> float | None:
    slide = archive.slide(opaque, index)
    return slide.mpp if slide.mpp is not None else canvas_of(archive.readers, slide.path).mpp
