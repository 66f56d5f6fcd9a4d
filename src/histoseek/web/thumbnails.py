"""Thumbnails of items, rebuilt from the levels of their slides or from their flat images."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from histoseek.errors import ImageError
from histoseek.figures.pictures import fitted
from histoseek.items import Box, Item, inside_root
from histoseek.web.archive import Archive
from histoseek.web.pictures import Held, PathId, answer, damaged, documented, jpeg_of, mark_of, opened, tag_of

LEAST, MOST = 64, 1024
USUAL = 256
JPEG = "image/jpeg"


def router(archive: Archive) -> APIRouter:
    """The routes of this file."""
    routes = APIRouter(tags=["pictures"])

    @routes.get("/items/{item_id}/thumbnail", response_class=Response, responses=documented(JPEG, 304, 404))
    def thumbnail(
        item_id: PathId,
        px: Annotated[int, Query(ge=LEAST, le=MOST, description="Length of the longer side.")] = USUAL,
        held: Held = None,
    ) -> Response:
        """An item as a JPEG, without EXIF; never the label or the macro image of its slide."""
        item = archive.item(item_id)
        path = inside_root(archive.index.root, item)
        tag = tag_of(archive.version, item.sha256, item.box, px, mark_of(path))
        return answer(held, tag, JPEG, lambda: draw_thumbnail(archive, item, px))

    return routes


def draw_thumbnail(archive: Archive, item: Item, px: int) -> bytes:
    """An item as a JPEG with `px` pixels along its longer side.

    Raises:
        NoPicture: its file is gone or damaged.
    """
    with opened(archive, inside_root(archive.index.root, item)) as reader:
        box = item.box or Box(0, 0, *reader.size)
        try:
            return jpeg_of(reader.read(box, fitted(box.width, box.height, px)))
        except ImageError as error:
            raise damaged() from error
