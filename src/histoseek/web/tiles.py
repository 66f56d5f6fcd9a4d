"""Deep Zoom tiles of slides and of flat images, for viewers in browsers."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Response
from fastapi import Path as InPath

from histoseek.errors import ImageError, InputError
from histoseek.imaging import DeepZoom, read_tile
from histoseek.web.archive import Archive
from histoseek.web.pictures import Held, PathId, Remembered, answer, documented, jpeg_of, mark_of, opened, tag_of
from histoseek.web.problems import UnknownId
from histoseek.web.slides import Mark, Sizes, add_slides

DZI, JPEG = "application/xml", "image/jpeg"
TILES_KEPT = 512
"""Finished tiles in memory, about 15 MB: the overviews, which cost most and which everybody asks for."""

DAMAGED_GREY = 200
DAMAGED_HEADER = "X-Tile-Damaged"
_LOG = logging.getLogger("histoseek.web")

Number = Annotated[int, InPath(ge=0, le=2**31)]


def router(archive: Archive) -> APIRouter:
    """The routes of this file."""
    routes = APIRouter(tags=["slides"])
    sizes = Sizes(archive)
    made: Remembered[tuple[str, Mark, int, int, int], bytes] = Remembered(TILES_KEPT)

    @routes.get("/slides/{slide_id}.dzi", response_class=Response, responses=documented(DZI, 304, 404))
    def descriptor(slide_id: PathId, held: Held = None) -> Response:
        """How a slide, or any other picture of the archive, is divided into Deep Zoom tiles."""
        path = archive.file(slide_id)
        xml = DeepZoom(sizes.of(path)[0]).xml().encode()
        return answer(held, tag_of(slide_id, mark_of(path), "dzi"), DZI, lambda: xml)

    @routes.get(
        "/slides/{slide_id}_files/{level}/{column}_{row}.jpg",
        response_class=Response,
        responses=documented(JPEG, 304, 404),
    )
    def tile(slide_id: PathId, level: Number, column: Number, row: Number, held: Held = None) -> Response:
        """A Deep Zoom tile; one that is damaged in its file is grey, and the header X-Tile-Damaged says so."""
        path = archive.file(slide_id)
        place = (slide_id, mark_of(path), level, column, row)

        def make() -> bytes:
            content = made.get(place) or draw_tile(archive, path, (level, column, row))
            made.put(place, content)
            return content

        try:
            return answer(held, tag_of(place), JPEG, make)
        except ImageError as error:
            _LOG.warning("tile %s_%s of level %s of %s: %s", column, row, level, path, error)
            return grey_tile(sizes.of(path)[0], (level, column, row))

    add_slides(routes, archive, sizes)  # last: the address of a slide fits that of its descriptor too
    return routes


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
