"""Heat maps of a query over a slide, as tiles to lay on the slide's own."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi import Path as InPath
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from histoseek.errors import HistoseekError, InputError
from histoseek.figures.heat_tiles import HeatGrid
from histoseek.index import heat_of_file
from histoseek.web.archive import Archive, digest_of
from histoseek.web.audit import note_asked
from histoseek.web.bodies import HeatBody, json_body
from histoseek.web.limits import Line
from histoseek.web.pictures import Held, PathId, Remembered, answer, documented, opened, png_of, tag_of
from histoseek.web.problems import UnknownId, problem_of
from histoseek.web.schemas import HeatIn

PNG = "image/png"
MAPS_KEPT = 16
"""Heat maps in memory, of all clients together; each takes up to 16 MB, usually far less."""

DRAWN_AT_ONCE, DRAWINGS_WAITING = 2, 8

Number = Annotated[int, InPath(ge=0, le=2**31)]


class HeatOut(BaseModel):
    """A heat map that is ready: its query's digest, by which tiles are asked, and the cosines of its colours.

    `min` and `max` are those of the first and the last colour, the 2nd and 98th percentile of the slide; `lowest` and
    `highest` those of single tiles.
    """

    query: str
    slide: str
    n_tiles: int
    min: float
    max: float
    lowest: float
    highest: float


class UnknownHeat(UnknownId):
    """The map was never asked for here, or is forgotten."""

    def __init__(self) -> None:
        super().__init__("heat map")
        self.args = ("this heat map is not there any more: ask for it again with POST /api/v1/heat",)


def router(archive: Archive) -> APIRouter:
    """The routes of this file."""
    routes = APIRouter(tags=["slides"])
    maps: Remembered[tuple[str, str], HeatGrid] = Remembered(MAPS_KEPT)
    line = Line(DRAWN_AT_ONCE, DRAWINGS_WAITING)

    @routes.post("/heat", openapi_extra=json_body(HeatIn))
    async def heat(request: Request, asked: HeatBody) -> HeatOut:
        """Compare a question with all tiles of a slide; then the map is there as tiles, until others take its place."""
        async with line.place(request.state.client.name):
            told, grid = await run_in_threadpool(draw_map, archive, asked)
        maps.put((told.slide, told.query), grid)
        return told

    @routes.get(
        "/slides/{slide_id}/heat/{query}/{level}/{column}_{row}.png",
        response_class=Response,
        responses=documented(PNG, 304, 404),
    )
    def tile(
        slide_id: PathId,
        query: PathId,
        level: Number,
        column: Number,
        row: Number,
        held: Held = None,
    ) -> Response:
        """The part of a heat map that lies on a Deep Zoom tile of its slide, RGBA; transparent where no tile is."""
        grid = maps.get((slide_id, query))
        if grid is None:
            raise UnknownHeat
        tag = tag_of(slide_id, query, grid.low, grid.high, level, column, row)
        try:
            return answer(held, tag, PNG, lambda: png_of(grid.tile(level, column, row)))
        except InputError as error:
            raise UnknownId("tile") from error

    return routes


def draw_map(archive: Archive, asked: HeatIn) -> tuple[HeatOut, HeatGrid]:
    """A heat map over a slide, and what is told of it.

    Raises:
        Problem: what is asked is not there, or the archive holds no tiles of the slide.
    """
    index = archive.now()
    slide = archive.slide(asked.slide, index)
    note_asked(slide=slide.id)
    vector = archive.vector(asked, index)
    try:
        found = heat_of_file(index, vector, slide.source)
    except HistoseekError as error:
        raise problem_of(error) from error
    with opened(archive, slide.path) as reader:
        size = reader.size
    grid = HeatGrid.of(found, size)
    told = HeatOut(
        query=digest_of(vector),
        slide=slide.id,
        n_tiles=len(found.scores),
        min=grid.low,
        max=grid.high,
        lowest=float(found.scores.min()),
        highest=float(found.scores.max()),
    )
    return told, grid
