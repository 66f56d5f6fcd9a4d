"""JSON bodies: small where strangers send them, and never in the way of others."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from pydantic import TypeAdapter

from histoseek.web import bodies
from histoseek.web.bodies import SMALL, read_json
from histoseek.web.problems import Problem
from histoseek.web.schemas import Question
from histoseek.web.settings import Limits
from tests.web.conftest import Opened, id_of

MANY = {
    "numbers that are none": b'{"examples": [{"vector": [' + b'"a",' * 200_000 + b"1]}]}",
    "unknown fields": b"{" + b",".join(b'"a%d":1' % number for number in range(80_000)) + b"}",
    "lists in lists": b'{"examples": ' + b"[" * 400_000 + b"]" * 400_000 + b"}",
}


def test_a_stranger_may_send_no_more_than_a_key(opened: Opened) -> None:
    client = opened()
    for body in (b"[" * 5000, b'{"key": "' + b"x" * 5000 + b'"}'):
        answer = client.post("/api/v1/session", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413 and "4 kB" in answer.json()["detail"]
    assert client.post("/api/v1/session", content=b"[" * 4000).status_code == 400


def test_each_route_has_its_own_limit(opened: Opened) -> None:
    client = opened(limits=Limits(body_bytes=20_000, batch_bytes=50_000))
    wide = b" " * 30_000
    for path in ("search", "heat", "export?format=csv"):
        assert client.post(f"/api/v1/{path}", content=wide).status_code == 413
    assert client.post("/api/v1/search/batch", content=wide).status_code == 200


@pytest.mark.parametrize("name", MANY)
def test_of_many_mistakes_one_is_told(name: str) -> None:
    with pytest.raises(Problem) as told:
        read_json(TypeAdapter(Question), MANY[name])
    assert len(str(told.value)) < 200


def test_health_is_told_while_a_large_body_is_read(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    client = opened()
    begun, go_on, order = threading.Event(), threading.Event(), []
    real = bodies.read_json

    def slow(*given: Any) -> Any:
        begun.set()
        assert go_on.wait(20)
        order.append("body")
        return real(*given)

    monkeypatch.setattr(bodies, "read_json", slow)
    asked = b'{"examples": [{"item": "%s"}]}' % id_of(client).encode() + b" " * SMALL
    answers = []
    headers = {"Content-Type": "application/json"}
    asking = threading.Thread(
        target=lambda: answers.append(client.post("/api/v1/search", content=asked, headers=headers).status_code)
    )
    asking.start()
    assert begun.wait(20)
    assert client.get("/healthz").status_code == 200
    order.append("health")
    go_on.set()
    asking.join()
    assert order == ["health", "body"] and answers == [200]


def test_a_body_says_that_it_is_json(opened: Opened) -> None:
    client = opened()
    asked = b'{"examples": [{"item": "%s"}]}' % id_of(client).encode()
    for kind, status in (
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("text/plain", 400),
        ("application/x-www-form-urlencoded", 400),
    ):
        assert client.post("/api/v1/search", content=asked, headers={"Content-Type": kind}).status_code == status
