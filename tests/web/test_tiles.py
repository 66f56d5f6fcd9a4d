"""Slides for viewers: tiles that are the reader's pixels, and nothing that is not asked for rightly."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import openslide
import pytest
from PIL import Image
from starlette.testclient import TestClient
from tifffile import TiffFile

import histoseek as hs
from histoseek.imaging import DeepZoom, open_pixels, read_tile
from histoseek.web import create_app, tiles
from histoseek.web.archive import Archive
from tests.web.archives import KINDS, SIZE, write_archive

PATHS = {"P01/doe.tif": SIZE, "P02/s.svs": (384, 320), "roi.jpg": (520, 300), "roi.png": (520, 300)}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> hs.Index:
    return write_archive(tmp_path_factory.mktemp("tiles"))


@pytest.fixture(scope="module")
def client(index: hs.Index) -> TestClient:
    return TestClient(create_app(index), base_url="http://127.0.0.1")


def archive_of(client: TestClient) -> Archive:
    archive = client.app.state.archive  # type: ignore[attr-defined]
    assert isinstance(archive, Archive)
    return archive


def slide(client: TestClient, path: str) -> str:
    return f"/api/v1/slides/{archive_of(client).slide_id(path)}"


def pixels_of(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture).astype(int)


@pytest.mark.parametrize("path", list(PATHS))
def test_every_picture_of_the_archive_says_how_it_is_tiled(client: TestClient, path: str) -> None:
    answer = client.get(f"{slide(client, path)}.dzi")
    assert answer.headers["content-type"] == "application/xml"
    root = ElementTree.fromstring(answer.text)
    assert root.attrib == {"Format": "jpg", "Overlap": "1", "TileSize": "256"}
    assert root[0].attrib == {"Width": str(PATHS[path][0]), "Height": str(PATHS[path][1])}


@pytest.mark.parametrize("path", list(PATHS))
def test_every_tile_is_what_the_reader_gives(client: TestClient, index: hs.Index, path: str) -> None:
    pyramid = DeepZoom(PATHS[path])
    with closing(open_pixels(index.root / path)) as reader:
        for level in range(pyramid.n_levels):
            across, down = pyramid.n_tiles(level)
            for column in range(across):
                for row in range(down):
                    answer = client.get(f"{slide(client, path)}_files/{level}/{column}_{row}.jpg")
                    assert answer.status_code == 200
                    assert tiles.DAMAGED_HEADER not in answer.headers
                    wanted = read_tile(reader, level, column, row)
                    stream = io.BytesIO()
                    Image.fromarray(wanted).save(stream, "JPEG", quality=85)
                    assert np.array_equal(pixels_of(answer.content), pixels_of(stream.getvalue()))


def test_tiles_end_at_the_border(client: TestClient) -> None:
    last = DeepZoom(SIZE).n_levels - 1
    assert pixels_of(client.get(f"{slide(client, 'P01/doe.tif')}_files/{last}/5_3.jpg").content).shape == (134, 21, 3)


@pytest.mark.parametrize(
    "place", ["12/0_0", "11/6_0", "11/0_4", "-1/0_0", "11/-1_0", "11/0_x", "x/0_0", "99999999999/0_0"]
)
def test_tiles_that_are_not_there_are_not_there(client: TestClient, place: str) -> None:
    answer = client.get(f"{slide(client, 'P01/doe.tif')}_files/{place}.jpg")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


WRONG = [
    "A" * 16,
    "..%2f..%2fetc%2fpasswd",
    "%252e%252e%252f",
    "....//....//",
    "a%00b",
    "%5c%5chost%5cshare",
    "P01%2fdoe.tif",
    "doe",
]


@pytest.mark.parametrize("wrong", WRONG)
def test_slides_go_by_their_ids_only(client: TestClient, wrong: str) -> None:
    for rest in (".dzi", "_files/0/0_0.jpg", "", "/items"):
        answer = client.get(f"/api/v1/slides/{wrong}{rest}")
        assert answer.status_code == 404
        assert "passwd" not in answer.text


def test_a_link_that_leads_out_of_the_archive_stays_unknown(
    client: TestClient, index: hs.Index, tmp_path: Path
) -> None:
    (index.root / "link.tif").symlink_to(tmp_path)
    assert client.get(f"{slide(client, 'link.tif')}.dzi").status_code == 404


def test_label_and_macro_images_are_never_opened(index: hs.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(slide: object) -> None:
        raise AssertionError("associated images were looked at")

    monkeypatch.setattr(openslide.OpenSlide, "associated_images", property(refused))
    client = TestClient(create_app(index), base_url="http://127.0.0.1")
    told = client.get(slide(client, "P02/s.svs")).json()
    assert (told["width"], told["height"]) == (384, 320)
    for level in (0, 6, 8, 9):
        content = client.get(f"{slide(client, 'P02/s.svs')}_files/{level}/0_0.jpg").content
        if level == 9:
            assert pixels_of(content).std() > 15  # tissue is noise there, label and macro are plain


def test_a_client_that_holds_a_tile_gets_304(client: TestClient) -> None:
    for rest in (".dzi", "_files/9/0_0.jpg"):
        first = client.get(slide(client, "P01/doe.tif") + rest)
        again = client.get(slide(client, "P01/doe.tif") + rest, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    tags = {client.get(f"{slide(client, 'roi.png')}_files/10/{at}_0.jpg").headers["etag"] for at in range(3)}
    assert len(tags) == 3


def test_a_damaged_part_is_grey_and_the_rest_is_there(tmp_path: Path) -> None:
    index = write_archive(tmp_path)
    path = tmp_path / "P01" / "doe.tif"
    with TiffFile(path) as file:
        at, length = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
    content = bytearray(path.read_bytes())
    content[at : at + length] = bytes(length)
    path.write_bytes(content)
    client = TestClient(create_app(index), base_url="http://127.0.0.1")
    bad = client.get(f"{slide(client, 'P01/doe.tif')}_files/11/0_0.jpg")
    assert bad.status_code == 200
    assert bad.headers[tiles.DAMAGED_HEADER] == "1"
    assert bad.headers["cache-control"] == "no-store"
    pixels = pixels_of(bad.content)
    assert pixels.shape == (257, 257, 3)
    assert (pixels == tiles.DAMAGED_GREY).all()
    good = client.get(f"{slide(client, 'P01/doe.tif')}_files/11/3_2.jpg")
    assert tiles.DAMAGED_HEADER not in good.headers
    assert pixels_of(good.content).std() > 1


def test_a_slide_that_is_gone_or_was_overwritten_is_one_sentence(tmp_path: Path) -> None:
    client = TestClient(create_app(write_archive(tmp_path)), base_url="http://127.0.0.1")
    assert client.get(f"{slide(client, 'P01/doe.tif')}_files/11/3_2.jpg").status_code == 200
    (tmp_path / "P01" / "doe.tif").write_bytes(b"II*\x00nothing")
    (tmp_path / "roi.png").unlink()
    for path, sentence in (("P01/doe.tif", "cannot be read"), ("roi.png", "is gone")):
        for rest in (".dzi", "_files/9/0_0.jpg", ""):
            answer = client.get(slide(client, path) + rest)
            assert answer.status_code == 404
            assert sentence in answer.json()["detail"]
            assert str(tmp_path) not in answer.text


def test_a_file_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    client = TestClient(create_app(write_archive(tmp_path)), base_url="http://127.0.0.1")
    where = f"{slide(client, 'roi.png')}_files/0/0_0.jpg"
    before = client.get(where)
    Image.new("RGB", (520, 300), (0, 0, 250)).save(tmp_path / "roi.png")
    after = client.get(where, headers={"If-None-Match": before.headers["etag"]})
    assert after.status_code == 200
    assert pixels_of(after.content)[0, 0, 2] > 240


def test_slides_are_listed_under_pseudonyms_and_flat_pictures_are_not(client: TestClient) -> None:
    told = client.get("/api/v1/slides")
    assert "doe" not in told.text
    by_id = {one["id"]: one for one in told.json()}
    assert set(by_id) == {archive_of(client).slide_id(path) for path in ("P01/doe.tif", "P02/s.svs")}
    drawn = by_id[archive_of(client).slide_id("P01/doe.tif")]
    assert (drawn["width"], drawn["height"], drawn["mpp"], drawn["n_items"]) == (*SIZE, 0.5, 70)
    assert drawn["labels"] == sorted(KINDS[:2])
    assert drawn["name"].startswith("S-")
    assert client.get(slide(client, "P01/doe.tif")).json() == drawn
    assert client.get(slide(client, "roi.png")).json()["width"] == 520


def test_items_of_a_slide_come_with_their_boxes(client: TestClient, index: hs.Index) -> None:
    placed = client.get(f"{slide(client, 'P01/doe.tif')}/items").json()
    assert len(placed) == 70
    ids = {archive_of(client).item_id(item): item for item in index.manifest}
    for one in placed:
        item = ids[one["id"]]
        assert one["box"] == item.box._asdict()
        assert one["label"] == item.label
    assert client.get(f"{slide(client, 'roi.png')}/items").json()[0]["box"] is None


def test_many_threads_get_the_same_tiles(client: TestClient) -> None:
    places = [(path, 9, 0, 0) for path in PATHS] + [("P01/doe.tif", 11, x, y) for x in range(6) for y in range(4)]

    def ask(place: tuple[str, int, int, int]) -> bytes:
        path, level, column, row = place
        return client.get(f"{slide(client, path)}_files/{level}/{column}_{row}.jpg").content

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, places * 3))
    assert found[: len(places)] == found[len(places) : 2 * len(places)] == found[2 * len(places) :]
