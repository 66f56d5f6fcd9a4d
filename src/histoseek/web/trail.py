"""What of the requests gets into the audit log, and that no answer leaves before its line is written."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from histoseek.errors import StorageError
from histoseek.web.audit import AuditLog, noting
from histoseek.web.limits import Buckets
from histoseek.web.problems import NotReady, TooMuch
from histoseek.web.problems_http import problem_answer
from histoseek.web.schemas import ID

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LEFT_OUT = re.compile(r"/(healthz|readyz|metrics|index|openapi\.json|map.*|.*thumbnail|.*\{level\}.*)$")
"""Routes that show no more than a question or an opened slide already told: their lines would bury the others."""

REFUSED = (401, 403)
REFUSED_PER_S, REFUSED_AT_ONCE = 2.0, 50
WRITERS = 8
"""Threads that write lines, and do nothing else: no answer that is ready waits for questions that are not."""

_API = "/api/v1"


class Trail:
    """Writes a line for every question, item, slide and export, for sessions, and for whoever is turned away."""

    def __init__(self, app: ASGIApp, log: AuditLog) -> None:
        self.app, self._log = app, log
        self._refusals, self._n_unwritten = Buckets(REFUSED_PER_S, REFUSED_AT_ONCE), 0
        self._writers = CapacityLimiter(WRITERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_refused = False

        async def send_noted(message: Message) -> None:
            nonlocal is_refused
            if message["type"] == "http.response.start":
                entry = self._bounded(_entry_of(scope, message["status"], noted))
                try:
                    if entry is not None:
                        await run_sync(self._log.add, entry, limiter=self._writers)
                except StorageError:
                    is_refused = True
                    refusal = NotReady(
                        "the audit log cannot be written, so nothing is answered; tell who runs the server"
                    )
                    await problem_answer(refusal)(scope, receive, send)
            if not is_refused:
                await send(message)

        with noting() as noted:
            await self.app(scope, receive, send_noted)

    def _bounded(self, entry: dict[str, Any] | None) -> dict[str, Any] | None:
        """Lines about those who are turned away come so many a second; the next one counts those left out."""
        if entry is None or entry["action"] != "refused":
            return entry
        try:
            self._refusals.take("all")
        except TooMuch:
            self._n_unwritten += 1
            return None
        entry["unwritten"], self._n_unwritten = self._n_unwritten, 0
        return entry


def _entry_of(scope: Scope, status: int, noted: dict[str, Any]) -> dict[str, Any] | None:
    client = scope.get("state", {}).get("client")
    name = client.name if client is not None else "nobody"
    if status in REFUSED:
        return {"key": name, "action": "refused", "status": status}
    action = _action_of(scope)
    if status >= 400 or action is None:
        return None
    ids = [value for value in scope.get("path_params", {}).values() if re.fullmatch(ID, str(value))]
    asked = [*ids, *noted.pop("ids", [])]
    return {"key": name, "action": action, **({"ids": asked} if asked else {}), **noted}


def _action_of(scope: Scope) -> str | None:
    """What a request is called in the log, by its route and not its path; None where it is left out."""
    route = getattr(scope.get("route"), "path", "").removeprefix(_API)
    if not scope["path"].startswith(_API) or LEFT_OUT.search(route):
        return None
    if route == "/session":
        return {"POST": "session opened", "DELETE": "session closed"}.get(scope["method"])
    words = re.sub(r"\{[^}]*\}", "", route).strip("/").replace("/", " ")
    return " ".join(words.split()) or None
