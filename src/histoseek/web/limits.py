"""What is taken at once: rates of clients, requests in flight, work of the encoder, and bytes of a body."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from histoseek.web.problems import TooLarge, TooMuch
from histoseek.web.settings import Limits

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

CLIENTS_KEPT = 10_000
ENVELOPE_BYTES = 64 * 1024
"""What a multipart upload may have around its picture."""

UPLOAD = "/api/v1/search/image"
BATCH = "/api/v1/search/batch"
SESSION = "/api/v1/session"
KNOWN = "known"
"""All clients with a key, for the number of requests in flight."""

HEALTH = ("/healthz", "/readyz", "/api/v1/healthz", "/api/v1/readyz")


class Buckets:
    """Token buckets of many clients: `at_once` requests may come together, and `per_s` more each second."""

    def __init__(self, per_s: float, at_once: int) -> None:
        self._per_s, self._at_once = per_s, float(at_once)
        self._lock = threading.Lock()
        self._held: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str, cost: float = 1.0) -> None:
        """Let a client have so many requests; raises `TooMuch` with the time until it may."""
        with self._lock:
            left = self._left(client)
            if left < cost:
                raise TooMuch("you ask faster than this server answers; ask again later", (cost - left) / self._per_s)
            self._held[client] = (left - cost, time.monotonic())
            self._held.move_to_end(client)
            while len(self._held) > CLIENTS_KEPT:
                self._held.popitem(last=False)

    def check(self, client: str) -> None:
        """Raise `TooMuch` where a client has used up what it may."""
        with self._lock:
            left = self._left(client)
        if left < 1:
            raise TooMuch("too many wrong keys came from here; try again later", (1 - left) / self._per_s)

    def _left(self, client: str) -> float:
        left, since = self._held.get(client, (self._at_once, 0.0))
        return min(self._at_once, left + (time.monotonic() - since) * self._per_s)


class Turnstile:
    """Lets `n_at_once` pieces of work run together and `n_waiting` wait; more are refused, so that no queue grows."""

    def __init__(self, n_at_once: int, n_waiting: int, wait_s: float = 2.0) -> None:
        self._free = threading.Semaphore(n_at_once)
        self._lock = threading.Lock()
        self._most, self._inside, self._wait_s = n_at_once + n_waiting, 0, wait_s

    @property
    def inside(self) -> int:
        """How many run or wait."""
        return self._inside

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Hold a place for as long as the block lasts; raises `TooMuch` where all are taken."""
        with self._lock:
            if self._inside >= self._most:
                raise TooMuch("the server has its hands full; ask again in a moment", self._wait_s)
            self._inside += 1
        try:
            with self._free:
                yield
        finally:
            with self._lock:
                self._inside -= 1


class Line:
    """Lets `n_at_once` requests in together and `n_waiting` wait, none of which keeps a thread; more are refused.

    One client is let in once less often than there are places, and leaves two in the line to others.
    """

    def __init__(self, n_at_once: int, n_waiting: int, wait_s: float = 2.0) -> None:
        self._free, self._share = asyncio.Semaphore(n_at_once), max(1, n_at_once - 1)
        self._most, self._wait_s = n_at_once + n_waiting, wait_s
        self._inside: Counter[str] = Counter()
        self._free_of: dict[str, asyncio.Semaphore] = {}

    @asynccontextmanager
    async def place(self, client: str) -> AsyncIterator[None]:
        """Hold a place for as long as the block lasts; raises `TooMuch` where all are taken."""
        if self._inside.total() >= self._most or self._inside[client] >= max(1, self._most - 2):
            raise TooMuch("the server has its hands full; ask again in a moment", self._wait_s)
        self._inside[client] += 1
        own = self._free_of.setdefault(client, asyncio.Semaphore(self._share))
        try:
            async with own, self._free:
                yield
        finally:
            self._inside[client] -= 1
            if not self._inside[client]:
                del self._inside[client], self._free_of[client]


class Crowd:
    """Refuses requests beyond so many in flight; strangers have places of their own, few for each address.

    So nobody who holds a key waits for those who hold none.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app, self._limits = app, limits
        self._inside: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"] in HEALTH:
            await self.app(scope, receive, send)
            return
        client = scope["state"]["client"]
        name = client.name if client.role is None else KNOWN
        most = self._limits.at_once if name == KNOWN else self._limits.strangers_at_once
        is_crowded = name != KNOWN and self._inside.total() - self._inside[KNOWN] >= self._limits.at_once
        if is_crowded or self._inside[name] >= most:
            raise TooMuch("too many requests are in flight; ask again in a moment", 1.0)
        self._inside[name] += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._inside[name] -= 1
            if not self._inside[name]:
                del self._inside[name]


class Rates:
    """Holds each client to its rates: one for questions, exports, uploads and sessions, another for all else."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app = app
        self._asks = Buckets(limits.asks_per_s, limits.asks_at_once)
        self._looks = Buckets(limits.looks_per_s, limits.looks_at_once)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["path"] not in HEALTH:
            is_asking = scope["method"] == "POST"  # opening a session too
            (self._asks if is_asking else self._looks).take(scope["state"]["client"].name)
        await self.app(scope, receive, send)


class BodyLimit:
    """Counts the bytes of a body as they come, and the time they take; its stated length alone is never believed."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app, self._limits = app, limits
        self._of = {  # bytes and seconds of the routes that take more or less than others
            UPLOAD: (limits.upload_bytes + ENVELOPE_BYTES, limits.receive_s),
            BATCH: (limits.batch_bytes, limits.receive_s),
            SESSION: (limits.key_bytes, limits.key_receive_s),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most, seconds = self._of.get(scope["path"], (self._limits.body_bytes, self._limits.receive_s))
        stated = Headers(scope=scope).get("content-length", "0")
        if not stated.isascii() or not stated.isdecimal() or int(stated[:20]) > most:
            raise TooLarge(_too_large(most))
        await self.app(scope, _counted(receive, most, seconds), send)


def _counted(receive: Receive, most: int, seconds: float) -> Receive:
    n_bytes, is_whole = 0, False
    deadline: float | None = None  # counted from when the body is first waited for

    async def counted() -> Message:
        nonlocal n_bytes, is_whole, deadline
        if is_whole:  # from here on only the client's leaving is waited for
            return await receive()
        deadline = time.monotonic() + seconds if deadline is None else deadline
        try:
            message = await asyncio.wait_for(receive(), max(0.0, deadline - time.monotonic()))
        except TimeoutError as error:
            raise HTTPException(408, f"the request took longer than {seconds:g} s to arrive; send it again") from error
        n_bytes += len(message.get("body", b""))
        is_whole = not message.get("more_body", False)
        if n_bytes > most:  # FastAPI, which reads some bodies, lets no other exception through than this
            raise HTTPException(413, _too_large(most))
        return message

    return counted


def _too_large(most: int) -> str:
    size = f"{most / 1024**2:.3g} MB" if most >= 1024**2 else f"{most / 1024:.3g} kB"
    return f"the request is larger than {size}, which is the limit here"
