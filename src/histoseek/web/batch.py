"""Many questions in one request, a line each."""

from __future__ import annotations

import json
import time
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool

from histoseek.errors import HistoseekError
from histoseek.web.archive import Archive
from histoseek.web.asking import answer_out
from histoseek.web.audit import note_asked, noting
from histoseek.web.bodies import read_json
from histoseek.web.budget import Budget
from histoseek.web.limits import Line
from histoseek.web.problems import Problem, TooLarge, body_of, problem_of
from histoseek.web.schemas import Question
from histoseek.web.settings import Limits

TYPE = "application/x-ndjson"
AT_ONCE, WAITING = 2, 4
MOST_HITS = 20_000
"""Hits that the questions of one request may ask for together."""

_QUESTION: TypeAdapter[Question] = TypeAdapter(Question)


class Lines(Response):
    """One JSON object a line."""

    media_type = TYPE


def router(archive: Archive, limits: Limits) -> APIRouter:
    """The routes of this file."""
    routes = APIRouter(tags=["search"])
    line = Line(AT_ONCE, WAITING)
    body = {"content": {TYPE: {"schema": {"type": "string"}}}, "required": True}
    answers: dict[int | str, dict[str, Any]] = {
        200: {"content": {TYPE: {"schema": {"type": "string"}}}, "description": "One answer a line, in order."}
    }

    @routes.post("/search/batch", openapi_extra={"requestBody": body}, responses=answers, response_class=Lines)
    async def search_batch(request: Request) -> Lines:
        """Answer questions as /search does, one a line; one that cannot be answered gives its problem in its place."""
        async with line.place(request.state.client.name):
            asked = [one for one in (await request.body()).split(b"\n") if one.strip()]
            if len(asked) > limits.batch_lines:
                raise TooLarge(
                    f"the body holds more than {limits.batch_lines} questions; send them in several requests"
                )
            return await run_in_threadpool(_answered, archive, asked)

    return routes


def _answered(archive: Archive, asked: list[bytes]) -> Lines:
    questions = [_question(one) for one in asked]
    if sum(one.k for one in questions if isinstance(one, Question)) > MOST_HITS:
        raise TooLarge(f"the questions ask for more than {MOST_HITS} hits together; send them in several requests")
    answers, noted, budget = [], [], Budget()
    for one in questions:
        with noting() as details:
            answers.append(_answer(archive, one, budget))
        noted.append(details)
    note_asked(questions=noted)
    return Lines("".join(f"{answer}\n" for answer in answers))


def _question(line: bytes) -> Question | dict[str, Any]:
    """A question, or what is wrong with it."""
    try:
        return read_json(_QUESTION, line)
    except Problem as problem:
        return body_of(problem.status, str(problem))


def _answer(archive: Archive, asked: Question | dict[str, Any], budget: Budget) -> str:
    if isinstance(asked, dict):
        return json.dumps({"problem": asked})
    since = time.perf_counter()
    try:
        return answer_out(archive, archive.answer(asked, budget=budget), since).model_dump_json()
    except HistoseekError as error:
        problem = problem_of(error)
        return json.dumps({"problem": body_of(problem.status, str(problem))})
