"""Hits to take away: tables, regions for QuPath, a contact sheet, and the question itself."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from histoseek.errors import HistoseekError
from histoseek.figures.sheet import draw_sheet
from histoseek.index import Hit, Hits, Index
from histoseek.index.regions import write_geojson
from histoseek.items import Item
from histoseek.web.archive import Answer, Archive, digest_of
from histoseek.web.asking import hit_out
from histoseek.web.audit import note_asked
from histoseek.web.bodies import QuestionBody, json_body
from histoseek.web.csv_cells import csv_text
from histoseek.web.limits import Line
from histoseek.web.problems import CannotAnswer, problem_of
from histoseek.web.schemas import ItemExample, Question, RegionExample, TextExample, VectorExample
from histoseek.web.session_file import session_text

Format = Literal["csv", "geojson", "parquet", "sheet", "session"]
FILES = {
    "csv": ("histoseek-hits.csv", "text/csv; charset=utf-8"),
    "geojson": ("histoseek-hits-geojson.zip", "application/zip"),
    "parquet": ("histoseek-hits.parquet", "application/vnd.apache.parquet"),
    "sheet": ("histoseek-hits.png", "image/png"),
    "session": ("histoseek-session.json", "application/json"),
}
AT_ONCE, WAITING = 2, 8
_LONG_AGO = (1980, 1, 1, 0, 0, 0)
_COLUMNS: dict[str, pa.DataType] = {
    "rank": pa.int64(), "score": pa.float64(), "id": pa.string(), "label": pa.string(), "label_source": pa.string(),
    "slide": pa.string(), "slide_id": pa.string(), "patient": pa.string(), "x": pa.int64(), "y": pa.int64(),
    "width": pa.int64(), "height": pa.int64(), "mpp": pa.float64(), "width_um": pa.float64(), "height_um": pa.float64(),
}  # fmt: skip
_REAL = ("item", "path")
"""What names things of the archive itself, in exports of a server that keeps names."""


def router(archive: Archive) -> APIRouter:
    """The routes of this file."""
    routes = APIRouter(tags=["search"])
    line = Line(AT_ONCE, WAITING)
    kinds: dict[str, Any] = {kind.split(";")[0]: {} for _, kind in FILES.values()}

    @routes.post(
        "/export",
        response_class=Response,
        responses={200: {"content": kinds, "description": "The file asked for."}},
        openapi_extra=json_body(Question),
    )
    async def export(
        request: Request,
        asked: QuestionBody,
        what: Annotated[Format, Query(alias="format", description="geojson is a zip with one file a slide.")],
    ) -> Response:
        """Ask, and take the hits away as a file, under the same names as everywhere here."""
        name, kind = FILES[what]
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
        async with line.place(request.state.client.name):
            content = await run_in_threadpool(exported, archive, asked, what)
        return Response(content, media_type=kind, headers=headers)

    return routes


def exported(archive: Archive, asked: Question, what: Format) -> bytes:
    """The hits of a question as the bytes of a file.

    Raises:
        Problem: what is asked is not there or cannot be answered, or no hit lies on a slide.
    """
    answer = archive.answer(asked)
    note_asked(format=what)
    makers: dict[str, Callable[[], bytes]] = {
        "csv": lambda: csv_text(rows_of(archive, answer), list(_COLUMNS)).encode(),
        "parquet": lambda: parquet_of(archive, answer),
        "geojson": lambda: geojson_of(archive, answer.hits),
        "sheet": lambda: sheet_of(archive, answer),
        "session": lambda: session_text(asked, answer.index).encode(),
    }
    return makers[what]()


def rows_of(archive: Archive, answer: Answer) -> list[dict[str, Any]]:
    """One plain row a hit, with the columns that may be shown; one that is called like ours says that it is another."""
    return [_row(archive, hit, answer.index) for hit in answer.hits]


def parquet_of(archive: Archive, answer: Answer) -> bytes:
    """The rows as Parquet; its metadata say which query and which version of the archive they come from."""
    rows = rows_of(archive, answer)
    others = list(dict.fromkeys(name for row in rows for name in row if name not in _COLUMNS))
    columns = {name: pa.array([row[name] for row in rows], kind) for name, kind in _COLUMNS.items()}
    for name in others:
        column = pa.array([row.get(name) for row in rows])
        columns[name] = column.cast(pa.string()) if pa.types.is_null(column.type) else column
    about = {"query": digest_of(answer.vector), "index_version": answer.version, "use": "research use only"}
    stream = io.BytesIO()
    pq.write_table(pa.table(columns).replace_schema_metadata({"histoseek": json.dumps(about)}), stream)
    return stream.getvalue()


def geojson_of(archive: Archive, hits: Hits) -> bytes:
    """A zip with one GeoJSON file a slide, for QuPath, named by the slides' pseudonyms.

    Raises:
        CannotAnswer: no hit lies on a slide.
    """
    if all(hit.item.box is None for hit in hits):
        raise CannotAnswer("none of the hits lies on a slide, so there is nothing to show in place; export them as csv")
    named = [replace(hit, item=_renamed(archive, hit.item)) for hit in hits]
    stream = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archived:
        try:
            written = write_geojson(named, folder)
        except HistoseekError as error:
            raise problem_of(error) from error
        for path in written:
            archived.writestr(zipfile.ZipInfo(path.name, _LONG_AGO), path.read_bytes(), zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def sheet_of(archive: Archive, answer: Answer) -> bytes:
    """A contact sheet as PNG; the query is drawn where it is one item, else told in words."""
    asked, hits, index = answer.asked, answer.hits, answer.index
    only = asked.examples[0] if len(asked.examples) == 1 else None
    query = None
    if isinstance(only, ItemExample) and only.weight > 0:
        query = _nameless(archive, archive.item(only.item, index))
    shown = tuple(replace(hit, item=_nameless(archive, hit.item)) for hit in hits)
    told = {"examples": [_told(archive, index, one) for one in asked.examples]}
    picture = draw_sheet(Hits(shown, hits.root, told), query, readers=archive.readers)
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def _row(archive: Archive, hit: Hit, index: Index) -> dict[str, Any]:
    shown = hit_out(archive, hit, index)
    box, slide = shown.box, shown.slide
    values = {
        "rank": shown.rank,
        "score": round(shown.score, 6),
        "id": shown.id,
        "label": shown.label,
        "label_source": shown.label_source,
        "slide": slide.name if slide else None,
        "slide_id": slide.id if slide else None,
        "patient": shown.patient,
        "x": box.x if box else None,
        "y": box.y if box else None,
        "width": box.width if box else hit.item.width,
        "height": box.height if box else hit.item.height,
        "mpp": shown.mpp,
        "width_um": shown.width_um,
        "height_um": shown.height_um,
    }
    if archive.keep_names:
        values |= dict(zip(_REAL, (hit.item.id, hit.item.path), strict=True))
    return values | {f"{name} (archive)" if name in values else name: value for name, value in shown.columns.items()}


def _renamed(archive: Archive, item: Item) -> Item:
    """An item whose slide goes by its name here: files and ids of the export are made of that."""
    if archive.keep_names:
        return item
    name = archive.slide_name(item)
    return replace(item, path=f"{archive.slide_id(item.path)}/{name}.slide", slide=name)


def _nameless(archive: Archive, item: Item) -> Item:
    """An item whose patient goes by the name here; its path stays, for its picture is read."""
    patient = archive.patient_name(item)
    return replace(item, group=patient or "-", group_source="patient" if patient else "image")


def _told(archive: Archive, index: Index, example: Any) -> dict[str, Any]:
    """An example in words for the sheet, without anything that names a file or a patient."""
    if isinstance(example, TextExample):
        kind, value = "text", example.text
    elif isinstance(example, RegionExample):
        kind, value = "region of", archive.slide(example.region.slide, index).name
    elif isinstance(example, VectorExample):
        kind, value = "a picture or vector", ""
    else:
        kind, value = "item", example.item
    return {"kind": kind, "value": value, "weight": example.weight}
