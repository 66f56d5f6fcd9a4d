"""The map over HTTP: points, which items they are, their colours; drawn by the server where there is none."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

import histoseek as hs
from histoseek.index import Removal
from histoseek.index.layout import has_layout, make_layout
from histoseek.web import Settings, create_app, map_columns
from histoseek.web import map as map_room
from histoseek.web.archive import Archive
from histoseek.web.map_columns import NO_VALUE
from histoseek.web.map_making import MapMaking
from tests.web.archives import write_archive


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> hs.Index:
    built = write_archive(tmp_path_factory.mktemp("map"))
    make_layout(built)
    return built


@pytest.fixture(scope="module")
def client(index: hs.Index) -> TestClient:
    return TestClient(create_app(index), base_url="http://127.0.0.1")


def archive_of(client: TestClient) -> Archive:
    archive = client.app.state.archive  # type: ignore[attr-defined]
    assert isinstance(archive, Archive)
    return archive


def codes_of(client: TestClient, name: str) -> tuple[list[str], np.ndarray]:
    told = client.get(f"/api/v1/map/columns/{name}").json()
    assert told["no_value"] == NO_VALUE
    return told["names"], np.frombuffer(base64.b64decode(told["codes"]), dtype="<u2")


def test_the_map_says_what_it_holds(client: TestClient, index: hs.Index) -> None:
    told = client.get("/api/v1/map").json()
    assert told["n"] == len(index)
    assert told["version"] == client.get("/api/v1/index").json()["version"]
    assert "t-SNE" in told["method"]
    assert {"label", "nth", "stain", "slide", "patient"} <= set(told["columns"])
    assert not {"path", "id", "group", "sha256"} & set(told["columns"])
    assert client.get("/api/v1/index").json()["has_map"] is True


def test_the_map_has_a_line_in_the_audit_log(index: hs.Index, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    client = TestClient(create_app(index, Settings(audit_log=log)), base_url="http://127.0.0.1")
    for path in ("map", "map/points", "map/ids?rows=0,1", "map/columns/patient"):
        assert client.get(f"/api/v1/{path}").status_code == 200
    assert [json.loads(line)["action"] for line in log.read_text().splitlines()] == ["map"]  # one an hour


def test_points_are_pairs_of_float32(client: TestClient, index: hs.Index) -> None:
    answer = client.get("/api/v1/map/points")
    points = np.frombuffer(answer.content, dtype="<f4").reshape(-1, 2)
    assert np.array_equal(points, make_layout(index).points)
    again = client.get("/api/v1/map/points", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_rows_and_ids_lead_to_each_other(client: TestClient, index: hs.Index) -> None:
    rows = [0, 5, len(index) - 1]
    ids = client.get("/api/v1/map/ids", params={"rows": ",".join(map(str, rows))}).json()["ids"]
    items = list(index.manifest)
    assert ids == [archive_of(client).item_id(items[row]) for row in rows]
    back = client.get("/api/v1/map/rows", params={"ids": ",".join([*ids, "A" * 16])}).json()["rows"]
    assert back == [*rows, None]


@pytest.mark.parametrize("rows", ["", "x", "-1", "1,,2", "1;2", "9" * 30, ",".join(["1"] * 9000)])
def test_rows_that_are_none_are_refused(client: TestClient, rows: str) -> None:
    assert client.get("/api/v1/map/ids", params={"rows": rows}).status_code == 400


def test_a_row_beyond_the_last_is_refused(client: TestClient, index: hs.Index) -> None:
    assert client.get("/api/v1/map/ids", params={"rows": f"0,{len(index)}"}).status_code == 404
    assert client.get("/api/v1/map/rows", params={"ids": "../../etc"}).status_code == 400


def test_colours_are_the_values_of_the_column(client: TestClient, index: hs.Index) -> None:
    items = list(index.manifest)
    names, codes = codes_of(client, "label")
    assert [names[code] for code in codes] == [item.label for item in items]
    counts = np.bincount(codes)
    assert (np.diff(counts) <= 0).all()
    names, codes = codes_of(client, "nth")
    assert [names[code] for code in codes] == [str(item.extra["nth"]) for item in items]
    assert [int(name) for name in names] == sorted(int(name) for name in names)


def test_a_column_is_worked_out_once_a_version(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    worked_out: list[str] = []
    real = map_room.colour_codes
    monkeypatch.setattr(map_room, "colour_codes", lambda *given: worked_out.append(given[2]) or real(*given))
    first = codes_of(client, "stain")
    for _ in range(3):
        again = codes_of(client, "stain")
        assert again[0] == first[0] and np.array_equal(again[1], first[1])
    assert len(worked_out) <= 1
    assert archive_of(client).labels() is archive_of(client).labels()


def test_slides_and_patients_come_by_their_pseudonyms(client: TestClient, index: hs.Index) -> None:
    archive, items = archive_of(client), list(index.manifest)
    names, codes = codes_of(client, "patient")
    assert [names[code] for code in codes] == [archive.patient_name(item) for item in items]
    names, codes = codes_of(client, "slide")
    assert [names[code] for code in codes] == [archive.slide_name(item) for item in items]
    assert not any("doe" in name or "P0" in name for name in names)


def test_an_own_column_called_like_the_pseudonyms_is_another(tmp_path: Path) -> None:
    found = list(write_archive(tmp_path).manifest)
    items = [replace(item, extra={"patient": f"ward {len(item.group) % 2}"}) for item in found]
    index = hs.Index.build(hs.Manifest.from_items(items, tmp_path), hs.load_encoder("color"), tmp_path / "own.index")
    make_layout(index)
    client = TestClient(create_app(index, Settings(show_columns=("patient",))), base_url="http://127.0.0.1")
    columns = client.get("/api/v1/map").json()["columns"]
    assert len(columns) == len(set(columns))
    assert {"patient", "patient (archive)"} <= set(columns)
    assert codes_of(client, "patient (archive)")[0] == ["ward 1"]
    assert all(name.startswith("P-") for name in codes_of(client, "patient")[0])


@pytest.mark.parametrize("name", ["path", "id", "group", "sha256", "nope", "..%2f..%2fetc%2fpasswd", "a%00b", ""])
def test_other_columns_are_not_there(client: TestClient, name: str) -> None:
    answer = client.get(f"/api/v1/map/columns/{name}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_many_numbers_come_in_bins_and_too_many_names_share_the_last() -> None:
    import pyarrow as pa

    values = np.arange(1000.0)
    names, codes = map_columns._by_size(pa.array([*values, None, float("nan")]))
    assert len(names) == 10
    assert codes[-2:].tolist() == [NO_VALUE] * 2
    assert np.bincount(codes[:-2]).tolist() == [100] * 10
    assert names[0].startswith("0 – ")
    many = pa.array([f"n{number:06}" for number in range(70_000)] + [None])
    names, codes = map_columns._by_count(many)
    assert len(names) == map_columns.MOST_NAMES
    assert names[-1] == map_columns.OTHERS
    assert codes[-1] == NO_VALUE
    assert codes[69_999] == codes[66_000] == len(names) - 1


def test_without_a_map_it_is_said_so_and_a_change_of_the_archive_is_noticed(tmp_path: Path) -> None:
    index = write_archive(tmp_path)
    client = TestClient(create_app(index), base_url="http://127.0.0.1")
    for rest in ("", "/points", "/ids?rows=0", "/columns/label"):
        answer = client.get(f"/api/v1/map{rest}")
        assert answer.status_code == 404
        assert "no map yet" in answer.json()["detail"]
        assert str(tmp_path) not in answer.text
    assert client.get("/api/v1/index").json()["has_map"] is False
    make_layout(index)
    version = client.get("/api/v1/map").json()["version"]
    assert client.get("/api/v1/map/points", params={"version": version}).status_code == 200
    index.remove(Removal(items=["toy/roi.png"]))
    assert client.get("/api/v1/map/points", params={"version": version}).status_code == 409
    assert client.get("/api/v1/map").status_code == 404


def test_the_server_draws_a_map_where_there_is_none(tmp_path: Path) -> None:
    index = write_archive(tmp_path)
    archive = archive_of(TestClient(create_app(index)))
    with MapMaking(archive, first_after_s=0):
        until = time.monotonic() + 120
        while not has_layout(archive.now()) and time.monotonic() < until:
            time.sleep(0.2)
    assert archive.has_map


def test_a_server_that_stops_leaves_no_half_map(tmp_path: Path) -> None:
    index = write_archive(tmp_path)
    archive = archive_of(TestClient(create_app(index)))
    with MapMaking(archive, first_after_s=0):
        time.sleep(0.5)
    assert not archive.has_map
    assert not list(index.path.glob("map.*"))
