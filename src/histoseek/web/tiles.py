"""Slides for viewers: Deep Zoom tiles of slides and of flat images, and the items that lie on them."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow.compute as pc
from fastapi import APIRouter, Header, Response
from fastapi import Path as InPath
from pydantic import BaseModel

from histoseek.errors import HistoseekError, ImageError, InputError
from histoseek.imaging import DeepZoom, read_tile
from histoseek.items import item_of
from histoseek.web.archive import Archive, SlideEntry
from histoseek.web.pictures import Remembered, answer, documented, jpeg_of, mark_of, opened, tag_of
from histoseek.web.problems import UnknownId
from histoseek.web.schemas import BoxOut

DZI, JPEG = "application/xml", "image/jpeg"
TILES_KEPT = 512
"""Finished tiles in memory, about 15 MB: the overviews, which cost most and which everybody asks for."""

MEASURING_S = 2.0
"""How long a list of slides waits for sizes that nobody has read yet."""

MOST_BOXES = 20_000
DAMAGED_GREY = 200
DAMAGED_HEADER = "X-Tile-Damaged"
_LOG = logging.getLogger("histoseek.web")

Number = Annotated[int, InPath(ge=0, le=2**31)]
Mark = tuple[int, int]
Size = tuple[tuple[int, int], float | None]


class SlideOut(BaseModel):
    """A slide; its size in level-0 pixels is null in lists where nobody has opened it yet."""

    id: str
    name: str
    width: int | None
    height: int | None
    mpp: float | None
    n_items: int
    labels: list[str]


class PlacedOut(BaseModel):
    """An item where it lies on its slide; without a box it is the whole picture."""

    id: str
    label: str | None
    box: BoxOut | None


class Sizes:
    """Sizes and scales of slides, read once each."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._known: Remembered[tuple[Path, Mark], Size] = Remembered(100_000)

    def known(self, path: Path) -> Size | None:
        """Width and height, and µm per pixel as the file says, if they were read; raises `NoPicture`."""
        return self._known.get((path, mark_of(path)))

    def of(self, path: Path) -> Size:
        """The same, read where they were not; raises `NoPicture` when the file is gone or damaged."""
        found = self.known(path)
        if found is None:
            with opened(self._archive, path) as reader:
                found = reader.size, reader.mpp
            self._known.put((path, mark_of(path)), found)
        return found


def router(archive: Archive) -> APIRouter:
    """The routes of this file."""
    routes = APIRouter(tags=["slides"])
    sizes = Sizes(archive)
    made: Remembered[tuple[str, Mark, int, int, int], bytes] = Remembered(TILES_KEPT)

    @routes.get("/slides")
    def slides() -> list[SlideOut]:
        """The slides of the archive."""
        return list_slides(archive, sizes)

    @routes.get("/slides/{slide_id}.dzi", response_class=Response, responses=documented(DZI, 304, 404))
    def descriptor(slide_id: str, if_none_match: Annotated[str | None, Header()] = None) -> Response:
        """How a slide, or any other picture of the archive, is divided into Deep Zoom tiles."""
        path = archive.slide(slide_id).path
        xml = DeepZoom(sizes.of(path)[0]).xml().encode()
        return answer(if_none_match, tag_of(slide_id, mark_of(path), "dzi"), DZI, lambda: xml)

    @routes.get(
        "/slides/{slide_id}_files/{level}/{column}_{row}.jpg",
        response_class=Response,
        responses=documented(JPEG, 304, 404),
    )
    def tile(
        slide_id: str, level: Number, column: Number, row: Number, if_none_match: Annotated[str | None, Header()] = None
    ) -> Response:
        """A Deep Zoom tile; one that is damaged in its file is grey, and the header X-Tile-Damaged says so."""
        path = archive.slide(slide_id).path
        place = (slide_id, mark_of(path), level, column, row)
        kept = made.get(place)
        try:
            content = kept or draw_tile(archive, path, (level, column, row))
        except ImageError as error:
            _LOG.warning("tile %s_%s of level %s of %s: %s", column, row, level, path, error)
            return grey_tile(sizes.of(path)[0], (level, column, row))
        made.put(place, content)
        return answer(if_none_match, tag_of(place), JPEG, lambda: content)

    @routes.get("/slides/{slide_id}/items")
    def items(slide_id: str) -> list[PlacedOut]:
        """The items that lie on a slide, the first 20 000 of them."""
        return items_on(archive, archive.slide(slide_id))

    @routes.get("/slides/{slide_id}")
    def slide(slide_id: str) -> SlideOut:
        """A slide, or any other picture of the archive."""
        entry = archive.slide(slide_id)
        size, mpp = sizes.of(entry.path)
        return slide_out(entry, size, mpp, labels_by_path(archive).get(entry.source, []))

    return routes


