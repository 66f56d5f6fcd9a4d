"""Real server processes: how they start, end, are killed under load, and what is left then."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from histoseek.cli import main
from histoseek.errors import InputError
from histoseek.index import Index
from histoseek.index.served import Served
from histoseek.web import create_app
from histoseek.web.audit import verify_audit
from histoseek.web.keys import add_key
from histoseek.web.serving import listen
from tests.conftest import write_archive

START_S = 60

Started = Callable[..., tuple[subprocess.Popen[str], str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index that a process of its own can open."""
    home = tmp_path_factory.mktemp("life")
    (home / "pictures").mkdir()
    Index.build(write_archive(home / "pictures"), "color", home / "x.index")
    return home / "x.index"


@pytest.fixture
def started(folder: Path) -> Iterator[Started]:
    """Starts `histoseek serve`, and gives the process and its address; ends it afterwards."""
    running: list[subprocess.Popen[str]] = []

    def start(*options: str) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(command(folder, *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        assert line.startswith("http://"), (line, process.stderr.read() if process.stderr else "")
        return process, line

    yield start
    for process in running:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def command(folder: Path, *options: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "histoseek", "serve", str(folder), *options]


def failed(capsys: pytest.CaptureFixture[str], folder: Path, *options: str) -> tuple[int, str]:
    """Exit code and sentence of a server that does not start."""
    with pytest.raises(SystemExit) as ended:
        main(["serve", str(folder), *options])
    told = capsys.readouterr()
    assert not told.out
    return int(str(ended.value.code)), told.err.strip()


def first_item(url: str) -> str:
    vector = [1.0] * int(httpx.get(f"{url}api/v1/index").json()["dim"])
    found = httpx.post(f"{url}api/v1/search", json={"examples": [{"vector": vector}], "k": 1})
    return str(found.json()["hits"][0]["id"])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", "127.0.0.1.example.org", ""])
def test_without_keys_only_loopback_is_listened_on(folder: Path, capsys: pytest.CaptureFixture[str], host: str) -> None:
    code, told = failed(capsys, folder, "--host", host)
    assert code == 2 and "keys" in told and "--api-key-file" in told and told.count("\n") == 0


def test_what_keeps_it_from_starting_is_a_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = tmp_path / "keys.json"
    add_key(keys, "read")
    for options, reason in (
        (("--api-key-file", str(tmp_path / "none.json")), "histoseek keys add"),
        (("--report", str(tmp_path)), "holds no report"),
        (("--audit-log", "/proc/none/audit.jsonl"), "--audit-log"),
        (("--host", "192.0.2.1", "--api-key-file", str(keys)), "192.0.2.1"),
        (("--host", "no.such.name.invalid", "--api-key-file", str(keys)), "no address of this machine"),
    ):
        code, told = failed(capsys, folder, *options)
        assert code == 2 and reason in told and told.count("\n") == 0, told
    assert failed(capsys, tmp_path / "no.index")[0] == 2
    keys.write_text("{")
    assert failed(capsys, folder, "--api-key-file", str(keys))[0] == 4
    log = tmp_path / "audit.jsonl"
    log.write_text("tampered\n")
    assert failed(capsys, folder, "--audit-log", str(log))[0] == 4


def test_an_index_that_is_damaged_or_on_a_server_does_not_start(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder, tmp_path / "y.index")
    for file in (tmp_path / "y.index" / "items.lance").rglob("*"):
        if file.is_file():
            file.unlink()
    for copied in (tmp_path / "y.index").glob("fast-*"):
        shutil.rmtree(copied)
    assert failed(capsys, tmp_path / "y.index")[0] == 4
    pushed = Index.open(folder)
    pushed._served = Served(object())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="serve the index folder"):
        create_app(pushed)


def test_the_next_free_port_is_taken_and_a_taken_one_is_a_sentence() -> None:
    first, second = listen("127.0.0.1", None), listen("127.0.0.1", None)
    ports = [one.sockets[0].getsockname()[1] for one in (first, second)]
    assert 8000 <= ports[0] < ports[1]
    assert first.url == f"http://127.0.0.1:{ports[0]}/"
    with pytest.raises(InputError, match="--port"):
        listen("127.0.0.1", ports[0])
    addresses = {str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), 80, socket.AF_INET)}
    for address in addresses:
        if not address.startswith("127."):  # not reached from outside
            with socket.socket() as other:
                assert other.connect_ex((address, ports[0])) != 0
    for one in (first, second):
        assert one.sockets[0].proto == socket.IPPROTO_TCP  # else every answer waits 40 ms for the client's delayed ACK
        one.sockets[0].close()


