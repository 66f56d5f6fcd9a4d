"""Behind a proxy that speaks TLS: it is believed where it is named, and nobody else is."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from histoseek.errors import InputError
from histoseek.index import Index
from histoseek.web import Limits, Settings, check_host, create_app
from histoseek.web.keys import add_key
from tests.web.conftest import HOME

PROXY = "172.18.0.1"
SAID = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}


def client_of(built: Index, home: Path, address: str, *trusted: str, limits: Limits | None = None) -> TestClient:
    settings = Settings(
        api_key_file=home / "keys.json",
        audit_log=home / "a.jsonl",
        trust_proxies=trusted,
        limits=limits or Limits(),
    )
    return TestClient(create_app(built, settings), base_url=HOME, client=(address, 5000))


@pytest.mark.parametrize("trusted", [PROXY, "172.16.0.0/12"])
def test_behind_a_trusted_proxy_the_cookie_goes_over_tls_alone(built: Index, tmp_path: Path, trusted: str) -> None:
    key, _ = add_key(tmp_path / "keys.json", "read")
    client = client_of(built, tmp_path, PROXY, trusted)
    told = client.post("/api/v1/session", json={"key": key}, headers=SAID)
    assert told.status_code == 200 and "; Secure" in told.headers["Set-Cookie"]
    assert "max-age=" in told.headers["Strict-Transport-Security"]
    assert "Strict-Transport-Security" not in client.get("/healthz").headers


def test_nobody_else_is_believed(built: Index, tmp_path: Path) -> None:
    key, _ = add_key(tmp_path / "keys.json", "read")
    for address, trusted in (("192.0.2.9", (PROXY,)), ("127.0.0.1", ())):
        client = client_of(built, tmp_path, address, *trusted)
        told = client.post("/api/v1/session", json={"key": key}, headers=SAID)
        assert told.status_code == 200 and "Secure" not in told.headers["Set-Cookie"]
        assert "Strict-Transport-Security" not in told.headers


def test_each_client_behind_the_proxy_has_its_own_limits(built: Index, tmp_path: Path) -> None:
    add_key(tmp_path / "keys.json", "read")
    client = client_of(built, tmp_path, PROXY, PROXY, limits=Limits(failures_at_once=1, failures_per_s=0.001))

    def guess(name: str) -> int:
        headers = {"X-Forwarded-For": name, "Authorization": "Bearer guess"}
        return int(client.get("/api/v1/index", headers=headers).status_code)

    assert [guess("192.0.2.7"), guess("192.0.2.7"), guess("192.0.2.8")] == [401, 429, 401]
    assert guess("192.0.2.8, 192.0.2.7") == 429  # what the client itself wrote before it counts for nothing


@pytest.mark.parametrize("wrong", ["*", "proxy.example", "10.0.0.1/8", "", "10.0.0"])
def test_what_is_no_address_is_told(wrong: str) -> None:
    with pytest.raises(InputError, match="--trust-proxy"):
        check_host(Settings(trust_proxies=(wrong,)))
