"""Refusals of the API: each says in one sentence what is wrong, and what to do."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, ClassVar

from histoseek.errors import EncoderError, HistoseekError, ImageError, InputError, QuestionError

TITLES = {
    400: "The request cannot be read",
    401: "A key is needed",
    403: "Not allowed",
    404: "Not there",
    405: "Not offered",
    408: "Too slow",
    409: "Not now",
    411: "The length is missing",
    413: "Too large",
    415: "Not a picture that is read",
    421: "Another host is asked",
    422: "Cannot be answered",
    429: "Too much at once",
    500: "A fault in the server",
    503: "Not ready",
}
"""What each status means, as the title of its problem."""

HIDDEN = "this cannot be answered on this archive; ask whoever runs the server to look into its log"
"""What is said in place of a message that was not written for clients."""

_LOG = logging.getLogger("histoseek.web")


class Problem(HistoseekError):
    """A refusal with its HTTP status; `headers` go into the answer."""

    status: ClassVar[int] = 400

    def __init__(self, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.headers = dict(headers or {})


class UnknownId(Problem):
    """No item, slide or query goes by that id."""

    status = 404

    def __init__(self, what: str) -> None:
        super().__init__(f"there is no such {what}; take ids from the answers of this server")


class KeyNeeded(Problem):
    """Nobody is known to be asking."""

    status = 401

    def __init__(self, detail: str) -> None:
        super().__init__(detail, {"WWW-Authenticate": 'Bearer realm="histoseek"'})


class Forbidden(Problem):
    """Who asks may not do this, or a foreign page asks in their name."""

    status = 403


class NotNow(Problem):
    """A file of the archive cannot be read now."""

    status = 409


class TooLarge(Problem):
    """More bytes or pixels than are taken."""

    status = 413


class UnreadablePicture(Problem):
    """An upload that is no picture, or a broken one."""

    status = 415


class CannotAnswer(Problem):
    """Well put, but this archive cannot answer it: a wrong vector, an unknown column, words without a text tower."""

    status = 422


class TooMuch(Problem):
    """A limit is reached; `wait_s` says when to ask again."""

    status = 429

    def __init__(self, detail: str, wait_s: float) -> None:
        super().__init__(detail, {"Retry-After": str(max(1, round(wait_s + 0.5)))})


class NotReady(Problem):
    """The server cannot answer yet, or not any more."""

    status = 503


def body_of(status: int, detail: str) -> dict[str, Any]:
    """The body of an answer of the type application/problem+json (RFC 9457)."""
    return {"type": "about:blank", "title": TITLES.get(status, "Refused"), "status": status, "detail": detail}


def problem_of(error: HistoseekError) -> Problem:
    """What a client is told of an error from below: of a wrong question what is wrong, of all else nothing.

    Other messages may name files, items and patients; they are for the log of the server.
    """
    if isinstance(error, Problem):
        return error
    told = str(error)
    if not isinstance(error, QuestionError):
        _LOG.warning("not told to the client: %s", error)
        told = HIDDEN
    if isinstance(error, (InputError, EncoderError)):
        return CannotAnswer(told)
    return NotNow(told) if isinstance(error, ImageError) else NotReady(told)
