"""The application: routes, what stands around them, and what they share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from histoseek import __version__
from histoseek.errors import HistoseekError, InputError
from histoseek.evaluation import Report, calibrate
from histoseek.index import Index
from histoseek.stores.caching import cache_home
from histoseek.web import (
    asking,
    batch,
    export,
    health,
    heat_tiles,
    map,
    meter,
    page,
    session_routes,
    thumbnails,
    tiles,
    uploads,
)
from histoseek.web.archive import Archive
from histoseek.web.audit import AuditLog
from histoseek.web.decoding import Decoder
from histoseek.web.guard import Doorkeeper, Guard
from histoseek.web.headers import Headers, Hosts, own_names
from histoseek.web.keys import KeyFile
from histoseek.web.limits import BodyLimit, Crowd, Rates, Turnstile
from histoseek.web.meter import Meter, Metered
from histoseek.web.problems_http import Faults, add_problems
from histoseek.web.pseudonyms import secret_of
from histoseek.web.settings import Settings
from histoseek.web.spec import describe
from histoseek.web.trail import Trail

API = "/api/v1"
AUDIT = "audit.jsonl"
ABOUT = (
    "Search an archive of tissue images. Research use only, never a diagnosis. Ids are opaque; paths, URLs and names "
    "of models are never taken from a client."
)


@dataclass(frozen=True)
class Parts:
    """What the routes and what stands around them share."""

    archive: Archive
    settings: Settings
    doorkeeper: Doorkeeper
    decoder: Decoder
    encoding: Turnstile
    log: AuditLog
    meter: Meter


def create_app(index: Index, settings: Settings | None = None) -> FastAPI:
    """The page and the API over an index, as an ASGI application.

    Raises:
        InputError: a file that a setting names is missing, or of another index.
        DamagedError: such a file is not what was written.
    """
    parts = _parts(index, settings or Settings())
    app = FastAPI(
        title="Histoseek",
        version=__version__,
        description=ABOUT,
        openapi_url=f"{API}/openapi.json",
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        middleware=_around(parts),
        lifespan=_life(parts),
    )
    app.state.archive, app.state.settings, app.state.parts = parts.archive, parts.settings, parts
    for routes in _routes(parts):
        app.include_router(routes, prefix=API)
    app.include_router(health.router(parts.archive), include_in_schema=False)
    app.include_router(page.router(parts.doorkeeper))
    add_problems(app)
    describe(app, needs_key=parts.doorkeeper.keys is not None)
    return app


def audit_path(index: Index, settings: Settings) -> Path:
    """Where the audit log lies: where it is asked for, else beside the index or in the cache."""
    return settings.audit_log if settings.audit_log is not None else cache_home(index.path) / AUDIT


def _parts(index: Index, settings: Settings) -> Parts:
    if index.server is not None:
        raise InputError(
            f"{index.address} is a server's copy, which histoseek search asks; serve the index folder that it was "
            "pushed from"
        )
    limits = settings.limits
    encoding = Turnstile(1, limits.encoding_waits)
    archive = Archive(
        index,
        secret_of(index),
        keep_names=settings.keep_names,
        show_columns=settings.show_columns,
        encoding=encoding,
    )
    archive.told()  # a damaged index is told before anything listens
    if settings.report is not None:
        archive.calibration = calibrate(Report.read(settings.report), index.about)
    keys = KeyFile(settings.api_key_file) if settings.api_key_file is not None else None
    log = AuditLog(audit_path(index, settings))
    return Parts(archive, settings, Doorkeeper(keys, limits), Decoder(limits), encoding, log, Meter())


def _routes(parts: Parts) -> list[APIRouter]:
    """The routes below `/api/v1`."""
    archive, limits = parts.archive, parts.settings.limits
    found = [
        session_routes.router(parts.doorkeeper),
        asking.router(archive),
        thumbnails.router(archive),
        tiles.router(archive),
        heat_tiles.router(archive),
        map.router(archive),
        export.router(archive),
        uploads.router(archive, parts.decoder, limits),
        batch.router(archive, limits),
        health.router(archive),
    ]
    if parts.settings.metrics:
        found.append(meter.router(parts.meter, {"encoding_inside": lambda: parts.encoding.inside}))
    return found


def _around(parts: Parts) -> list[Middleware]:
    """What a request passes on its way to a route, the outermost first."""
    settings, limits = parts.settings, parts.settings.limits
    return [
        Middleware(ProxyHeadersMiddleware, trusted_hosts=list(settings.trust_proxies)),
        Middleware(Headers),
        Middleware(Metered, meter=parts.meter),
        Middleware(Trail, log=parts.log),
        Middleware(Faults),
        Middleware(Hosts, allowed=own_names(settings.host, settings.allow_hosts)),
        Middleware(Guard, doorkeeper=parts.doorkeeper),  # tells who asks, by which all that follows goes
        Middleware(Crowd, limits=limits),
        Middleware(Rates, limits=limits),
        Middleware(BodyLimit, limits=limits),
    ]


def _life(parts: Parts) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(_warm, parts)
        try:
            yield
        finally:
            parts.decoder.close()
            parts.archive.readers.close()
            parts.log.close()

    return life


def _warm(parts: Parts) -> None:
    """Do before the first question what it would else wait for."""
    parts.decoder.start()
    told = parts.archive.told()
    try:
        _ = parts.archive.index.encoder
        parts.archive.index.allowed("label = ''" if told.n_items else None)
    except HistoseekError:  # told to whoever asks for it
        return
