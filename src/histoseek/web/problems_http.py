"""Refusals as answers of the type application/problem+json."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from histoseek.errors import HistoseekError
from histoseek.web.problems import Problem, UnknownId, body_of, problem_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

TYPE = "application/problem+json"
_LOG = logging.getLogger("histoseek.web")


def problem_answer(problem: Problem) -> JSONResponse:
    """The answer that a refusal becomes."""
    return JSONResponse(body_of(problem.status, str(problem)), problem.status, problem.headers, TYPE)


def add_problems(app: FastAPI) -> None:
    """Turn every error of a route into a problem."""
    app.add_exception_handler(HistoseekError, _foreseen)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _http)


class Faults:
    """The last resort: what the parts around the routes refuse becomes a problem, and a bug one without its details."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        has_begun = False

        async def send_seen(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self.app(scope, receive, send_seen)
        except Problem as problem:
            if has_begun:
                raise
            await problem_answer(problem)(scope, receive, send)
        except Exception:
            if has_begun:
                raise
            _LOG.exception("a fault while answering %s %s", scope["method"], _route_of(scope))
            detail = "the server met a fault of its own; whoever runs it finds more in its log"
            await JSONResponse(body_of(500, detail), 500, media_type=TYPE)(scope, receive, send)


def _route_of(scope: Scope) -> str:
    """The route that a request took, which unlike its path holds nothing that the client wrote."""
    return str(getattr(scope.get("route"), "path", "no route"))


async def _foreseen(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HistoseekError)  # noqa: S101 - registered for it alone
    return problem_answer(problem_of(error))


async def _malformed(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    first: dict[str, Any] = dict(error.errors()[0])
    if first["loc"][:1] == ("path",):  # a malformed id and an unknown one are told apart by nobody
        return problem_answer(UnknownId("item or slide"))
    return problem_answer(Problem(sentence_of(first)))


def sentence_of(found: dict[str, Any]) -> str:
    """What is wrong with a field, without repeating what was sent."""
    place = ".".join(str(part) for part in found["loc"] if part not in ("body", "query", "header"))
    reason = str(found["msg"]).replace("Input should", "it should").replace("Value error, ", "")
    return f"{place or 'the body'}: {reason[:1].lower()}{reason[1:]}"


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    headers = dict(error.headers or {})
    detail = {
        404: "there is nothing at this address; the API is described at /api/v1/openapi.json",
        405: f"{request.method} is not offered here",
    }.get(error.status_code, str(error.detail))
    return JSONResponse(body_of(error.status_code, detail), error.status_code, headers, TYPE)
