"""What stands in the head of every answer, and which names of the server are answered to."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders

from histoseek.web.problems import Problem
from histoseek.web.settings import LOOPBACK

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
"""Scripts, styles and pictures of this server alone; what the user drops is drawn onto a canvas."""

SAFE_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Research-Use-Only": "1",
}
HTTPS_ONLY = "max-age=31536000"
"""Said over TLS alone, as behind a proxy that speaks it: the browser shall not try without, for a year."""

ANYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, never listened on by itself


class AnotherHost(Problem):
    """The server is called by a name that is not its own, as a page elsewhere does that rebinds its name."""

    status = 421


class Headers:
    """Puts the headers of safety onto every answer, and lets nothing be kept by others unless a route says how."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SAFE_HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
                if scope.get("scheme") == "https":
                    headers["Strict-Transport-Security"] = HTTPS_ONLY
            await send(message)

        await self.app(scope, receive, send_safely)


class Hosts:
    """Refuses requests for any other host than those allowed, so that no page elsewhere reaches a loopback server."""

    def __init__(self, app: ASGIApp, allowed: frozenset[str]) -> None:
        self.app, self.allowed = app, allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            named = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
            if len(named) != 1 or hostname(named[0]) not in self.allowed:
                raise AnotherHost("the server does not answer to this host name; allow it with --allow-host NAME")
        await self.app(scope, receive, send)


def hostname(host: str) -> str:
    """The name in a Host header, without its port."""
    text = host.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]


def own_names(host: str, more: Iterable[str]) -> frozenset[str]:
    """The names that a server on `host` answers to: loopback, its own, and those that are allowed beyond."""
    own = {socket.gethostname().lower()} if host in ANYWHERE else {host.lower()}
    return frozenset({*LOOPBACK, *own, *(hostname(name) for name in more)})
