"""The OpenAPI description, with every refusal that a route may give."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from histoseek.web.problems import TITLES
from histoseek.web.problems_http import TYPE
from histoseek.web.schemas import HeatIn, KeyIn, ProblemOut, Question, SearchIn
from histoseek.web.sessions import COOKIE, CSRF_HEADER

UNSAFE = ("post", "put", "patch", "delete")
OPEN = ("/healthz", "/readyz", "/session")
REFUSALS = (400, 404, 409, 421, 422, 429, 500, 503)
"""Refusals that any route may give."""

OWN: tuple[tuple[type[BaseModel], str], ...] = (
    (ProblemOut, "Problem"),
    *((model, model.__name__) for model in (SearchIn, Question, HeatIn, KeyIn)),
)


def describe(app: FastAPI, *, needs_key: bool) -> None:
    """Make the application describe itself with its refusals and its ways of telling who asks."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = get_openapi(
                title=app.title,
                version=app.version,
                openapi_version="3.1.0",
                description=app.description,
                routes=app.routes,
            )
            app.openapi_schema = _completed(found, needs_key=needs_key)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _completed(found: dict[str, Any], *, needs_key: bool) -> dict[str, Any]:
    parts = found.setdefault("components", {})
    schemas = parts.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for model, name in OWN:  # FastAPI, which sees no route take or give these, leaves them out
        told = model.model_json_schema(ref_template="#/components/schemas/{model}")
        for part, schema in told.pop("$defs", {}).items():
            schemas.setdefault(part, schema)
        schemas[name] = told
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            _add_refusals(operation, method, path, needs_key=needs_key)
    if needs_key:
        parts["securitySchemes"] = {
            "key": {"type": "http", "scheme": "bearer"},
            "session": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": _WITH_TOKEN},
        }
    return found


_WITH_TOKEN = f"Opened by POST /session; unsafe requests also carry its token in {CSRF_HEADER}."


def _add_refusals(operation: dict[str, Any], method: str, path: str, *, needs_key: bool) -> None:
    is_open = path.endswith(OPEN)
    statuses = [*REFUSALS, *((401,) if needs_key else ()), *((403, 408, 413) if method in UNSAFE else ())]
    if path.endswith("/search/image"):
        statuses.append(415)
    answers = operation["responses"]
    answers.pop("422", None)  # FastAPI's own, which this API gives as 400
    content = {TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for status in sorted(statuses):
        answers.setdefault(str(status), {"description": TITLES[status], "content": content})
    if needs_key and not is_open:
        operation["security"] = [{"key": []}, {"session": []}]
