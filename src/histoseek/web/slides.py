"""Slides and the items that lie on them."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pyarrow.compute as pc
from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from histoseek.errors import HistoseekError
from histoseek.items import item_of
from histoseek.web.archive import Archive, SlideEntry
from histoseek.web.limits import Line
from histoseek.web.pictures import PathId, Remembered, mark_of, opened
from histoseek.web.schemas import BoxOut

MEASURING_S = 2.0
"""How long a list of slides waits for sizes that nobody has read yet."""

LISTED_AT_ONCE, LISTS_WAITING = 2, 32
MOST_BOXES = 20_000
_LOG = logging.getLogger("histoseek.web")

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


def add_slides(routes: APIRouter, archive: Archive, sizes: Sizes) -> None:
    """Add the routes of this file."""
    line = Line(LISTED_AT_ONCE, LISTS_WAITING)

    @routes.get("/slides")
    async def slides(request: Request) -> list[SlideOut]:
        """The slides of the archive."""
        async with line.place(request.state.client.name):
            return await run_in_threadpool(list_slides, archive, sizes)

    @routes.get("/slides/{slide_id}/items")
    def items(slide_id: PathId) -> list[PlacedOut]:
        """The items that lie on a slide, the first 20 000 of them."""
        return items_on(archive, archive.slide(slide_id))

    @routes.get("/slides/{slide_id}")
    def slide(slide_id: PathId) -> SlideOut:
        """A slide, or any other picture of the archive."""
        entry = archive.slide(slide_id)
        size, mpp = sizes.of(entry.path)
        return slide_out(entry, size, mpp, archive.labels().get(entry.source, []))


def list_slides(archive: Archive, sizes: Sizes) -> list[SlideOut]:
    """All slides, with the sizes that are known or can be read in a moment."""
    until = time.monotonic() + MEASURING_S
    labels = archive.labels()
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


def items_on(archive: Archive, slide: SlideEntry) -> list[PlacedOut]:
    """The items of a file, the first `MOST_BOXES` of them."""
    table = archive.now().rows.items
    own = table.filter(pc.equal(table["path"], slide.source)).slice(0, MOST_BOXES)
    found = [item_of(row) for row in own.to_pylist()]
    return [
        PlacedOut(id=archive.item_id(item), label=item.label, box=BoxOut(**item.box._asdict()) if item.box else None)
        for item in found
    ]
