"""Who waits for whom: strangers never keep out those with a key, and nothing waits in a thread that others need."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from histoseek.index import Index
from histoseek.web import Limits, Settings, create_app
from histoseek.web.keys import add_key
from histoseek.web.limits import Line
from histoseek.web.problems import TooMuch
from histoseek.web.wire import Connection
from tests.web.conftest import HOME, Opened, app_of, id_of

SOON_S = 90.0


def scope_of(method: str, path: str, address: str = "10.0.0.1") -> dict[str, Any]:
    headers = [(b"host", b"127.0.0.1:8000"), (b"content-type", b"application/json")]
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
        "raw_path": path.encode(), "query_string": b"", "headers": headers, "client": (address, 5000),
        "server": ("127.0.0.1", 8000), "scheme": "http", "root_path": "",
    }  # fmt: skip


async def hold(app: FastAPI, n: int, address: str = "10.0.0.1") -> list[asyncio.Task[None]]:
    """So many requests of strangers whose bodies never come."""

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(3600)
        return {}

    async def send(message: Any) -> None:
        """Nobody reads it."""

    tasks = [asyncio.create_task(app(scope_of("POST", "/api/v1/session", address), receive, send)) for _ in range(n)]
    await asyncio.sleep(0.1)
    return tasks


def test_strangers_that_send_nothing_keep_out_nobody_with_a_key(built: Index, tmp_path: Path) -> None:
    key, _ = add_key(tmp_path / "keys.json", "read")
    limits = Limits(at_once=6, strangers_at_once=4)
    settings = Settings(api_key_file=tmp_path / "keys.json", audit_log=tmp_path / "a.jsonl", limits=limits)
    app = create_app(built, settings)

    async def asked() -> list[int]:
        held = [*await hold(app, 5), *await hold(app, 5, "10.0.0.2")]
        transport = httpx.ASGITransport(app=app, client=("10.0.0.1", 5001))
        async with httpx.AsyncClient(transport=transport, base_url=HOME) as client:
            stranger = await client.get("/api/v1/session")
            known = await client.get("/api/v1/index", headers={"Authorization": f"Bearer {key}"})
        waiting = sum(not task.done() for task in held)
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)
        return [stranger.status_code, known.status_code, waiting]

    assert asyncio.run(asked()) == [429, 200, 6]


def test_a_key_has_seconds_to_arrive(built: Index, tmp_path: Path) -> None:
    assert Limits().key_receive_s <= 10
    app = create_app(built, Settings(audit_log=tmp_path / "a.jsonl", limits=Limits(key_receive_s=0.05)))

    async def all_ended() -> bool:
        held = await hold(app, 3)
        done, _ = await asyncio.wait(held, timeout=SOON_S)
        return len(done) == 3

    assert asyncio.run(all_ended())


def test_a_line_lets_in_a_few_keeps_places_for_others_and_waits_without_threads() -> None:
    async def work() -> None:
        line, inside, go_on = Line(2, 3), [], asyncio.Event()

        async def one(client: str) -> None:
            async with line.place(client):
                inside.append(client)
                await go_on.wait()

        tasks = [asyncio.create_task(one("greedy")) for _ in range(4)]
        await asyncio.sleep(0.01)
        assert inside == ["greedy"]  # of its four the other place is for others
        assert [type(task.exception()) for task in tasks if task.done()] == [TooMuch]
        tasks += [asyncio.create_task(one(name)) for name in ("a", "b", "c")]
        await asyncio.sleep(0.01)
        assert inside == ["greedy", "a"]
        assert isinstance(tasks[-1].exception(), TooMuch)
        go_on.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert sorted(inside) == ["a", "b", "greedy", "greedy", "greedy"]
        assert not line._inside and not line._free_of

    asyncio.run(work())


def test_no_upload_is_received_before_its_turn(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    from histoseek.web import uploads

    client = opened(limits=Limits(uploads_at_once=1, encoding_waits=3))
    order: list[str] = []
    begun, go_on = threading.Event(), threading.Event()
    received, answered = uploads._received, uploads._answered

    async def noted(*given: Any) -> Any:
        order.append("received")
        return await received(*given)

    def slow(*given: Any) -> Any:
        begun.set()
        assert go_on.wait(SOON_S)
        answer = answered(*given)
        order.append("answered")
        return answer

    monkeypatch.setattr(uploads, "_received", noted)
    monkeypatch.setattr(uploads, "_answered", slow)
    data = (app_of(client).state.archive.index.root / "p0_0.png").read_bytes()
    threads = [
        threading.Thread(target=lambda: client.post("/api/v1/search/image", files={"picture": data})) for _ in range(2)
    ]
    threads[0].start()
    assert begun.wait(SOON_S)
    threads[1].start()
    time.sleep(0.2)
    assert order == ["received"]
    go_on.set()
    for thread in threads:
        thread.join()
    assert order == ["received", "answered"] * 2


def test_health_and_the_log_wait_for_no_thread_of_others(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    client = opened()
    archive = app_of(client).state.archive
    inside, go_on = threading.Semaphore(0), threading.Event()
    real = archive.told

    def slow() -> Any:
        inside.release()
        assert go_on.wait(SOON_S)
        return real()

    monkeypatch.setattr(archive, "told", slow)
    threads = [threading.Thread(target=client.get, args=("/api/v1/index",)) for _ in range(40)]
    for thread in threads:
        thread.start()
    for _ in threads:  # all threads that routes share are taken
        assert inside.acquire(timeout=SOON_S)
    assert [client.get(path).status_code for path in ("/healthz", "/readyz")] == [200, 200]
    go_on.set()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("path", ["heat", "export?format=csv"])
def test_what_is_drawn_waits_in_a_short_line(opened: Opened, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = opened()
    archive = app_of(client).state.archive
    go_on = threading.Event()
    monkeypatch.setattr(archive, "now", lambda real=archive.now: real() if go_on.wait(SOON_S) else None)
    statuses: list[int] = []
    asked = {"examples": [{"vector": [1.0] * 32}], **({"slide": "A" * 16} if path == "heat" else {})}
    threads = [
        threading.Thread(target=lambda: statuses.append(client.post(f"/api/v1/{path}", json=asked).status_code))
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + SOON_S
    while not statuses and time.monotonic() < deadline:
        time.sleep(0.01)
    refused = list(statuses)
    go_on.set()
    for thread in threads:
        thread.join()
    assert 429 in refused and set(statuses) - {429} <= {200, 404}


async def wide(scope: Any, receive: Any, send: Any) -> None:
    """An answer of 64 MB."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x" * (64 * 1024**2)})


