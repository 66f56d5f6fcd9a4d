"""The server and the page; the extra `web` brings what it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from histoseek.errors import needs_extra
from histoseek.web.settings import Limits, Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from histoseek.index import Index

__all__ = ["Limits", "Settings", "create_app"]


def create_app(index: Index, settings: Settings | None = None) -> FastAPI:
    """The page and the API over an index, as an ASGI application.

    Raises:
        MissingExtraError: the extra `web` is not installed.
        InputError: a setting does not fit.
    """
    with needs_extra("web"):
        from histoseek.web import app
    return app.create_app(index, settings)
