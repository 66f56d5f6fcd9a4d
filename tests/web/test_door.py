"""Keys, roles, sessions, and pages elsewhere that ask in someone's name."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from histoseek.errors import DamagedError, InputError
from histoseek.web.keys import KeyFile, add_key, read_keys, remove_key
from histoseek.web.sessions import CSRF_HEADER, Sessions
from histoseek.web.settings import Limits
from tests.web.conftest import HOME, Opened, id_of


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def question(client: TestClient) -> dict[str, object]:
    return {"examples": [{"item": id_of(client)}], "k": 2}


def test_keys_are_long_random_and_kept_as_hashes_only(keys: Path) -> None:
    texts = [add_key(keys, role)[0] for role in ("read", "write", "read")]
    assert len(set(texts)) == 3 and all(len(text) >= 4 + 43 for text in texts)  # 256 bits take 43 letters
    kept = keys.read_text()
    assert not any(text in kept or text[4:] in kept for text in texts)
    assert keys.stat().st_mode & 0o077 == 0
    assert [key.role for key in read_keys(keys)] == ["read", "write", "read"]


def test_every_kept_key_is_compared_in_constant_time(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = add_key(keys, "read")
    add_key(keys, "write")
    compared = []
    from histoseek.web import keys as room

    real = room.hmac.compare_digest
    monkeypatch.setattr(room.hmac, "compare_digest", lambda one, two: compared.append(one) or real(one, two))
    file = KeyFile(keys)
    assert file.find(first) is not None and len(compared) == 2  # it goes on after it has found one
    assert file.find("wrong") is None and len(compared) == 4


def test_what_is_wrong_with_a_key_file_is_said(keys: Path) -> None:
    with pytest.raises(InputError, match="histoseek keys add"):
        KeyFile(keys)
    with pytest.raises(InputError, match="no role 'admin'"):
        add_key(keys, "admin")
    _, key = add_key(keys, "read")
    with pytest.raises(InputError, match=f"holds no key 'x'; it holds: {key.id}"):
        remove_key(keys, "x")
    remove_key(keys, key.id)
    with pytest.raises(InputError, match="holds no key; make one"):
        KeyFile(keys)
    for broken in ("", "[]", '{"format": 9, "keys": []}', '{"format": 1, "keys": [{"id": "a"}]}'):
        keys.write_text(broken)
        with pytest.raises(DamagedError):
            read_keys(keys)


def test_without_a_key_nothing_is_told(opened: Opened, keys: Path) -> None:
    key, _ = add_key(keys, "read")
    client = opened(api_key_file=keys)
    item = id_of(client)
    wrong = (
        {},
        bearer("wrong"),
        bearer(""),
        bearer(key[:-1]),
        bearer(key.upper()),
        {"Authorization": f"Basic {key}"},
        {"Authorization": key},
        {"X-Api-Key": key},
        {"Cookie": f"histoseek-8000={key}"},
        {"Cookie": "histoseek-8000=; histoseek-8000=x"},
    )
    for headers in wrong:
        client.app.state.parts.doorkeeper._failures._held.clear()
        for path in ("index", f"items/{item}", "openapi.json", "slides", "metrics", "nowhere"):
            answer = client.get(f"/api/v1/{path}", headers=headers)
            assert answer.status_code == 401, (headers, path)
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert client.post("/api/v1/search", json=question(client), headers=headers).status_code == 401
    assert client.get(f"/api/v1/index?key={key}").status_code == 401  # a key in an address ends up in logs
    assert client.get("/api/v1/index", headers=bearer(key)).status_code == 200


def test_health_and_the_page_need_no_key(opened: Opened, keys: Path) -> None:
    add_key(keys, "read")
    client = opened(api_key_file=keys)
    for path in ("/healthz", "/readyz", "/api/v1/healthz", "/api/v1/readyz"):
        assert client.get(path).json() == {"status": "ok"}
    assert client.get("/").status_code in (200, 503)
    assert client.get("/api/v1/session").json() == {"role": None, "needs_key": True, "csrf": None}


def test_a_key_that_may_read_changes_nothing(opened: Opened, keys: Path) -> None:
    reading, _ = add_key(keys, "read")
    writing, _ = add_key(keys, "write")
    client = opened(api_key_file=keys)
    assert client.post("/api/v1/search", json=question(client), headers=bearer(reading)).status_code == 200
    for method in ("PUT", "DELETE", "PATCH", "POST"):
        path = f"/api/v1/items/{id_of(client)}"
        refused = client.request(method, path, headers=bearer(reading))
        assert refused.status_code == 403 and "read only" in refused.json()["detail"]
        assert client.request(method, path, headers=bearer(writing)).status_code == 405


def test_a_removed_key_is_refused_at_once_and_so_is_its_session(opened: Opened, keys: Path) -> None:
    add_key(keys, "read")
    text, key = add_key(keys, "read")
    client = opened(api_key_file=keys)
    assert client.post("/api/v1/session", json={"key": text}).status_code == 200
    assert client.get("/api/v1/index").status_code == 200
    remove_key(keys, key.id)
    assert client.get("/api/v1/index").status_code == 401
    assert client.get("/api/v1/index", headers=bearer(text)).status_code == 401
    keys.unlink()  # no key file is no open door
    assert client.get("/api/v1/index").status_code == 401


def test_a_browser_session_needs_its_token_on_unsafe_methods(opened: Opened, keys: Path) -> None:
    key, _ = add_key(keys, "read")
    client = opened(api_key_file=keys)
    told = client.post("/api/v1/session", json={"key": key})
    cookie = told.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/" in cookie and key not in cookie
    token = told.json()["csrf"]
    assert client.get("/api/v1/session").json() == {"role": "read", "needs_key": True, "csrf": token}
    assert client.get("/api/v1/index").status_code == 200
    asked = question(client)
    for headers in ({}, {CSRF_HEADER: ""}, {CSRF_HEADER: "x"}, {CSRF_HEADER: token[:-1]}):
        assert client.post("/api/v1/search", json=asked, headers=headers).status_code == 403
    assert client.post("/api/v1/search", json=asked, headers={CSRF_HEADER: token}).status_code == 200
    assert client.post("/api/v1/search", json=asked, headers=bearer(key)).status_code == 200
    assert client.delete("/api/v1/session").status_code == 403
    cookies = dict(client.cookies)
    assert client.delete("/api/v1/session", headers={CSRF_HEADER: token}).status_code == 200
    old = {"Cookie": f"histoseek-8000={cookies['histoseek-8000']}"}
    assert client.get("/api/v1/index", headers=old).status_code == 401  # the cookie is worth nothing any more


def test_wrong_keys_are_slowed_down(opened: Opened, keys: Path) -> None:
    key, _ = add_key(keys, "read")
    client = opened(api_key_file=keys, limits=Limits(failures_at_once=3, failures_per_s=0.001))
    answers = [client.post("/api/v1/session", json={"key": f"guess {nth}"}).status_code for nth in range(5)]
    assert answers == [401, 401, 401, 429, 429]
    refused = client.get("/api/v1/index", headers=bearer("guess"))
    assert refused.status_code == 429 and int(refused.headers["Retry-After"]) > 1
    assert key not in refused.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:8001"},
        {"Origin": "http://127.0.0.1:8000.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": HOME},
    ],
)
def test_a_page_of_another_origin_cannot_ask(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post("/api/v1/search", json=question(client), headers=headers)
    assert answer.status_code == 403
    assert client.post("/api/v1/session", json={"key": "x"}, headers=headers).status_code == 403
    own = {"Origin": HOME, "Sec-Fetch-Site": "same-origin"}
    assert client.post("/api/v1/search", json=question(client), headers=own).status_code == 200


def test_on_loopback_the_page_gets_a_cookie_and_programs_need_none(client: TestClient) -> None:
    assert client.post("/api/v1/search", json=question(client)).status_code == 200
    told = client.get("/api/v1/session").json()
    assert told["role"] == "write" and not told["needs_key"] and told["csrf"]
    assert client.post("/api/v1/search", json=question(client)).status_code == 403  # now it has a cookie
    token = {CSRF_HEADER: told["csrf"]}
    assert client.post("/api/v1/search", json=question(client), headers=token).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8000", "", "127.0.0.2", "[::2]:8000"]
)
def test_another_host_name_is_not_answered_to(client: TestClient, host: str) -> None:
    for path in ("/", "/api/v1/index", "/healthz", "/page/main.js"):
        answer = client.get(path, headers={"Host": host})
        assert answer.status_code == 421, path
        assert answer.headers["X-Research-Use-Only"] == "1"


def test_host_names_can_be_allowed(opened: Opened) -> None:
    client = opened(allow_hosts=("Path.Hospital.example",))
    for host in ("path.hospital.example", "PATH.hospital.example:443", "localhost:8000", "[::1]:8000", "127.0.0.1"):
        assert client.get("/api/v1/index", headers={"Host": host}).status_code == 200, host


def test_servers_on_two_ports_have_cookies_of_their_own(client: TestClient) -> None:
    names = [
        client.get("/api/v1/session", headers={"Host": host}).headers["Set-Cookie"].partition("=")[0]
        for host in ("127.0.0.1:8000", "127.0.0.1:8001", "127.0.0.1")
    ]
    assert names == ["histoseek-8000", "histoseek-8001", "histoseek"]


def test_sessions_end_after_idle_hours_and_the_oldest_make_room() -> None:
    sessions = Sessions(idle_s=0.0)
    text, _ = sessions.open("k-1")
    assert sessions.find(text) is None
    for few, key in ((Sessions(most=2), None), (Sessions(most_of_a_key=2), "k-1")):
        texts = [few.open(key)[0] for _ in range(3)]
        assert [few.find(text) is not None for text in texts] == [False, True, True]


def test_one_key_ends_no_session_of_another() -> None:
    sessions = Sessions()
    text, _ = sessions.open("k-1")
    for _ in range(200):
        sessions.open("k-2")
    assert sessions.find(text) is not None and len(sessions._held) == 21


def test_sessions_are_opened_no_faster_than_questions_are_asked(opened: Opened, keys: Path) -> None:
    key, _ = add_key(keys, "read")
    client = opened(api_key_file=keys, limits=Limits(asks_at_once=3, asks_per_s=0.01))
    answers = [client.post("/api/v1/session", json={"key": key}, headers={"Cookie": ""}) for _ in range(5)]
    assert 429 in [answer.status_code for answer in answers]


def test_keys_that_are_made_at_the_same_time_are_all_kept(keys: Path) -> None:
    made: list[str] = []
    threads = [
        threading.Thread(target=lambda: made.extend(add_key(keys, "read")[1].id for _ in range(5))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key.id for key in read_keys(keys)) == sorted(made) and len(made) == 40
    gone = threading.Thread(target=remove_key, args=(keys, made[0]))
    gone.start()
    _, new = add_key(keys, "write")
    gone.join()
    assert {key.id for key in read_keys(keys)} == {*made[1:], new.id}


def test_a_key_file_is_never_open_to_others(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        seen.append(self.stat().st_mode & 0o777)
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    _, key = add_key(keys, "read")
    add_key(keys, "read")
    remove_key(keys, key.id)
    assert seen == [0o600] * 3 and keys.stat().st_mode & 0o777 == 0o600


def test_a_key_file_that_somebody_else_is_changing_is_a_sentence(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from histoseek.web import keys as room

    add_key(keys, "read")
    monkeypatch.setattr(room, "LOCK_S", 0.05)
    with room._alone(keys), pytest.raises(InputError, match="somebody else"):
        add_key(keys, "read")


def test_a_right_key_is_let_in_whatever_came_from_its_address(opened: Opened, keys: Path) -> None:
    key, _ = add_key(keys, "read")
    client = opened(api_key_file=keys, limits=Limits(failures_at_once=3, failures_per_s=0.001))
    wrong = [client.get("/api/v1/index", headers=bearer(f"guess {nth}")).status_code for nth in range(6)]
    assert wrong == [401, 401, 401, 429, 429, 429]
    assert client.get("/api/v1/index", headers=bearer(key)).status_code == 200
    assert client.post("/api/v1/session", json={"key": key}).status_code == 200


@pytest.mark.parametrize(
    "other", ['theme={"dark": true}', "a=b=c", "über=ü", "name with spaces=1", '"', "=;=", "x[y]=1"]
)
def test_cookies_of_other_applications_end_no_session(opened: Opened, keys: Path, other: str) -> None:
    key, _ = add_key(keys, "read")
    client = opened(api_key_file=keys)
    client.post("/api/v1/session", json={"key": key})
    own = f"histoseek-8000={client.cookies['histoseek-8000']}"
    client.cookies.clear()
    for sent in (f"{other}; {own}", f"{own}; {other}"):
        answer = client.get("/api/v1/index", headers={"Cookie": sent.encode("utf-8")})
        assert answer.status_code == 200, sent
