"""The audit log: everything that is asked, nothing that is secret, and no line changed unseen."""

from __future__ import annotations

import json
import os
import threading
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from histoseek.cli import app as command_line
from histoseek.errors import DamagedError, StorageError
from histoseek.web import audit
from histoseek.web.audit import FIRST, AuditLog, verify_audit
from histoseek.web.keys import add_key
from histoseek.web.trail import Seen
from tests.web.archives import write_archive as write_tiled
from tests.web.conftest import Opened, app_of, id_of


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    one = AuditLog(tmp_path / "audit.jsonl")
    for number in range(5):
        one.add({"key": "k-1", "action": "search", "k": number})
    return one


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_follow_one_another(log: AuditLog) -> None:
    chain = verify_audit(log.path)
    lines = lines_of(log.path)
    assert chain.n_lines == 5 and chain.head == lines[-1]["hash"] and not chain.torn_bytes
    assert [line["n"] for line in lines] == [1, 2, 3, 4, 5]
    assert [line["previous"] for line in lines] == [FIRST, *(line["hash"] for line in lines[:-1])]
    again = AuditLog(log.path)
    again.add({"action": "search"})
    log.add({"action": "search"})  # two servers may write into one file
    assert verify_audit(log.path).n_lines == 7
    assert log.path.stat().st_mode & 0o077 == 0


def change(lines: list[bytes], at: int, old: bytes, new: bytes) -> list[bytes]:
    assert old in lines[at]
    return [line.replace(old, new) if number == at else line for number, line in enumerate(lines)]


@pytest.mark.parametrize(
    "tamper",
    [
        lambda lines: change(lines, 2, b'"k":2', b'"k":3'),
        lambda lines: change(lines, 0, b"k-1", b"k-2"),
        lambda lines: change(lines, 4, b"search", b"looked"),
        lambda lines: change(lines, 1, b'"n":2', b'"n":2,"x":1'),
        lambda lines: lines[1:],
        lambda lines: [*lines[:2], *lines[3:]],
        lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
        lambda lines: [*lines[:3], lines[2], *lines[3:]],
        lambda lines: [*lines, lines[-1]],
        lambda lines: [*lines[:2], b"\n", *lines[2:]],
        lambda lines: [*lines[:2], b"{}\n", *lines[2:]],
        lambda lines: [*lines[:2], b"[1]\n", *lines[2:]],
        lambda lines: [b"\xff\xfe\n", *lines],
    ],
)
def test_tampering_is_found(log: AuditLog, tamper: Any) -> None:
    changed = tamper(log.path.read_bytes().splitlines(keepends=True))
    log.path.write_bytes(b"".join(changed))
    with pytest.raises(DamagedError, match="line"):
        verify_audit(log.path)
    done = CliRunner().invoke(command_line, ["audit", "verify", str(log.path)])
    assert isinstance(done.exception, DamagedError) and done.exception.exit_code == 4


def test_every_flipped_bit_is_found(log: AuditLog) -> None:
    whole = log.path.read_bytes()
    for at in range(0, len(whole) - 1, 7):
        log.path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(DamagedError):
            verify_audit(log.path)


def test_lines_cut_off_the_end_are_found_by_a_hash_noted_elsewhere(log: AuditLog) -> None:
    head = verify_audit(log.path).head
    log.add({"action": "search"})
    assert verify_audit(log.path, head).n_lines == 6
    log.path.write_bytes(b"".join(log.path.read_bytes().splitlines(keepends=True)[:3]))
    assert verify_audit(log.path).n_lines == 3
    with pytest.raises(DamagedError, match="cut off"):
        verify_audit(log.path, head)
    done = CliRunner().invoke(command_line, ["audit", "verify", str(log.path), "--head", head])
    assert isinstance(done.exception, DamagedError)


def test_a_torn_line_is_told_and_cut_off_at_the_next_start(log: AuditLog) -> None:
    whole = log.path.read_bytes()
    log.path.write_bytes(whole + b'{"n":6,"time":"2026')
    assert verify_audit(log.path).torn_bytes == 19
    AuditLog(log.path).add({"action": "search"})
    assert verify_audit(log.path).n_lines == 7
    assert lines_of(log.path)[5]["action"] == "recovered" and lines_of(log.path)[5]["torn_bytes"] == 19


def test_a_log_that_is_put_aside_goes_on_in_a_new_file(log: AuditLog, tmp_path: Path) -> None:
    other = AuditLog(log.path)
    other.add({"action": "search"})  # which the first one has not seen yet
    log.path.rename(tmp_path / "old.jsonl")
    log.add({"action": "search"})
    other.add({"action": "heat"})
    old, new = verify_audit(tmp_path / "old.jsonl"), verify_audit(log.path)
    lines = lines_of(log.path)
    assert old.n_lines == 6 and new.n_lines == 3
    assert [line["action"] for line in lines] == ["continued", "search", "heat"]
    assert lines[0]["after"] == {"n": 6, "hash": old.head}
    log.path.unlink()  # one that is gone is told in the same way
    other.add({"action": "search"})
    assert lines_of(log.path)[0]["after"] == {"n": 3, "hash": new.head}
    assert log.path.stat().st_mode & 0o077 == 0


