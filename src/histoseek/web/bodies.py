"""JSON bodies, taken apart so that no question holds up the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

from anyio.to_thread import run_sync
from fastapi import Depends, Request
from pydantic import BaseModel, TypeAdapter, ValidationError

from histoseek.web.problems import Problem
from histoseek.web.problems_http import sentence_of
from histoseek.web.schemas import HeatIn, KeyIn, Question

JSON = "application/json"
SMALL = 16 * 1024
"""A body of so many bytes is read at once: handing it to a thread would take longer."""

MOST_TOLD = 1000
"""With more mistakes than this none is picked out, for listing them all takes seconds."""

Model = TypeVar("Model", bound=BaseModel)


def read_json(kind: TypeAdapter[Model], raw: bytes | str, place: tuple[str, ...] = ()) -> Model:
    """A body by its model; `place` stands before the names of its fields where it is told what is wrong.

    Raises:
        Problem: it is no JSON, or not of that form.
    """
    try:
        return kind.validate_json(raw)
    except ValidationError as error:
        if error.error_count() > MOST_TOLD:
            raise Problem(f"the body has {error.error_count()} mistakes; write it as the description states") from error
        found = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise Problem(sentence_of({**found, "loc": (*place, *found["loc"])})) from error


def _asked_as(model: type[Model]) -> Callable[[Request], Awaitable[Model]]:
    kind = TypeAdapter(model)

    async def asked(request: Request) -> Model:
        stated = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
        if stated != JSON:
            raise Problem(f"send the body as {JSON}, and say so in Content-Type")
        raw = await request.body()
        return read_json(kind, raw) if len(raw) <= SMALL else await run_sync(read_json, kind, raw)

    return asked


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """What OpenAPI is told of a route that takes such a body."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"content": {JSON: {"schema": schema}}, "required": True}}


QuestionBody = Annotated[Question, Depends(_asked_as(Question))]
HeatBody = Annotated[HeatIn, Depends(_asked_as(HeatIn))]
KeyBody = Annotated[KeyIn, Depends(_asked_as(KeyIn))]