def test_a_port_that_is_none_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for port in (70_000, 65_536, -1):
        with pytest.raises(InputError, match="is no port"):
            listen("127.0.0.1", port)
        code, told = failed(capsys, folder, "--port", str(port))
        assert code == 2 and "--port" in told


def test_a_missing_extra_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "fastapi.py").write_text("raise ModuleNotFoundError(\"No module named 'fastapi'\", name='fastapi')")
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command(folder), capture_output=True, text=True, env=env, timeout=START_S, check=False)
    assert done.returncode == 2 and "pip install 'histoseek[web]'" in done.stderr


def test_a_signal_ends_it_well_and_lets_work_in_hand_end(started: Started) -> None:
    process, url = started()
    item = first_item(url)
    statuses: list[Any] = []

    taken = threading.Event()

    def body() -> Iterator[bytes]:
        line = json.dumps({"examples": [{"item": item}], "k": 20}).encode() + b"\n"
        yield line * 100
        assert httpx.get(f"{url}healthz", timeout=60).status_code == 200  # by now the server has taken the request
        taken.set()
        yield line * 100

    def ask() -> None:
        statuses.append(httpx.post(f"{url}api/v1/search/batch", content=body(), timeout=60))

    thread = threading.Thread(target=ask)
    thread.start()
    assert taken.wait(60)
    process.send_signal(signal.SIGTERM)
    thread.join()
    assert process.wait(40) == 0
    assert statuses[0].status_code == 200 and len(statuses[0].text.splitlines()) == 200
    assert process.stderr is not None and "Traceback" not in process.stderr.read()


@pytest.mark.slow
def test_killed_under_load_it_keeps_every_line_of_what_it_answered(started: Started, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    answered: list[str] = []
    for _ in range(2):
        process, url = started("--audit-log", str(log))
        dim = int(httpx.get(f"{url}api/v1/index").json()["dim"])
        item = first_item(url)

        def ask(seed: int, url: str = url, item: str = item, dim: int = dim) -> None:
            with httpx.Client(timeout=20) as client:
                for nth in range(10_000):
                    weight = 1 + seed / 10 + nth / 1e5
                    asked = {
                        "examples": [{"item": item}, {"vector": [1.0] + [0.5] * (dim - 1), "weight": weight}],
                        "k": 2,
                    }
                    try:
                        answer = client.post(f"{url}api/v1/search", json=asked)
                    except httpx.HTTPError:
                        return
                    if answer.status_code == 200:
                        answered.append(answer.json()["query"]["digest"])

        threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(1.5)
        process.send_signal(signal.SIGKILL)
        for thread in threads:
            thread.join()
        process.wait()
    assert len(answered) > 30
    started("--audit-log", str(log))  # which cuts off a line that was not finished, if there is one
    verify_audit(log)
    written = {json.loads(line).get("query") for line in log.read_text().splitlines()}
    assert set(answered) <= written


def test_over_the_wire_lengths_and_addresses_are_as_bad_as_they_come(started: Started) -> None:
    process, url = started()
    port = int(url.rstrip("/").rpartition(":")[2])
    head = "POST /api/v1/search/image HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    for length, body in (("9", b"--x\r\nmuch longer than nine bytes"), ("-5", b"x"), ("5x", b"x"), ("1" * 30, b"x")):
        with socket.create_connection(("127.0.0.1", port), 10) as wire:
            wire.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode() + body)
            assert wire.recv(100).split(b" ")[1] in (b"400", b"413")
    twice = head + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), 10) as wire:  # two lengths: smuggling is refused
        wire.sendall(twice.encode())
        assert wire.recv(100).split(b" ")[1] == b"400"
    waiting = socket.create_connection(("127.0.0.1", port), 10)
    waiting.sendall(f"{head}Content-Length: 1000\r\n\r\nfew".encode())  # and then nothing more
    assert httpx.get(f"{url}healthz").status_code == 200
    waiting.close()
    assert httpx.get(f"{url}healthz").status_code == 200

    for address in (
        "/../../etc/passwd",
        "/page/..%2f..%2fpyproject.toml",
        "//etc/passwd",
        "/api/v1/items/%00",
        "/%2e%2e/",
    ):
        with socket.create_connection(("127.0.0.1", port), 10) as wire:
            wire.sendall(f"GET {address} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while part := wire.recv(65_536):
                answer += part
        assert answer.split(b" ")[1] in (b"400", b"404") and b"root:" not in answer, address
        assert b"\r\nserver:" not in answer.lower()
    process.send_signal(signal.SIGINT)
    assert process.wait(40) == 0
