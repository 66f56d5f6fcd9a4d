"""Going on with a question: among chosen items, and with the vector of an upload instead of the upload."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from histoseek.errors import InputError
from histoseek.index import Index
from histoseek.index.query import Rules
from histoseek.index.served import Served
from tests.web.conftest import app_of, id_of

ALL = {"k": 100, "collapse": False, "per_slide": None}


def upload(client: TestClient, path: Path, **asked: Any) -> dict[str, Any]:
    with path.open("rb") as stream:
        form = {"mpp": "0.5", "asked": json.dumps({**ALL, **asked})}
        answer = client.post("/api/v1/search/image", files={"picture": stream}, data=form)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def search(client: TestClient, **asked: Any) -> dict[str, Any]:
    answer = client.post("/api/v1/search", json={**ALL, **asked})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_hits_are_among_the_chosen_items_only(client: TestClient) -> None:
    chosen = [id_of(client, f"toy/p{group}_1") for group in range(1, 5)]
    said = search(client, examples=[{"item": id_of(client)}], only=chosen)
    assert {hit["id"] for hit in said["hits"]} == set(chosen)
    narrow = search(
        client, examples=[{"item": id_of(client)}], only=chosen, filters=[{"column": "label", "values": ["red"]}]
    )
    assert {hit["id"] for hit in narrow["hits"]} == {hit["id"] for hit in said["hits"] if hit["label"] == "red"}
    assert search(client, examples=[{"item": id_of(client)}], only=[])["hits"] == []


def test_an_unknown_item_among_the_chosen_is_refused(client: TestClient) -> None:
    answer = client.post("/api/v1/search", json={"examples": [{"item": id_of(client)}], "only": ["A" * 16]})
    assert answer.status_code == 404


def test_a_file_of_the_archive_hides_its_patient_also_when_its_vector_goes_on(client: TestClient, built: Index) -> None:
    path = Path(built.root or "") / "p0_0.png"
    first = upload(client, path)
    own = app_of(client).state.archive.patient_name(built.manifest[0])
    assert own not in {hit["patient"] for hit in first["hits"]}
    example = {"vector": first["query"]["vector"], "file": first["query"]["file"]}
    again = search(client, examples=[example])
    assert [hit["id"] for hit in again["hits"]] == [hit["id"] for hit in first["hits"]]
    forgetful = search(client, examples=[{"vector": first["query"]["vector"]}])
    assert own in {hit["patient"] for hit in forgetful["hits"]}
    let_in = search(client, examples=[example], exclude_group=False)
    assert own in {hit["patient"] for hit in let_in["hits"]}


def test_a_server_is_not_asked_among_single_items() -> None:
    with pytest.raises(InputError, match="among single items"):
        Served(None).find(None, Rules(only=["a"]), None)  # type: ignore[arg-type]
