"""Searching with an uploaded picture: it is held in memory, decoded elsewhere, embedded and forgotten."""

from __future__ import annotations

import time
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from fastapi import APIRouter, Request
from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from histoseek.imaging.quality import why_blank
from histoseek.index import Example
from histoseek.items import MPP_RANGE
from histoseek.web.archive import Archive
from histoseek.web.asking import answer_out
from histoseek.web.bodies import read_json
from histoseek.web.decoding import Decoder
from histoseek.web.limits import Line
from histoseek.web.problems import Problem, TooLarge
from histoseek.web.schemas import SearchIn, SearchOut
from histoseek.web.settings import Limits

_ASKED = TypeAdapter(SearchIn)
FIELDS = ("picture", "mpp", "asked")
FORM = {
    "type": "object",
    "required": ["picture"],
    "additionalProperties": False,
    "properties": {
        "picture": {"type": "string", "format": "binary", "description": "JPEG, PNG, TIFF, WebP or BMP."},
        "mpp": {
            "type": "number",
            "minimum": MPP_RANGE[0],
            "maximum": MPP_RANGE[1],
            "description": "µm per pixel of the picture; without it, what the file states.",
        },
        "asked": {"$ref": "#/components/schemas/SearchIn"},
    },
}


@dataclass(frozen=True)
class Upload:
    """What came in: the bytes of a picture, its stated scale, and the rest of the question."""

    data: bytes
    mpp: float | None
    asked: SearchIn


class InMemory(MultiPartParser):
    """Starlette's parser, which would otherwise put parts of more than a megabyte into temporary files."""

    spool_max_size = 1 << 40


def router(archive: Archive, decoder: Decoder, limits: Limits) -> APIRouter:
    """The routes of this file."""
    routes = APIRouter(tags=["search"])
    line = Line(limits.uploads_at_once, limits.encoding_waits)
    body = {"content": {"multipart/form-data": {"schema": FORM}}, "required": True}

    @routes.post("/search/image", openapi_extra={"requestBody": body})
    async def search_image(request: Request) -> SearchOut:
        """Find what looks like an uploaded picture, and like other examples with it."""
        async with line.place(request.state.client.name):  # before anything is received, until its pixels are forgotten
            upload = await _received(request, limits)
            return await run_in_threadpool(_answered, archive, decoder, upload)

    return routes


def _answered(archive: Archive, decoder: Decoder, upload: Upload) -> SearchOut:
    since = time.perf_counter()
    decoded = decoder.decode(upload.data)
    mpp = upload.mpp if upload.mpp is not None else decoded.mpp
    warnings = []
    blank = why_blank(decoded.pixels)
    if blank is not None:
        warnings.append(f"This picture looks blank: {blank}.")
    if mpp is None:
        warnings.append("The scale of this picture is unknown, so it was fitted whole; state its µm per pixel.")
    picture = Example("image", decoded.pixels, mpp=mpp)
    answer = archive.answer(upload.asked, picture, sha256(upload.data).hexdigest())
    return answer_out(archive, answer, since, warnings)


async def _received(request: Request, limits: Limits) -> Upload:
    """Take a form apart as it comes in; raises `Problem` where it is not as it should be."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise Problem("send the picture as multipart/form-data, in the field picture")
    parser = InMemory(request.headers, request.stream(), max_files=1, max_fields=2, max_part_size=limits.body_bytes)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, UnicodeDecodeError) as error:
        raise Problem("the form cannot be read; send picture, mpp and asked as multipart/form-data") from error
    try:
        if unknown := sorted(set(form) - set(FIELDS)):
            raise Problem(f"the form has the unknown field {unknown[0][:40]!r}; it holds {', '.join(FIELDS)}")
        picture = form.get("picture")
        if not isinstance(picture, UploadFile):
            raise Problem("the form has no file in its field picture")
        if (picture.size or 0) > limits.upload_bytes:
            raise TooLarge(f"the picture has more than {limits.upload_bytes / 1024**2:.3g} MB, which is the limit here")
        asked = await run_in_threadpool(_asked_of, form.get("asked"))
        return Upload(await picture.read(), _mpp_of(form.get("mpp")), asked)
    finally:
        await form.close()


def _mpp_of(given: Any) -> float | None:
    if given is None or given == "":
        return None
    try:
        mpp = float(given)
    except (TypeError, ValueError):
        mpp = 0.0
    if not MPP_RANGE[0] <= mpp <= MPP_RANGE[1]:
        raise Problem(f"mpp: it should be a number of µm per pixel between {MPP_RANGE[0]:g} and {MPP_RANGE[1]:g}")
    return mpp


def _asked_of(given: Any) -> SearchIn:
    if given is None or given == "":
        return SearchIn()
    return read_json(_ASKED, given if isinstance(given, str) else "", ("asked",))
