"""Heat maps as tiles: where they light up, what is transparent, and what is forgotten."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import histoseek as hs
from histoseek.figures.heat import coloured
from histoseek.figures.heat_tiles import HeatGrid
from histoseek.imaging import DeepZoom
from histoseek.index import heat_of_file
from histoseek.web import create_app, heat_tiles
from histoseek.web.archive import Archive
from tests.web.archives import SIZE, TILE, write_archive


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    index = write_archive(tmp_path_factory.mktemp("heat"))
    return TestClient(create_app(index), base_url="http://127.0.0.1")


def archive_of(client: TestClient) -> Archive:
    archive = client.app.state.archive  # type: ignore[attr-defined]
    assert isinstance(archive, Archive)
    return archive


def question(client: TestClient, name: str = "toy/P01/doe.tif#0,0", path: str = "P01/doe.tif") -> dict[str, object]:
    item = next(item for item in archive_of(client).index.manifest if item.id == name)
    examples = [{"item": archive_of(client).item_id(item)}]
    return {"slide": archive_of(client).slide_id(path), "examples": examples}


def pixels_of(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.mode == "RGBA"
        return np.asarray(picture)


def test_a_map_tells_its_colours(client: TestClient) -> None:
    answer = client.post("/api/v1/heat", json=question(client))
    assert answer.status_code == 200
    told = answer.json()
    archive = archive_of(client)
    vector = archive.index.stored_vector("toy/P01/doe.tif#0,0")
    heat = heat_of_file(archive.now(), vector, "P01/doe.tif")
    low, high = np.percentile(heat.scores, (2, 98))
    assert (told["min"], told["max"]) == pytest.approx((low, high), abs=1e-6)
    assert told["highest"] == pytest.approx(1, abs=1e-5)
    assert told["lowest"] == pytest.approx(heat.scores.min(), abs=1e-6)
    assert told["n_tiles"] == 70
    again = client.post("/api/v1/search", json={"examples": question(client)["examples"]}).json()
    assert told["query"] == again["query"]["digest"]


def test_tiles_lie_where_the_slides_own_lie_and_show_the_cosines(client: TestClient) -> None:
    asked = question(client)
    told = client.post("/api/v1/heat", json=asked).json()
    archive = archive_of(client)
    heat = heat_of_file(archive.now(), archive.index.stored_vector("toy/P01/doe.tif#0,0"), "P01/doe.tif")
    pyramid = DeepZoom(SIZE)
    for level in (11, 10, 8):
        across, down = pyramid.n_tiles(level)
        size = pyramid.level_size(level)
        whole = np.zeros((size[1], size[0], 4), dtype=np.uint8)
        for column in range(across):
            for row in range(down):
                where = f"/api/v1/slides/{asked['slide']}/heat/{told['query']}/{level}/{column}_{row}.png"
                x, y, width, height = pyramid.tile_box(level, column, row)
                pixels = pixels_of(client.get(where).content)
                assert pixels.shape == (height, width, 4)
                whole[y : y + height, x : x + width] = pixels
        shrink = pyramid.shrink(level)
        for (x, y, width, height), score in zip(heat.boxes.tolist(), heat.scores.tolist(), strict=True):
            middle = whole[(y + height // 2) // shrink, (x + width // 2) // shrink]
            wanted = coloured(np.array([[score]]), told["min"], told["max"])[0, 0]
            assert middle[3] == 255
            assert np.abs(middle[:3] - wanted).max() < 4
        assert not whole[(7 * TILE + 8) // shrink :, :, 3].any()  # below and beside the tiles nothing is known
        assert not whole[:, (10 * TILE + 16) // shrink :, 3].any()


def test_a_map_that_nobody_asked_for_says_how_to_ask(client: TestClient) -> None:
    slide = question(client)["slide"]
    for query in ("A" * 16, "..%2f..%2fetc", "x"):
        answer = client.get(f"/api/v1/slides/{slide}/heat/{query}/3/0_0.png")
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
    assert "POST /api/v1/heat" in client.get(f"/api/v1/slides/{slide}/heat/{'A' * 16}/3/0_0.png").json()["detail"]


def test_a_map_belongs_to_its_slide(client: TestClient) -> None:
    told = client.post("/api/v1/heat", json=question(client)).json()
    other = archive_of(client).slide_id("P02/s.svs")
    assert client.get(f"/api/v1/slides/{other}/heat/{told['query']}/0/0_0.png").status_code == 404


@pytest.mark.parametrize("place", ["12/0_0", "11/9_0", "11/0_x", "-1/0_0"])
def test_tiles_outside_are_not_there(client: TestClient, place: str) -> None:
    asked = question(client)
    told = client.post("/api/v1/heat", json=asked).json()
    answer = client.get(f"/api/v1/slides/{asked['slide']}/heat/{told['query']}/{place}.png")
    assert answer.status_code == 404


def test_a_client_that_holds_a_tile_gets_304(client: TestClient) -> None:
    asked = question(client)
    told = client.post("/api/v1/heat", json=asked).json()
    where = f"/api/v1/slides/{asked['slide']}/heat/{told['query']}/9/0_0.png"
    tag = client.get(where).headers["etag"]
    assert client.get(where, headers={"If-None-Match": tag}).status_code == 304


def test_the_oldest_map_is_forgotten(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heat_tiles, "MAPS_KEPT", 2)
    index = write_archive(tmp_path_factory.mktemp("few"))
    client = TestClient(create_app(index), base_url="http://127.0.0.1")
    names = [f"toy/P01/doe.tif#{x},0" for x in (0, 128, 256)]
    asked = [client.post("/api/v1/heat", json=question(client, name)).json() for name in names]
    found = [client.get(f"/api/v1/slides/{one['slide']}/heat/{one['query']}/3/0_0.png").status_code for one in asked]
    assert found == [404, 200, 200]


@pytest.mark.parametrize(
    ("change", "status"),
    [({"slide": "A" * 16}, 404), ({"slide": "../../x"}, 400), ({"examples": []}, 400), ({"extra": 1}, 400)],
)
def test_wrong_questions_are_refused(client: TestClient, change: dict[str, object], status: int) -> None:
    assert client.post("/api/v1/heat", json=question(client) | change).status_code == status


def test_a_picture_without_tiles_has_no_map(client: TestClient) -> None:
    answer = client.post("/api/v1/heat", json=question(client, path="roi.png"))
    assert answer.status_code == 422
    assert "no tiles" in answer.json()["detail"]


def test_a_grid_stays_small_however_large_the_slide() -> None:
    boxes = np.array([[0, 0, 8, 8], [99_000, 40_000, 8, 8]])
    heat = hs.index.HeatMap("s", Path("s"), boxes, np.array([0.1, 0.9], dtype=np.float32))
    grid = HeatGrid.of(heat, (100_000, 50_000))
    assert max(grid.numbers.shape) <= 4096
    assert (grid.tile(16, 0, 0)[..., 3] > 0).any()
