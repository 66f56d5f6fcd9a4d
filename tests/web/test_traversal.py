"""No path of a client ever reaches the disk: every place in an address that takes an id is given the worst."""

from __future__ import annotations

import asyncio
import re
from typing import Any
from urllib.parse import quote, unquote

import pytest
from starlette.testclient import TestClient

from tests.web.conftest import Opened, app_of

CORPUS = (
    "..",
    "../index.json",
    "../../../../../../etc/passwd",
    "..\\..\\windows\\win.ini",
    "....//....//etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/etc/passwd",
    "%252e%252e%252fetc%252fpasswd",
    "..%c0%af..%c0%afetc%c0%afpasswd",
    "%u002e%u002e/etc/passwd",
    "/etc/passwd",
    "//etc/passwd",
    "\\\\server\\share\\file",
    "//server/share/file",
    "file:///etc/passwd",
    "http://169.254.169.254/latest/meta-data",
    "C:\\Windows\\win.ini",
    "p0_0.png",
    "p0_0.png\0.jpg",
    "\0",
    "%00",
    "AAAAAAAAAAAAAAAA\0",
    "AAAAAAAAAAAAAAAA%0a",
    "AAAAAAAAAAAAAAAA\n",
    "AAAAAAAAAAAAAAAA/..",
    "AAAAAAAAAAAAAAA",
    "AAAAAAAAAAAAAAAAA",
    "ＡＡＡＡＡＡＡＡＡＡＡＡＡＡＡＡ",
    "toy/p0_0",
    "A" * 5000,
    "-1",
    "1e999",
    "{item_id}",
    "*",
    "~root",
    "$HOME",
    "CON",
    "pseudonyms.key",
    "audit.jsonl",
)


def routes_with_places(client: TestClient) -> list[tuple[str, str]]:
    """Every route that takes something from its path: method and template."""
    paths = app_of(client).openapi()["paths"]
    return [(method.upper(), path) for path, operations in paths.items() if "{" in path for method in operations]


def test_every_place_in_a_path_refuses_what_is_no_id(opened: Opened) -> None:
    client = opened()
    routes = routes_with_places(client)
    assert routes
    for method, template in routes:
        names = re.findall(r"\{([^}]*)\}", template)
        for name in names:
            for bad in CORPUS:
                for spelt in {bad, quote(bad, safe=""), quote(quote(bad, safe=""), safe="")}:
                    address = template
                    for other in names:
                        address = address.replace(f"{{{other}}}", spelt if other == name else "AAAAAAAAAAAAAAAA")
                    refuses(client, method, address)


def refuses(client: TestClient, method: str, address: str) -> None:
    """Ask as a server hands on what came over the wire: clients would tidy the address up first."""
    status, body = asyncio.run(asked_raw(app_of(client), method, address))
    assert status in (400, 404, 405), (method, address, status)
    assert b"root:" not in body and b'"detail"' in body


async def asked_raw(app: Any, method: str, address: str) -> tuple[int, bytes]:
    raw = quote(address, safe="/%:@!$&'()*+,;=~-._\\").encode()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw.decode()),
        "raw_path": raw,
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1:8000")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], b"".join(one.get("body", b"") for one in sent[1:])


@pytest.mark.parametrize("folder", ["/page", "/vendor", "/x", "/api/v1", "/api/v1/items", "/api/v1/slides"])
def test_no_folder_is_left_by_an_address(client: TestClient, folder: str) -> None:
    for bad in CORPUS:
        for spelt in {bad, quote(bad, safe="")}:
            refuses(client, "GET", f"{folder}/{spelt}")


@pytest.mark.parametrize("bad", CORPUS)
def test_ids_in_a_body_are_checked_alike(client: TestClient, bad: str) -> None:
    for example in (
        {"item": bad},
        {"region": {"slide": bad, "x": 0, "y": 0, "width": 9, "height": 9}},
        {"region": {"slide": bad, "polygon": [[0, 0], [9, 0], [9, 9]]}},
    ):
        answer = client.post("/api/v1/search", json={"examples": [example]})
        assert answer.status_code == 400 and bad[:200] not in answer.json()["detail"].replace("it", ""), answer.text


@pytest.mark.parametrize("field", ["path", "image", "url", "model", "encoder", "where", "root"])
def test_no_path_url_model_or_condition_is_taken(client: TestClient, field: str) -> None:
    asked = {"examples": [{"vector": [1.0] * 32}]}
    assert client.post("/api/v1/search", json=asked | {field: "/etc/passwd"}).status_code == 400
    assert client.post("/api/v1/search", json={"examples": [{field: "/etc/passwd"}]}).status_code == 400
    assert client.post("/api/v1/search", json={"examples": [{"vector": [1.0] * 32, field: "x"}]}).status_code == 400
