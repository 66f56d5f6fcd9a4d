"""Many questions in one request, a line each."""

from __future__ import annotations

import json
import time
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool

from histoseek.errors import HistoseekError
from histoseek.web.archive import Archive
from histoseek.web.asking import answer_out
from histoseek.web.audit import note_asked, noting
from histoseek.web.limits import Turnstile
from histoseek.web.problems import TooLarge, body_of, problem_of
from histoseek.web.problems_http import sentence_of
from histoseek.web.schemas import Question
from histoseek.web.settings import Limits

TYPE = "application/x-ndjson"
AT_ONCE, WAITING = 1, 4
MOST_HITS = 20_000
"""Hits that the questions of one request may ask for together."""

_QUESTION: TypeAdapter[Question] = TypeAdapter(Question)


class Lines(Response):
    """One JSON object a line."""

    media_type = TYPE


def router(archive: Archive, limits: Limits) -> APIRouter:
    """The routes of this file."""
    routes = APIRouter(tags=["search"])
    line = Turnstile(AT_ONCE, WAITING)
    body = {"content": {TYPE: {"schema": {"type": "string"}}}, "required": True}
    answers: dict[int | str, dict[str, Any]] = {
        200: {"content": {TYPE: {"schema": {"type": "string"}}}, "description": "One answer a line, in order."}
    }

    @routes.post("/search/batch", openapi_extra={"requestBody": body}, responses=answers, response_class=Lines)
    async def search_batch(request: Request) -> Lines:
        """Answer questions as /search does, one a line; one that cannot be answered gives its problem in its place."""
        asked = [one for one in (await request.body()).split(b"\n") if one.strip()]
        if len(asked) > limits.batch_lines:
            raise TooLarge(f"the body holds more than {limits.batch_lines} questions; send them in several requests")
        return await run_in_threadpool(_answered, archive, line, asked)

    return routes


def _answered(archive: Archive, line: Turnstile, asked: list[bytes]) -> Lines:
    questions = [_question(one) for one in asked]
    if sum(one.k for one in questions if isinstance(one, Question)) > MOST_HITS:
        raise TooLarge(f"the questions ask for more than {MOST_HITS} hits together; send them in several requests")
    answers, noted = [], []
    with line():
        for one in questions:
            with noting() as details:
                answers.append(_answer(archive, one))
            noted.append(details)
    note_asked(questions=noted)
    return Lines("".join(f"{answer}\n" for answer in answers))


def _question(line: bytes) -> Question | dict[str, Any]:
    """A question, or what is wrong with it."""
    try:
        return _QUESTION.validate_json(line)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)[0]
        return body_of(400, sentence_of(dict(found)))


def _answer(archive: Archive, asked: Question | dict[str, Any]) -> str:
    if isinstance(asked, dict):
        return json.dumps({"problem": asked})
    since = time.perf_counter()
    try:
        return answer_out(archive, archive.answer(asked), since).model_dump_json()
    except HistoseekError as error:
        problem = problem_of(error)
        return json.dumps({"problem": body_of(problem.status, str(problem))})
