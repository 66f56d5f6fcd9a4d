"""The head of every answer, and the files of the page."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from histoseek.errors import (
    DamagedError,
    EncoderError,
    HistoseekError,
    ImageError,
    InputError,
    NoWordsError,
    QuestionError,
    StorageError,
)
from histoseek.web import page
from histoseek.web.problems import problem_of
from tests.web.conftest import Opened, id_of

STRICT = {
    "Content-Security-Policy": ("default-src 'self'", "object-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"),
    "X-Content-Type-Options": ("nosniff",),
    "Referrer-Policy": ("no-referrer",),
    "X-Frame-Options": ("DENY",),
    "Cross-Origin-Resource-Policy": ("same-origin",),
    "X-Research-Use-Only": ("1",),
}


def test_every_answer_carries_the_headers_of_safety(client: TestClient) -> None:
    answers = [
        client.get("/"),
        client.get("/page/none.js"),
        client.get("/healthz"),
        client.get("/api/v1/index"),
        client.get("/api/v1/openapi.json"),
        client.get("/api/v1/nowhere"),
        client.get("/nowhere"),
        client.get("/api/v1/items/" + "A" * 16),
        client.put("/api/v1/index"),
        client.post("/api/v1/search", content=b"{"),
        client.post("/api/v1/search", json={"examples": [{"item": id_of(client)}]}),
        client.options("/api/v1/search", headers={"Origin": "https://evil.example"}),
        client.get("/", headers={"Host": "evil.example"}),
        client.post("/api/v1/search", headers={"Content-Length": "99999999999"}),
    ]
    for answer in answers:
        for name, parts in STRICT.items():
            assert "blob:" not in answer.headers[name] and "data:" not in answer.headers[name]
            assert all(part in answer.headers[name] for part in parts), (answer.url, name)
        policy = answer.headers["Content-Security-Policy"]
        assert "unsafe" not in policy and "*" not in policy and "http" not in policy
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
        assert "server" not in answer.headers and "x-powered-by" not in answer.headers
        if answer.status_code >= 400 and answer.url.path != "/":
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert set(answer.json()) == {"type", "title", "status", "detail"}
            assert answer.json()["status"] == answer.status_code


def test_answers_are_kept_by_nobody_unless_a_route_says_so(client: TestClient) -> None:
    for path in ("/api/v1/index", "/api/v1/session", "/api/v1/items/" + id_of(client)):
        assert client.get(path).headers["Cache-Control"] == "no-store"


def test_the_api_describes_itself_and_loads_nothing_from_elsewhere(client: TestClient) -> None:
    told = client.get("/api/v1/openapi.json").json()
    assert told["openapi"].startswith("3.1")
    assert {"/api/v1/search", "/api/v1/search/image", "/api/v1/search/batch", "/api/v1/index"} <= set(told["paths"])
    assert client.get("/docs").status_code == 404 and client.get("/redoc").status_code == 404


def test_a_fault_tells_nothing_of_the_server(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("the secret of /srv/slides/Doe_Jane.svs")

    monkeypatch.setattr(client.app.state.archive, "told", broken)  # type: ignore[attr-defined]
    answer = client.get("/api/v1/index")
    assert answer.status_code == 500 and answer.headers["Content-Type"] == "application/problem+json"
    assert "secret" not in answer.text and "Doe" not in answer.text and "Traceback" not in answer.text


@pytest.fixture
def paged(opened: Opened, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """A client of an installation that has a page and its libraries."""
    home = tmp_path_factory.mktemp("installed")
    for name, text in (
        ("page/index.html", "<!doctype html><title>Histoseek</title>"),
        ("page/main.js", "export {};"),
        ("page/style.css", "body {}"),
        ("page/notes.md", "not served"),
        ("page/deep/icon.svg", "<svg/>"),
        ("vendor/library.min.js", "/* a library */"),
        ("secret.js", "not below the page"),
    ):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    (home / "page" / "link.js").symlink_to(home / "secret.js")
    monkeypatch.setattr(page, "files", lambda _: home)
    return opened()


def test_the_page_comes_with_its_cookie_and_its_files_with_their_types(paged: TestClient) -> None:
    front = paged.get("/")
    assert front.status_code == 200 and front.headers["Content-Type"].startswith("text/html")
    assert "HttpOnly" in front.headers["Set-Cookie"] and "SameSite=strict" in front.headers["Set-Cookie"]
    assert "Set-Cookie" not in paged.get("/").headers  # the browser has one
    for path, kind in (
        ("/page/main.js", "text/javascript"),
        ("/page/style.css", "text/css"),
        ("/page/deep/icon.svg", "image/svg+xml"),
        ("/vendor/library.min.js", "text/javascript"),
    ):
        answer = paged.get(path)
        assert answer.status_code == 200 and answer.headers["Content-Type"].startswith(kind)
        again = paged.get(path, headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status_code == 304 and not again.content
        assert paged.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
        assert paged.head(path).headers["ETag"] == answer.headers["ETag"]


@pytest.mark.parametrize("path", ["/page/notes.md", "/page/secret.js", "/page/link.js", "/page/", "/vendor/main.js"])
def test_no_other_file_is_served(paged: TestClient, path: str) -> None:
    assert paged.get(path).status_code == 404


def test_an_installation_without_a_page_says_so(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("bare")
    monkeypatch.setattr(page, "files", lambda _: home)
    answer = opened().get("/")
    assert answer.status_code == 503 and "page/index.html is missing" in answer.text
    (home / "page").mkdir()
    (home / "page" / "index.html").write_text("<!doctype html>")
    answer = opened().get("/")
    assert answer.status_code == 503 and "scripts/page_assets.py" in answer.text


@pytest.mark.parametrize(
    ("error", "status", "is_told"),
    [
        (QuestionError("the examples cancel each other out, as 1/2 and -1/2 do"), 422, True),
        (NoWordsError("it knows no words"), 422, True),
        (InputError("Doe_Jane.svs does not say how large its pixels are"), 422, False),
        (InputError("item 'Doe Jane' is not there"), 422, False),
        (EncoderError("no encoder in C:\\Doe"), 422, False),
        (ImageError("Doe_Jane.svs cannot be decoded"), 409, False),
        (StorageError("Doe_Jane.svs is locked"), 503, False),
        (DamagedError("/srv/Doe/x.index is damaged"), 503, False),
    ],
)
def test_only_what_was_written_for_clients_is_told(
    error: HistoseekError, status: int, is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    problem = problem_of(error)
    assert problem.status == status
    assert (str(problem) == str(error)) is is_told
    assert ("Doe" in str(problem)) is False
    assert (str(error) in caplog.text) is not is_told
