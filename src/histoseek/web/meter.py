"""What the server counts, in the text form that Prometheus reads."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Meter:
    """Counts of answers by route and status, and the seconds they took; no ids, no addresses."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: Counter[tuple[str, str, int]] = Counter()
        self._seconds: defaultdict[tuple[str, str], float] = defaultdict(float)

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer."""
        with self._lock:
            self._answers[method, route, status] += 1
            self._seconds[method, route] += seconds

    def text(self, now: Mapping[str, float]) -> str:
        """All counts, and how some gauges stand `now`."""
        with self._lock:
            answers, seconds = sorted(self._answers.items()), sorted(self._seconds.items())
        lines = ["# TYPE histoseek_answers_total counter"]
        lines += [
            f'histoseek_answers_total{{method="{method}",route="{route}",status="{status}"}} {n}'
            for (method, route, status), n in answers
        ]
        lines.append("# TYPE histoseek_answer_seconds_total counter")
        lines += [
            f'histoseek_answer_seconds_total{{method="{method}",route="{route}"}} {total:.6f}'
            for (method, route), total in seconds
        ]
        for name, value in now.items():
            lines += [f"# TYPE histoseek_{name} gauge", f"histoseek_{name} {value:g}"]
        return "\n".join(lines) + "\n"


class Metered:
    """Counts every answer."""

    def __init__(self, app: ASGIApp, meter: Meter) -> None:
        self.app, self._meter = app, meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        since = time.perf_counter()

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "none")
                self._meter.count(scope["method"], route, message["status"], time.perf_counter() - since)
            await send(message)

        await self.app(scope, receive, send_counted)


def router(meter: Meter, gauges: Mapping[str, Callable[[], float]]) -> APIRouter:
    """The routes of this file; `gauges` are functions that give a number."""
    routes = APIRouter(tags=["health"])

    @routes.get("/metrics", response_class=PlainTextResponse)
    def metrics() -> PlainTextResponse:
        """Counts and gauges, for Prometheus."""
        return PlainTextResponse(meter.text({name: read() for name, read in gauges.items()}), media_type=TYPE)

    return routes
