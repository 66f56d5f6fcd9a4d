"""The map of the archive: points, which items they are, and what to colour them by."""

from __future__ import annotations

import base64
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from histoseek.index import Index
from histoseek.index.layout import Layout, layout_key, read_layout
from histoseek.items import item_of
from histoseek.stores import rows_at
from histoseek.web.archive import Archive, version_of
from histoseek.web.map_columns import NO_VALUE, colour_codes, colour_names
from histoseek.web.pictures import Held, Remembered, answer, documented, tag_of
from histoseek.web.problems import NotNow, Problem
from histoseek.web.schemas import ID

BINARY = "application/octet-stream"
MOST_ROWS = 2000
"""Rows or ids a request, about; more would not fit into an address."""

COLUMNS_KEPT = 8
"""Columns in memory, as many as somebody goes through; a million items take 3 MB each."""

ROWS = r"^\d{1,9}(,\d{1,9})*$"
IDS = rf"^{ID[1:-1]}(,{ID[1:-1]})*$"

Version = Annotated[str | None, Query(max_length=40, description="Answer for this version only, else 409.")]


class MapOut(BaseModel):
    """The map: how many points, of which version of the archive, and what they can be coloured by."""

    n: int
    version: str
    method: str
    columns: list[str]


class IdsOut(BaseModel):
    """Ids of items, in the order of the rows asked for."""

    ids: list[str]


class RowsOut(BaseModel):
    """Rows of the map, in the order of the ids asked for; null for an id that is not there."""

    rows: list[int | None]


class CodesOut(BaseModel):
    """A column as little-endian uint16 in base64, one a point: places in `names`, 65535 where there is no value."""

    names: list[str]
    codes: str
    no_value: int = NO_VALUE


class NoMap(Problem):
    """The archive has no map now."""

    status = 404


class NoRow(Problem):
    """The map has fewer points."""

    status = 404


def router(archive: Archive) -> APIRouter:
    """The routes of this file."""
    routes = APIRouter(tags=["map"])
    maps = Maps(archive)

    @routes.get("/map")
    def about() -> MapOut:
        """What the map holds."""
        index, layout = maps.now(None)
        columns = colour_names(archive, index)
        return MapOut(n=len(layout.points), version=version_of(index), method=layout.method, columns=columns)

    @routes.get("/map/points", response_class=Response, responses=documented(BINARY, 304, 404))
    def points(version: Version = None, held: Held = None) -> Response:
        """The points in the order of their rows: x and y within −1 and 1, as little-endian float32."""
        _, layout = maps.now(version)
        return answer(held, tag_of(layout.key), BINARY, lambda: layout.points.astype("<f4", copy=False).tobytes())

    _add_lookups(routes, archive, maps)
    return routes


def _add_lookups(routes: APIRouter, archive: Archive, maps: Maps) -> None:
    """Add what is asked of single points and of columns."""
    coloured: Remembered[tuple[str, str, str], CodesOut] = Remembered(COLUMNS_KEPT)

    @routes.get("/map/ids")
    def ids(
        rows: Annotated[
            str, Query(pattern=ROWS, max_length=8 * MOST_ROWS, description="Row numbers with commas between.")
        ],
        version: Version = None,
    ) -> IdsOut:
        """Which items some points are."""
        index, _ = maps.now(version)
        return IdsOut(ids=ids_of(archive, index, np.array(rows.split(","), dtype=np.int64)))

    @routes.get("/map/rows")
    def rows(
        ids: Annotated[
            str, Query(pattern=IDS, max_length=17 * MOST_ROWS, description="Ids of items with commas between.")
        ],
        version: Version = None,
    ) -> RowsOut:
        """Which points some items are."""
        index, _ = maps.now(version)
        return RowsOut(rows=archive.rows_of(index, ids.split(",")))

    @routes.get("/map/columns/{name:path}", responses=documented("application/json", 404))
    def column(name: str, version: Version = None) -> CodesOut:
        """A column to colour the points by."""
        index, layout = maps.now(version)
        key = (layout.key, version_of(index), name)
        told = coloured.get(key)
        if told is None:
            names, codes = colour_codes(archive, index, name)
            told = CodesOut(names=names, codes=base64.b64encode(codes.astype("<u2").tobytes()).decode())
            coloured.put(key, told)
        return told


class Maps:
    """The map of the version that the archive has now, read from its file once."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._kept: Remembered[str, Layout] = Remembered(1)

    def now(self, version: str | None) -> tuple[Index, Layout]:
        """The archive as it is now with its map.

        Raises:
            NoMap: there is none yet.
            NotNow: the archive is no longer at the version that is asked for.
        """
        index = self._archive.now()
        if version is not None and version != version_of(index):
            raise NotNow("the archive has changed since; ask for the map anew")
        key = layout_key(index)
        layout = self._kept.get(key) or read_layout(index)
        if layout is None:
            raise NoMap("this archive has no map yet: the server draws it if it may, or run histoseek map INDEX")
        self._kept.put(key, layout)
        return index, layout


def ids_of(archive: Archive, index: Index, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[str]:
    """The opaque ids of rows; raises `NoRow` for one that is not there."""
    n_rows = index.rows.items.num_rows
    if (rows >= n_rows).any():
        raise NoRow(f"the map has rows 0 to {n_rows - 1}; take row numbers from its points")
    return [archive.item_id(item_of(row)) for row in rows_at(index.rows.items, rows).to_pylist()]
