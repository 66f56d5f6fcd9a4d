"""Who is asking, and whether they may: keys, sessions, roles, and pages elsewhere that ask in someone's name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import cookie_parser

from histoseek.web.keys import KeyFile, Role
from histoseek.web.limits import HEALTH, SESSION, Buckets
from histoseek.web.problems import Forbidden, KeyNeeded
from histoseek.web.sessions import CSRF_HEADER, Session, Sessions, cookie_name, is_token
from histoseek.web.settings import Limits

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

SAFE = ("GET", "HEAD", "OPTIONS")
READING = tuple(f"/api/v1/{name}" for name in ("search", "search/image", "search/batch", "heat", "export"))
"""Asked by POST, but changing nothing, so that the role read may; every other unsafe request needs the role write."""

NEEDS_KEY = "/api/"
"""Below this a key is needed; the page itself is open, for it is where the key is typed."""


@dataclass(frozen=True)
class Client:
    """Who is asking: `name` for the audit log and the rates, `role` None where nobody is known."""

    name: str
    role: Role | None
    session: Session | None = None
    cookie: str | None = None


class Doorkeeper:
    """Knows keys and sessions; without a key file everybody may do everything, because only loopback is listened on."""

    def __init__(self, keys: KeyFile | None, limits: Limits) -> None:
        self.keys, self.sessions = keys, Sessions()
        self._failures = Buckets(limits.failures_per_s, limits.failures_at_once)

    def recognise(self, headers: Headers, address: str) -> Client:
        """Tell who is asking, by the key in the head of the request or else by the cookie.

        Raises:
            KeyNeeded: the key is none, or no longer one.
            TooMuch: too many wrong keys came from this address.
        """
        given = headers.get("authorization")
        if given is not None and self.keys is not None:
            scheme, _, text = given.partition(" ")
            if scheme.lower() != "bearer":
                raise KeyNeeded("send the key as: Authorization: Bearer KEY")
            key = self.key_of(text.strip(), address)
            return Client(key[0], key[1])
        cookie = cookie_of(headers)
        session = self.sessions.find(cookie) if cookie is not None else None
        if self.keys is None:
            return Client(f"local {address}", "write", session, cookie)
        if session is None or session.key_id is None:
            return Client(f"nobody {address}", None)
        held = self.keys.named(session.key_id)
        if held is None:  # its key was removed meanwhile
            return Client(f"nobody {address}", None)
        return Client(held.id, held.role, session, cookie)

    def key_of(self, text: str, address: str) -> tuple[str, Role]:
        """Id and role of a key; raises as `recognise` does."""
        assert self.keys is not None  # noqa: S101 - asked only where there are keys
        key = self.keys.find(text)
        if key is None:  # a right key is let in however many wrong ones came from its address
            self._failures.check(address)
            self._failures.take(address)
            raise KeyNeeded("this key is not known here; ask for another one where you got it")
        return key.id, key.role


class Guard:
    """Lets a request through when whoever asks is known, may do it, and asks it themselves."""

    def __init__(self, app: ASGIApp, doorkeeper: Doorkeeper) -> None:
        self.app, self._doorkeeper = app, doorkeeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        address = scope["client"][0] if scope.get("client") else "unknown"
        client = self._doorkeeper.recognise(headers, address)
        scope.setdefault("state", {})["client"] = client
        if scope["method"] not in SAFE:
            _check_origin(headers)
            if client.session is not None and not is_token(client.session, headers.get(CSRF_HEADER)):
                raise Forbidden(f"a request with a session's cookie needs its token in the header {CSRF_HEADER}")
        _check_role(client, scope["method"], scope["path"])
        await self.app(scope, receive, send)


def cookie_of(headers: Headers) -> str | None:
    """The text of the session's cookie, whatever other applications of the host keep beside it."""
    return cookie_parser(headers.get("cookie", "")).get(cookie_name(headers.get("host", "")))


def _check_origin(headers: Headers) -> None:
    """Refuse what a page of another origin sends; a browser says where it comes from, and a program need not."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Forbidden("a page of another site sent this request; open the page of this server instead")
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
        raise Forbidden("a page of another origin sent this request; open the page of this server instead")


def _check_role(client: Client, method: str, path: str) -> None:
    if not path.startswith(NEEDS_KEY) or path in HEALTH or path == SESSION:
        return
    if client.role is None:
        raise KeyNeeded("a key is needed; send it as: Authorization: Bearer KEY, or type it into the page")
    if client.role != "write" and method not in SAFE and path not in READING:
        raise Forbidden("this key may read only; ask for one with the role write")
