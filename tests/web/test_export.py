"""What is taken away: the same hits, under the same names, in files that other programs read."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image
from starlette.testclient import TestClient

import histoseek as hs
from histoseek.web import Settings, create_app
from histoseek.web.archive import Archive
from histoseek.web.csv_cells import csv_text, harmless
from histoseek.web.session_file import replay_session
from tests.web.archives import SECRET, write_archive

NAMES = ("doe", "P01", "P02", "P03", "roi.", "toy/", ".svs", ".tif", SECRET)
"""What names files and patients of the archive."""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> hs.Index:
    return write_archive(tmp_path_factory.mktemp("export"))


@pytest.fixture(scope="module")
def client(index: hs.Index) -> TestClient:
    return TestClient(create_app(index), base_url="http://127.0.0.1")


def archive_of(client: TestClient) -> Archive:
    archive = client.app.state.archive  # type: ignore[attr-defined]
    assert isinstance(archive, Archive)
    return archive


def question(client: TestClient, name: str = "toy/roi.png", **rules: Any) -> dict[str, Any]:
    item = next(item for item in archive_of(client).index.manifest if item.id == name)
    examples = [{"item": archive_of(client).item_id(item)}]
    return {"examples": examples, "k": 12, "per_slide": None, "exclude_group": False, **rules}


def export(client: TestClient, what: str, asked: dict[str, Any] | None = None) -> bytes:
    answer = client.post("/api/v1/export", params={"format": what}, json=asked or question(client))
    assert answer.status_code == 200
    assert answer.headers["content-disposition"].startswith('attachment; filename="histoseek-')
    assert answer.headers["cache-control"] == "no-store"
    return answer.content


def hits(client: TestClient, asked: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.post("/api/v1/search", json=asked or question(client)).json()["hits"]
    return found


def test_a_table_holds_the_hits_of_the_search(client: TestClient) -> None:
    content = export(client, "csv").decode()
    rows = list(csv.DictReader(io.StringIO(content, newline="")))
    found = hits(client)
    assert [row["id"].removeprefix("'") for row in rows] == [hit["id"] for hit in found]
    for row, hit in zip(rows, found, strict=True):
        assert float(row["score"]) == pytest.approx(hit["score"], abs=1e-6)
        assert row["label"] == hit["label"]
        assert row["slide"] == hit["slide"]["name"]
        assert row["patient"] == hit["patient"]
        assert row["stain"] == hit["columns"]["stain"]
        if hit["box"]:
            assert [int(row[side]) for side in ("x", "y", "width", "height")] == list(hit["box"].values())


def test_parquet_holds_the_same_with_types(client: TestClient) -> None:
    table = pq.read_table(io.BytesIO(export(client, "parquet")))
    found = hits(client)
    assert table["id"].to_pylist() == [hit["id"] for hit in found]
    assert table["score"].to_pylist() == pytest.approx([hit["score"] for hit in found], abs=1e-6)
    assert table["nth"].to_pylist() == [hit["columns"]["nth"] for hit in found]
    about = json.loads(table.schema.metadata[b"histoseek"])
    assert about["query"] == client.post("/api/v1/search", json=question(client)).json()["query"]["digest"]


def test_geojson_is_a_file_a_slide_under_its_pseudonym(client: TestClient) -> None:
    found = hits(client)
    with zipfile.ZipFile(io.BytesIO(export(client, "geojson"))) as archived:
        files = {name: json.loads(archived.read(name)) for name in archived.namelist()}
    slides = {hit["slide"]["name"] for hit in found if hit["box"]}
    assert {name.removesuffix(".hits.geojson") for name in files} == slides
    corners = {
        tuple(map(tuple, feature["geometry"]["coordinates"][0]))
        for told in files.values()
        for feature in told["features"]
        if feature["properties"]["objectType"] == "detection"
    }
    starts = {(min(x for x, _ in ring), min(y for _, y in ring)) for ring in corners}
    assert starts == {(hit["box"]["x"], hit["box"]["y"]) for hit in found if hit["box"]}
    assert export(client, "geojson") == export(client, "geojson")  # with no time in it


def test_geojson_of_pictures_alone_is_refused(client: TestClient) -> None:
    asked = question(client, filters=[{"column": "mpp", "values": [1.0]}])
    answer = client.post("/api/v1/export?format=geojson", json=asked)
    assert answer.status_code == 422
    assert "export them as csv" in answer.json()["detail"]


@pytest.mark.parametrize("name", ["toy/roi.png", "toy/P01/doe.tif#0,0"])
def test_the_sheet_is_a_picture(client: TestClient, name: str) -> None:
    with Image.open(io.BytesIO(export(client, "sheet", question(client, name)))) as picture:
        assert picture.width > 1000
        assert not picture.info.get("exif")


def test_the_session_is_asked_again_by_the_command_line(client: TestClient, index: hs.Index, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_bytes(export(client, "session"))
    again = replay_session(index, tmp_path / "s.json")
    assert [archive_of(client).item_id(hit.item) for hit in again] == [hit["id"] for hit in hits(client)]


def test_no_export_names_a_file_or_a_patient(client: TestClient) -> None:
    asked = question(client, k=100)
    texts = {what: export(client, what, asked).decode() for what in ("csv", "session")}
    texts["parquet"] = str(pq.read_table(io.BytesIO(export(client, "parquet", asked))).to_pylist())
    with zipfile.ZipFile(io.BytesIO(export(client, "geojson", asked))) as archived:
        texts["geojson"] = " ".join(
            [*archived.namelist(), *(archived.read(name).decode() for name in archived.namelist())]
        )
    for what, text in texts.items():
        for name in NAMES:
            assert name not in text, (what, name)


def test_captions_of_the_sheet_have_pseudonyms(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import ImageDraw

    written: list[str] = []
    draw = ImageDraw.ImageDraw.text

    def noted(self: Any, xy: Any, text: Any, *more: Any, **options: Any) -> Any:
        written.append(str(text))
        return draw(self, xy, text, *more, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", noted)
    for name in ("toy/roi.png", "toy/P01/doe.tif#0,0"):
        asked = question(client, name)
        export(client, "sheet", {**asked, "examples": [*asked["examples"], {"item": asked["examples"][0]["item"]}]})
        export(client, "sheet", asked)
    assert any(text.startswith("patient P-") for text in written)
    assert not [text for text in written if any(name in text for name in NAMES)]


def test_names_are_kept_where_the_server_was_told_so(index: hs.Index, tmp_path: Path) -> None:
    app = create_app(index, Settings(keep_names=True, audit_log=tmp_path / "audit.jsonl"))
    client = TestClient(app, base_url="http://127.0.0.1")
    rows = list(csv.DictReader(io.StringIO(export(client, "csv").decode(), newline="")))
    assert {row["path"] for row in rows} <= {"P01/doe.tif", "P02/s.svs", "roi.jpg"}
    assert all(row["item"].startswith("toy/") for row in rows)
    with zipfile.ZipFile(io.BytesIO(export(client, "geojson"))) as archived:
        assert set(archived.namelist()) <= {"doe.hits.geojson", "s.hits.geojson"}


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1"])
def test_cells_that_a_spreadsheet_would_run_are_harmless(cell: str) -> None:
    assert harmless(cell) == "'" + cell
    rows = list(csv.reader(io.StringIO(csv_text([{cell: cell, "b": -0.5}]), newline="")))
    assert rows == [["'" + cell, "b"], ["'" + cell, "-0.5"]]


@pytest.mark.parametrize("cell", ["a=1", "'=1", "", "0-1", " x", -1.5, None, 3])
def test_other_cells_stay(cell: object) -> None:
    assert harmless(cell) == cell


@pytest.mark.parametrize(("what", "status"), [("pdf", 400), ("../x", 400), ("", 400)])
def test_other_formats_are_refused(client: TestClient, what: str, status: int) -> None:
    answer = client.post("/api/v1/export", params={"format": what}, json=question(client))
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
