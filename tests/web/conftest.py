"""A small archive, applications over it, and clients that ask them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from histoseek.index import Index
from histoseek.web import Limits, Settings, create_app
from tests.conftest import TinyEncoder, write_archive

HOME = "http://127.0.0.1:8000"

Opened = Callable[..., TestClient]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """An archive of nine patients; nobody may write to it."""
    folder = tmp_path_factory.mktemp("built")
    (folder / "pictures").mkdir()
    return Index.build(write_archive(folder / "pictures"), TinyEncoder(), folder / "x.index")


@pytest.fixture
def opened(built: Index, tmp_path: Path) -> Iterator[Opened]:
    """Opens applications over the archive, with settings of their own, and closes them afterwards."""
    clients: list[TestClient] = []

    def open_one(index: Index | None = None, limits: Limits | None = None, **settings: Any) -> TestClient:
        chosen = Settings(**{"audit_log": tmp_path / f"audit-{len(clients)}.jsonl", **settings})
        app = create_app(index or built, replace(chosen, limits=limits or Limits()))
        client = TestClient(app, base_url=HOME, raise_server_exceptions=False, follow_redirects=False)
        clients.append(client)
        client.__enter__()
        return client

    yield open_one
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(opened: Opened) -> TestClient:
    """A client of an application with the usual settings, on loopback and without keys."""
    return opened()


def app_of(client: TestClient) -> FastAPI:
    app = client.app
    assert isinstance(app, FastAPI)
    return app


def id_of(client: TestClient, name: str = "toy/p0_0") -> str:
    """The opaque id of an item."""
    archive = app_of(client).state.archive
    return str(archive.item_id(archive.index.manifest[int(archive.index.rows_of([name])[0])]))
