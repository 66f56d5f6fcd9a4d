"""Sessions of browsers: a cookie that no script can read, and a token that unsafe requests carry beside it."""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256

COOKIE = "histoseek"
"""The cookie's name, followed by the port: browsers keep the cookies of all ports of a machine together."""

CSRF_HEADER = "X-CSRF-Token"
IDLE_S = 12 * 3600.0
MOST = 10_000
MOST_OF_A_KEY = 20


@dataclass(frozen=True)
class Session:
    """One browser: the id of its key, None where no key is needed, and its token against forged requests."""

    key_id: str | None
    csrf: str


class Sessions:
    """Sessions by their cookies, in memory alone: a restart ends them, and so do twelve idle hours.

    Cookies are kept as hashes. Of each key the `most_of_a_key` last used are kept, so that nobody ends the sessions of
    others, and of those without a key, as on loopback, the `most` last used of all.
    """

    def __init__(self, idle_s: float = IDLE_S, most: int = MOST, most_of_a_key: int = MOST_OF_A_KEY) -> None:
        self._idle_s, self._most, self._most_of_a_key = idle_s, most, most_of_a_key
        self._lock = threading.Lock()
        self._held: OrderedDict[bytes, tuple[Session, float]] = OrderedDict()

    def open(self, key_id: str | None) -> tuple[str, Session]:
        """Begin a session; the text is for the cookie."""
        text, session = secrets.token_urlsafe(32), Session(key_id, secrets.token_urlsafe(32))
        with self._lock:
            self._held[_name(text)] = (session, time.monotonic())
            if key_id is not None:
                own = [name for name, (held, _) in self._held.items() if held.key_id == key_id]
                for name in own[: -self._most_of_a_key]:
                    del self._held[name]
            while len(self._held) > self._most:
                self._held.popitem(last=False)
        return text, session

    def find(self, text: str) -> Session | None:
        """The session of a cookie; None where it is over or never was."""
        name = _name(text)
        with self._lock:
            session, since = self._held.get(name, (None, 0.0))
            if session is None:
                return None
            now = time.monotonic()
            if now - since > self._idle_s:
                del self._held[name]
                return None
            self._held[name] = (session, now)
            self._held.move_to_end(name)
            return session

    def close(self, text: str) -> None:
        """End a session."""
        with self._lock:
            self._held.pop(_name(text), None)


def cookie_name(host: str) -> str:
    """The name of the cookie of the server that is called by this Host header."""
    port = host.rpartition(":")[2]
    return f"{COOKIE}-{port}" if port.isascii() and port.isdecimal() else COOKIE


def is_token(session: Session, given: str | None) -> bool:
    """Whether a request carries the token of its session, compared in constant time."""
    return given is not None and hmac.compare_digest(session.csrf.encode(), given.encode())


def _name(text: str) -> bytes:
    return sha256(text.encode()).digest()