def list_slides(archive: Archive, sizes: Sizes) -> list[SlideOut]:
    """All slides, with the sizes that are known or can be read in a moment."""
    until = time.monotonic() + MEASURING_S
    labels = labels_by_path(archive)
    found = []
    for entry in archive.slides():
        size, mpp = None, None
        try:
            found_size = sizes.of(entry.path) if time.monotonic() < until else sizes.known(entry.path)
            size, mpp = found_size or (None, None)
        except HistoseekError as error:
            _LOG.warning("the slide %s: %s", entry.path, error)
        found.append(slide_out(entry, size, mpp, labels.get(entry.source, [])))
    return found


def slide_out(entry: SlideEntry, size: tuple[int, int] | None, mpp: float | None, labels: list[str]) -> SlideOut:
    """A slide as it goes over the wire; what the archive says of its scale counts before what its file says."""
    width, height = size or (None, None)
    known = entry.mpp if entry.mpp is not None else mpp
    return SlideOut(
        id=entry.id, name=entry.name, width=width, height=height, mpp=known, n_items=entry.n_items, labels=labels
    )


def labels_by_path(archive: Archive) -> dict[str, list[str]]:
    """The labels of the items of every file, in alphabetical order."""
    items = archive.now().rows.items.select(["path", "label"])
    known = items.filter(pc.is_valid(items["label"]))
    found: dict[str, list[str]] = {}
    for row in known.group_by(["path", "label"]).aggregate([]).sort_by("label").to_pylist():
        found.setdefault(row["path"], []).append(row["label"])
    return found


def items_on(archive: Archive, slide: SlideEntry) -> list[PlacedOut]:
    """The items of a file, the first `MOST_BOXES` of them."""
    table = archive.now().rows.items
    own = table.filter(pc.equal(table["path"], slide.source)).slice(0, MOST_BOXES)
    found = [item_of(row) for row in own.to_pylist()]
    return [
        PlacedOut(id=archive.item_id(item), label=item.label, box=BoxOut(**item.box._asdict()) if item.box else None)
        for item in found
    ]


def draw_tile(archive: Archive, path: Path, place: tuple[int, int, int]) -> bytes:
    """A Deep Zoom tile at (level, column, row) as a JPEG.

    Raises:
        NoPicture: the file is gone or cannot be opened.
        UnknownId: there is no such tile.
        ImageError: the tile's pixels cannot be decoded.
    """
    with opened(archive, path) as reader:
        try:
            return jpeg_of(read_tile(reader, *place))
        except InputError as error:
            raise UnknownId("tile") from error


def grey_tile(size: tuple[int, int], place: tuple[int, int, int]) -> Response:
    """A grey tile where the slide is damaged, so that the rest of it can be looked at; never kept by a client."""
    box = DeepZoom(size).tile_box(*place)
    pixels = np.full((box.height, box.width, 3), DAMAGED_GREY, dtype=np.uint8)
    return Response(jpeg_of(pixels), media_type=JPEG, headers={DAMAGED_HEADER: "1", "Cache-Control": "no-store"})
