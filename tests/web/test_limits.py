"""Rates, requests in flight, and work of the encoder: refused with a time to come back, never queued without end."""

from __future__ import annotations

import threading
import time

import pytest
from starlette.testclient import TestClient

from histoseek.web.limits import Buckets, Turnstile
from histoseek.web.problems import TooMuch
from histoseek.web.settings import Limits
from tests.conftest import TinyEncoder
from tests.web.conftest import Opened, app_of, id_of


def test_a_bucket_empties_and_fills(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    buckets = Buckets(per_s=2.0, at_once=3)
    for _ in range(3):
        buckets.take("one")
    with pytest.raises(TooMuch) as refused:
        buckets.take("one")
    assert int(refused.value.headers["Retry-After"]) >= 1
    buckets.take("another")
    now[0] += 0.5
    buckets.take("one")
    now[0] += 1000
    for _ in range(3):  # it holds no more than it ever did
        buckets.take("one")
    with pytest.raises(TooMuch):
        buckets.take("one")


def test_each_client_has_a_rate_for_asking_and_one_for_looking(opened: Opened) -> None:
    client = opened(limits=Limits(asks_at_once=3, asks_per_s=0.01, looks_at_once=5, looks_per_s=0.01))
    asked = {"examples": [{"item": id_of(client)}]}
    answers = [client.post("/api/v1/search", json=asked) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 3 + [429] * 2
    assert int(answers[-1].headers["Retry-After"]) > 1
    assert answers[-1].headers["Content-Type"] == "application/problem+json"
    assert [client.get("/api/v1/index").status_code for _ in range(6)] == [200] * 5 + [429]
    assert client.get("/healthz").status_code == 200  # who watches over the server is never refused


def test_no_more_than_so_many_requests_are_in_flight(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    client = opened(limits=Limits(at_once=2))
    free, inside = threading.Event(), threading.Semaphore(0)
    archive = app_of(client).state.archive
    real = archive.told

    def slow() -> object:
        inside.release()
        free.wait(90)
        return real()

    monkeypatch.setattr(archive, "told", slow)
    threads = [threading.Thread(target=client.get, args=("/api/v1/index",)) for _ in range(2)]
    for thread in threads:
        thread.start()
        assert inside.acquire(timeout=90)
    refused = client.get("/api/v1/session")
    free.set()
    for thread in threads:
        thread.join()
    assert refused.status_code == 429 and refused.headers["Retry-After"]
    assert client.get("/api/v1/session").status_code == 200


def test_work_of_the_encoder_waits_in_a_short_line(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    client = opened(limits=Limits(encoding_waits=1))
    free, inside, most = threading.Event(), [], []
    real = TinyEncoder.embed_texts

    def slow(self: TinyEncoder, texts: list[str]) -> object:
        inside.append(1)
        most.append(len(inside))
        free.wait(90)
        inside.pop()
        return real(self, texts)

    monkeypatch.setattr(TinyEncoder, "embed_texts", slow)
    answers: list[int] = []

    def ask() -> None:
        answers.append(client.post("/api/v1/search", json={"examples": [{"text": "red"}]}).status_code)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 90
    while len(answers) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    stored = client.post("/api/v1/search", json={"examples": [{"item": id_of(client)}]})
    free.set()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200, 200, 429, 429, 429, 429]
    assert max(most) == 1  # one piece of work at a time
    assert stored.status_code == 200  # a stored item needs no encoder, and waits for nobody


def test_a_turnstile_lets_others_in_after_a_fault() -> None:
    gate = Turnstile(1, 0)
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"), gate():
            raise ValueError("broken")
    with gate(), pytest.raises(TooMuch), gate():
        pass
    assert gate.inside == 0


def test_metrics_are_given_only_when_asked_for(opened: Opened, client: TestClient) -> None:
    assert client.get("/api/v1/metrics").status_code == 404
    measured = opened(metrics=True)
    measured.get("/api/v1/index")
    item = id_of(measured)
    measured.get(f"/api/v1/items/{item}")
    text = measured.get("/api/v1/metrics").text
    assert 'route="/index",status="200"} 1' in text.replace("/api/v1", "")
    assert "histoseek_encoding_inside 0" in text and item not in text
