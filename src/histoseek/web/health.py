"""Whether the server lives and is ready."""

from __future__ import annotations

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter

from histoseek.errors import HistoseekError
from histoseek.web.archive import Archive
from histoseek.web.problems import NotReady
from histoseek.web.schemas import HealthOut


def router(archive: Archive) -> APIRouter:
    """The routes of this file."""
    routes = APIRouter(tags=["health"])
    own = CapacityLimiter(2)  # threads for nothing else, so that no load hides whether the server is ready

    @routes.get("/healthz")
    async def healthz() -> HealthOut:
        """The server lives."""
        return HealthOut(status="ok")

    @routes.get("/readyz")
    async def readyz() -> HealthOut:
        """The archive can be read."""
        try:
            await run_sync(lambda: archive.version, limiter=own)
        except (HistoseekError, OSError) as error:
            raise NotReady("the archive cannot be read now; try again later") from error
        return HealthOut(status="ok")

    return routes
