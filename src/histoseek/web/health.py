"""Whether the server lives and is ready."""

from __future__ import annotations

from fastapi import APIRouter

from histoseek.errors import HistoseekError
from histoseek.web.archive import Archive
from histoseek.web.problems import NotReady
from histoseek.web.schemas import HealthOut


def router(archive: Archive) -> APIRouter:
    """The routes of this file."""
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz")
    def healthz() -> HealthOut:
        """The server lives."""
        return HealthOut(status="ok")

    @routes.get("/readyz")
    def readyz() -> HealthOut:
        """The archive can be read."""
        try:
            _ = archive.version
        except (HistoseekError, OSError) as error:
            raise NotReady("the archive cannot be read now; try again later") from error
        return HealthOut(status="ok")

    return routes
