"""The application: routes, what stands around them, and what they share."""

from __future__ import annotations

from fastapi import FastAPI

from histoseek import __version__
from histoseek.index import Index
from histoseek.web import asking, health
from histoseek.web.archive import Archive
from histoseek.web.problems_http import add_problems
from histoseek.web.pseudonyms import secret_of
from histoseek.web.settings import Settings

API = "/api/v1"
ABOUT = (
    "Search an archive of tissue images. Research use only, never a diagnosis. Ids are opaque; paths, URLs and names "
    "of models are never taken from a client."
)


def create_app(index: Index, settings: Settings | None = None) -> FastAPI:
    """The page and the API over an index, as an ASGI application."""
    chosen = settings or Settings()
    app = FastAPI(
        title="Histoseek",
        version=__version__,
        description=ABOUT,
        openapi_url=f"{API}/openapi.json",
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
    )
    archive = Archive(index, secret_of(index), keep_names=chosen.keep_names)
    app.state.archive, app.state.settings = archive, chosen
    for part in (asking, health):
        app.include_router(part.router(archive), prefix=API)
    add_problems(app)
    return app
