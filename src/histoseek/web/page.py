"""The page: its own files, and the libraries put beside them when the wheel was built."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from histoseek.web.guard import Doorkeeper
from histoseek.web.problems import UnknownId
from histoseek.web.session_routes import set_cookie

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
"""What is served, by its suffix; no other file is."""

MISSING = (
    "The API answers under /api/v1, but this installation has no page: {what} is missing. Install a released wheel, "
    "or in a checkout run: python scripts/page_assets.py\n"
)


@dataclass(frozen=True)
class Asset:
    """A file of the page, in memory."""

    body: bytes
    media_type: str
    etag: str


def read_assets(home: Path) -> dict[str, Asset]:
    """The files below a folder that are served, by their names with forward slashes."""
    found = {}
    for path in sorted(home.rglob("*")) if home.is_dir() else ():
        if path.is_file() and not path.is_symlink() and path.suffix in TYPES:
            body = path.read_bytes()
            found[path.relative_to(home).as_posix()] = Asset(
                body, TYPES[path.suffix], f'"{sha256(body).hexdigest()[:32]}"'
            )
    return found


def router(doorkeeper: Doorkeeper) -> APIRouter:
    """The routes of this file; names are looked up among the files read at the start, so no path reaches the disk."""
    routes = APIRouter(include_in_schema=False)
    home = Path(str(files("histoseek.web")))
    assets = {name: read_assets(home / name) for name in ("page", "vendor")}

    @routes.api_route("/", methods=["GET", "HEAD"])
    def page(request: Request) -> Response:
        front = assets["page"].get("index.html")
        missing = "page/index.html" if front is None else "vendor/" if not assets["vendor"] else None
        if front is None or missing is not None:
            return PlainTextResponse(MISSING.format(what=missing), 503)
        answer = _answer(front, request)
        if doorkeeper.keys is None and request.state.client.session is None:
            set_cookie(request, answer, doorkeeper, None)
        return answer

    @routes.api_route("/page/{name:path}", methods=["GET", "HEAD"])
    def page_file(name: str, request: Request) -> Response:
        return _asset(assets["page"], name, request)

    @routes.api_route("/vendor/{name:path}", methods=["GET", "HEAD"])
    def vendor_file(name: str, request: Request) -> Response:
        return _asset(assets["vendor"], name, request)

    return routes


def _asset(among: dict[str, Asset], name: str, request: Request) -> Response:
    if name not in among:
        raise UnknownId("file")
    return _answer(among[name], request)


def _answer(asset: Asset, request: Request) -> Response:
    """The file, or that it has not changed since the browser got it."""
    headers = {"ETag": asset.etag, "Cache-Control": "no-cache"}
    if asset.etag in [mark.strip().removeprefix("W/") for mark in request.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    return Response(asset.body, media_type=asset.media_type, headers=headers)