class Hasty(Connection):
    """The same with less time."""

    head_s, stall_s = 0.3, 0.3
    n_made = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        Hasty.n_made += 1


@contextmanager
def running() -> Iterator[tuple[int, Callable[[], int]]]:
    """A server with little patience: its port, and a function that tells how many connections it holds."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(wide, http=Hasty, lifespan="off", log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield listening.getsockname()[1], lambda: len(server.server_state.connections)
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def test_who_reads_nothing_or_says_nothing_is_cut_off() -> None:
    with running() as (port, n_held):
        asks = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        for begin in (asks, b"", b"GET / HTTP/1.1\r\nHost", asks[:-2]):
            n_before = Hasty.n_made
            with socket.create_connection(("127.0.0.1", port), SOON_S) as wire:
                wire.sendall(begin)
                deadline = time.monotonic() + SOON_S
                while (Hasty.n_made == n_before or n_held()) and time.monotonic() < deadline:
                    time.sleep(0.02)
                assert (Hasty.n_made, n_held()) == (n_before + 1, 0), begin


def test_who_reads_gets_all() -> None:
    with running() as (port, _), httpx.stream("GET", f"http://127.0.0.1:{port}/") as answer:
        length = 0
        for part in answer.iter_raw():
            length += len(part)
            if length < 8 * 1024**2:
                time.sleep(0.001)
    assert length == 64 * 1024**2


def test_one_question_and_one_batch_have_a_budget(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    from histoseek.web import batch, budget
    from tests.conftest import TinyEncoder

    embedded: list[str] = []
    real = TinyEncoder.embed_texts
    monkeypatch.setattr(TinyEncoder, "embed_texts", lambda self, texts: embedded.extend(texts) or real(self, texts))
    client = opened()
    same = {"examples": [{"text": "red", "weight": 1 + nth / 10} for nth in range(20)]}
    assert client.post("/api/v1/search", json=same).status_code == 200
    assert embedded == ["red"]
    monkeypatch.setattr(budget, "A_QUESTION", 3)
    many = {"examples": [{"text": f"red {nth}"} for nth in range(4)]}
    refused = client.post("/api/v1/search", json=many)
    assert refused.status_code == 422 and "one question" in refused.json()["detail"]
    monkeypatch.setattr(batch, "Budget", lambda: budget.Budget(5))
    few = {"examples": [{"text": f"red {nth}"} for nth in range(2)]}
    item = {"examples": [{"item": id_of(client)}]}
    lines = "\n".join(httpx.Request("POST", HOME, json=one).content.decode() for one in (few, few, few, item))
    told = client.post("/api/v1/search/batch", content=lines).text.splitlines()
    assert ["problem" in one for one in told] == [False, False, True, False]
    assert "another batch" in told[2]
