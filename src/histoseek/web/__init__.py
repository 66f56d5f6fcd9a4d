"""The server and the page; the extra `web` brings what it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from histoseek.errors import needs_extra
from histoseek.web.settings import Limits, Settings, check_host

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastapi import FastAPI

    from histoseek.index import Index

__all__ = ["Limits", "Settings", "check_host", "create_app", "serve"]


def create_app(index: Index, settings: Settings | None = None) -> FastAPI:
    """The page and the API over an index, as an ASGI application.

    Raises:
        MissingExtraError: the extra `web` is not installed.
        InputError: a setting does not fit.
    """
    with needs_extra("web"):
        from histoseek.web import app
    return app.create_app(index, settings)


def serve(index: Index, settings: Settings, started: Callable[[str, Sequence[str]], None]) -> None:
    """Serve an index until the process is told to stop; `started` is told the page's address once it can be opened.

    It is also told which columns of the archive's own stay hidden.

    Raises:
        MissingExtraError: the extra `web` is not installed.
        InputError: the address is taken, or not loopback without a key file, or another setting does not fit.
    """
    with needs_extra("web"):
        from histoseek.web import serving
    serving.serve(index, settings, started)
