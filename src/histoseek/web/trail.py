"""What of the requests gets into the audit log, and that no answer leaves before its line is written."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from time import monotonic
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

LEFT_OUT = re.compile(r"/(healthz|readyz|metrics|index|openapi\.json)$")
"""Routes that tell of no item: their lines would bury the others."""

MAP = "map"

PARTS = {
    re.compile(r"/items/\{item_id\}/thumbnail$"): "items thumbnail",
    re.compile(r"/slides/\{slide_id\}(\.dzi|_files/.*|/heat/.*)$"): "slides tiles",
    re.compile(r"/map(/.*)?$"): MAP,
}
"""Routes of which a page asks for many at once: there is a line for an item, a slide or the map when a client, who has
not been told of it in this hour, first looks at it."""

AN_HOUR = 3600.0
MOST_NAMED = 400
"""Ids of a line that count as named; what an answer shows beyond has lines of its own."""

MOST_SEEN = 100_000
"""Items and slides that clients are remembered to have seen; whoever sees more has lines anew, never fewer."""

REFUSED = (401, 403)
REFUSED_PER_S, REFUSED_AT_ONCE = 2.0, 50
WRITERS = 8
"""Threads that write lines, and do nothing else: no answer that is ready waits for questions that are not."""

_API = "/api/v1"


class Seen:
    """What clients were told of in the last hour, as far as lines of the log say so."""

    def __init__(self, seconds: float = AN_HOUR, most: int = MOST_SEEN) -> None:
        self._seconds, self._most = seconds, most
        self._lock = threading.Lock()
        self._since: OrderedDict[tuple[str, str], float] = OrderedDict()

    def has(self, client: str, opaque: str) -> bool:
        """Whether there is a line of this hour that names an item or a slide for a client."""
        with self._lock:
            since = self._since.get((client, opaque))
        return since is not None and monotonic() - since < self._seconds

    def add(self, client: str, opaque: Sequence[str]) -> None:
        """Remember what a line that is written names."""
        now = monotonic()
        with self._lock:
            for one in opaque:
                self._since[(client, one)] = now
                self._since.move_to_end((client, one))
            while len(self._since) > self._most:
                self._since.popitem(last=False)


class Trail:
    """Writes a line for every question, item, slide and export, for sessions, and for whoever is turned away."""

    def __init__(self, app: ASGIApp, log: AuditLog) -> None:
        self.app, self._log = app, log
        self._refusals, self._n_unwritten = Buckets(REFUSED_PER_S, REFUSED_AT_ONCE), 0
        self._writers = CapacityLimiter(WRITERS)
        self._seen = Seen()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_refused = False

        async def send_noted(message: Message) -> None:
            nonlocal is_refused
            if message["type"] == "http.response.start":
                entry = self._bounded(_entry_of(scope, message["status"], noted, self._seen))
                try:
                    if entry is not None:
                        await run_sync(self._log.add, entry, limiter=self._writers)
                        self._seen.add(entry["key"], _named_in(entry))
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


def _entry_of(scope: Scope, status: int, noted: dict[str, Any], seen: Seen) -> dict[str, Any] | None:
    name = _client_of(scope)
    if status in REFUSED:
        return {"key": name, "action": "refused", "status": status}
    action = _action_of(scope)
    if status >= 400 or action is None:
        return None
    ids = [value for value in scope.get("path_params", {}).values() if re.fullmatch(ID, str(value))]
    if action in PARTS.values():
        return None if seen.has(name, ids[0] if ids else action) else {"key": name, "action": action, "ids": ids}
    asked = [*ids, *noted.pop("ids", [])]
    return {"key": name, "action": action, **({"ids": asked} if asked else {}), **noted}


def _client_of(scope: Scope) -> str:
    """The id of a key, or the address of whoever has none, also where the guard turned them away."""
    client = scope.get("state", {}).get("client")
    if client is not None:
        return str(client.name)
    return f"nobody {scope['client'][0]}" if scope.get("client") else "nobody"


def _named_in(entry: dict[str, Any]) -> list[str]:
    """What a line names: items, slides, the map."""
    if entry["action"] == MAP:
        return [MAP]
    named = [*entry.get("ids", []), *entry.get("shown", [])]
    return [*named[:MOST_NAMED], *([entry["slide"]] if "slide" in entry else [])]


def _action_of(scope: Scope) -> str | None:
    """What a request is called in the log, by its route and not its path; None where it is left out."""
    route = getattr(scope.get("route"), "path", "").removeprefix(_API)
    if not scope["path"].startswith(_API) or LEFT_OUT.search(route):
        return None
    if route == "/session":
        return {"POST": "session opened", "DELETE": "session closed"}.get(scope["method"])
    for form, action in PARTS.items():
        if form.fullmatch(route):
            return action
    words = re.sub(r"\{[^}]*\}", "", route).strip("/").replace("/", " ")
    return " ".join(words.split()) or None