def test_lines_that_go_while_the_server_runs_are_told_in_the_next_one(log: AuditLog) -> None:
    whole = log.path.read_bytes()
    head = verify_audit(log.path).head
    for left in (whole[: whole.index(b"\n", len(whole) // 2) + 1], b""):
        log.path.write_bytes(left)
        log.add({"action": "search"})
        verify_audit(log.path)
        told = lines_of(log.path)[-2]
        assert told["action"] == "shortened" and told["after"]["hash"] == head
        head = lines_of(log.path)[-1]["hash"]


def test_a_log_is_put_aside_while_many_write(log: AuditLog, tmp_path: Path) -> None:
    threads = [threading.Thread(target=lambda: [log.add({"action": "x"}) for _ in range(30)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(3):
        log.path.rename(tmp_path / f"old-{number}.jsonl")
        log.add({"action": "x"})
    for thread in threads:
        thread.join()
    parts = [*(tmp_path / f"old-{number}.jsonl" for number in range(3)), log.path]
    assert sum(verify_audit(part).n_lines for part in parts) == 5 + 3 + 120 + 3  # three lines tell of the change
    for before, after in pairwise(parts):
        assert lines_of(after)[0]["after"]["hash"] == verify_audit(before).head


def test_lines_of_large_answers_stay_short(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "MOST_IDS", 5)
    log = app_of(client).state.parts.log
    item = id_of(client)
    asked = {"examples": [{"item": item}], "k": 20, "per_slide": None}
    hits = [hit["id"] for hit in client.post("/api/v1/search", json=asked).json()["hits"]]
    client.post("/api/v1/search/batch", content="\n".join([json.dumps(asked)] * 3))
    one, many = lines_of(log.path)
    digest = sha256(",".join(hits).encode()).hexdigest()
    assert one["ids"] == [item] and one["shown"] == hits[:4]
    assert one["shown_in_all"] == {"n": len(hits), "sha256": digest}
    assert [len(part["shown"]) for part in many["questions"]] == [4, 0, 0]
    assert all(part["shown_in_all"]["sha256"] == digest for part in many["questions"])
    assert verify_audit(log.path).n_lines == 2


def test_a_full_disk_takes_no_line_and_no_answer(
    client: TestClient, log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"examples": [{"item": id_of(client)}]}
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, text: real(handle, text[: len(text) // 2]))
    with pytest.raises(StorageError):
        log.add({"action": "search"})
    answer = client.post("/api/v1/search", json=asked)
    assert answer.status_code == 503 and "hits" not in answer.text and "audit log" in answer.json()["detail"]
    monkeypatch.setattr(os, "write", real)
    assert client.post("/api/v1/search", json=asked).status_code == 200
    log.add({"action": "search"})
    assert verify_audit(log.path).n_lines == 6
    assert verify_audit(app_of(client).state.parts.log.path).n_lines == 1


def test_many_threads_write_whole_lines(tmp_path: Path) -> None:
    logs = [AuditLog(tmp_path / "a.jsonl") for _ in range(2)]
    threads = [
        threading.Thread(target=lambda one=log: [one.add({"action": "x"}) for _ in range(20)]) for log in logs * 4
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verify_audit(tmp_path / "a.jsonl").n_lines == 160


def test_what_was_asked_is_told_and_nothing_else(opened: Opened, tmp_path: Path) -> None:
    text, key = add_key(tmp_path / "keys.json", "read")
    client = opened(api_key_file=tmp_path / "keys.json")
    headers = {"Authorization": f"Bearer {text}"}
    item = id_of(client)
    found = client.post("/api/v1/search", json={"examples": [{"item": item}], "k": 3}, headers=headers).json()
    client.post("/api/v1/search", json={"examples": [{"text": "the words of Jane Doe"}]}, headers=headers)
    client.get(f"/api/v1/items/{item}", headers=headers)
    client.get("/api/v1/index", headers=headers)
    client.get("/api/v1/index")
    client.post("/api/v1/session", json={"key": text})
    lines = lines_of(app_of(client).state.parts.log.path)
    assert [line["action"] for line in lines] == ["search", "search", "items", "refused", "session opened"]
    search = lines[0]
    assert (search["key"], search["ids"], search["k"], search["index"]) == (key.id, [item], 3, found["index_version"])
    assert search["query"] == found["query"]["digest"] and search["shown"] == [hit["id"] for hit in found["hits"]]
    assert lines[2]["ids"] == [item] and lines[3]["key"].startswith("nobody") and lines[4]["key"] == key.id
    whole = app_of(client).state.parts.log.path.read_text()
    for secret in (text, "Doe", "the words", "toy/", "p0_0", ".png", str(found["query"]["vector"][0])[:8]):
        assert secret not in whole, secret


def looked_at(client: TestClient) -> list[tuple[str, list[str]]]:
    return [(line["action"], line["ids"]) for line in lines_of(app_of(client).state.parts.log.path)]


def test_no_picture_is_taken_out_without_a_line(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = id_of(client), id_of(client, "toy/p1_0")
    for _ in range(3):
        assert client.get(f"/api/v1/items/{first}/thumbnail").status_code == 200
    assert looked_at(client) == [("items thumbnail", [first])]
    slide = client.get(f"/api/v1/items/{second}").json()["slide"]["id"]
    assert client.get(f"/api/v1/items/{second}/thumbnail?px=64").status_code == 200  # the item was told already
    for path in (f"{slide}.dzi", f"{slide}_files/0/0_0.jpg", f"{slide}_files/1/0_0.jpg"):
        assert client.get(f"/api/v1/slides/{path}").status_code == 200
    seen = [("items thumbnail", [first]), ("items", [second]), ("slides tiles", [slide])]
    assert looked_at(client) == seen
    monkeypatch.setattr("histoseek.web.trail.monotonic", lambda: 1e12)  # an hour later
    assert client.get(f"/api/v1/items/{first}/thumbnail").status_code == 200
    assert looked_at(client) == [*seen, ("items thumbnail", [first])]


def test_hits_that_a_line_shows_need_no_lines_of_their_pictures(client: TestClient) -> None:
    found = client.post("/api/v1/search", json={"examples": [{"item": id_of(client)}], "k": 5}).json()
    for hit in found["hits"]:
        client.get(f"/api/v1/items/{hit['id']}/thumbnail")
    assert [action for action, _ in looked_at(client)] == ["search"]


def test_what_one_client_saw_is_not_what_another_saw(opened: Opened, tmp_path: Path) -> None:
    keys = [add_key(tmp_path / "keys.json", "read") for _ in range(2)]
    client = opened(api_key_file=tmp_path / "keys.json")
    item = id_of(client)
    for text, _ in keys * 2:
        client.get(f"/api/v1/items/{item}/thumbnail", headers={"Authorization": f"Bearer {text}"})
    lines = lines_of(app_of(client).state.parts.log.path)
    assert [line["key"] for line in lines] == [key.id for _, key in keys]


def test_what_was_seen_is_bounded_and_forgotten_to_the_side_of_more_lines() -> None:
    seen = Seen(most=3)
    seen.add("k", ["a", "b", "c", "d"])
    assert [seen.has("k", one) for one in "abcd"] == [False, True, True, True]
    assert not Seen(seconds=0.0).has("k", "a")


def test_an_export_names_its_format(client: TestClient) -> None:
    question = {"examples": [{"item": id_of(client)}], "k": 3}
    for what in ("csv", "session"):
        assert client.post(f"/api/v1/export?format={what}", json=question).status_code == 200
    lines = lines_of(app_of(client).state.parts.log.path)
    assert [(line["action"], line["format"], len(line["shown"])) for line in lines] == [
        ("export", "csv", 3),
        ("export", "session", 3),
    ]


def test_a_heat_map_names_its_slide(opened: Opened, tmp_path: Path) -> None:
    client = opened(write_tiled(tmp_path))
    archive = app_of(client).state.archive
    slide, item = archive.slide_id("P01/doe.tif"), archive.item_id(archive.index.manifest[0])
    answer = client.post("/api/v1/heat", json={"examples": [{"item": item}], "slide": slide})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert client.get(f"/api/v1/slides/{slide}/heat/{told['query']}/0/0_0.png").status_code == 200
    lines = lines_of(app_of(client).state.parts.log.path)
    assert [line["action"] for line in lines] == ["heat"]
    assert (lines[0]["slide"], lines[0]["ids"], lines[0]["query"]) == (slide, [item], told["query"])


def test_a_wrong_key_is_logged_with_its_address(opened: Opened, tmp_path: Path) -> None:
    add_key(tmp_path / "keys.json", "read")
    client = opened(api_key_file=tmp_path / "keys.json")
    client.get("/api/v1/index", headers={"Authorization": "Bearer wrong"})
    client.get("/api/v1/index")
    lines = lines_of(app_of(client).state.parts.log.path)
    assert [(line["action"], line["key"]) for line in lines] == [("refused", "nobody testclient")] * 2


def test_those_turned_away_cannot_fill_the_disk(opened: Opened, tmp_path: Path) -> None:
    add_key(tmp_path / "keys.json", "read")
    client = opened(api_key_file=tmp_path / "keys.json")
    for _ in range(200):
        client.get("/api/v1/index")
    assert len(lines_of(app_of(client).state.parts.log.path)) < 80
