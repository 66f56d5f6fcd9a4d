"""Thumbnails: the item's own pixels, nothing else of its file, and known again."""

from __future__ import annotations

import io
from contextlib import closing
from pathlib import Path

import numpy as np
import openslide
import pytest
from PIL import Image
from starlette.testclient import TestClient

import histoseek as hs
from histoseek.imaging import open_pixels
from histoseek.items import Box
from histoseek.web import create_app
from histoseek.web.archive import Archive
from tests.web.archives import SECRET, write_archive


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> hs.Index:
    return write_archive(tmp_path_factory.mktemp("thumbnails"))


@pytest.fixture(scope="module")
def client(index: hs.Index) -> TestClient:
    return TestClient(create_app(index), base_url="http://127.0.0.1")


def archive_of(client: TestClient) -> Archive:
    archive = client.app.state.archive  # type: ignore[attr-defined]
    assert isinstance(archive, Archive)
    return archive


def address(client: TestClient, name: str) -> str:
    item = next(item for item in archive_of(client).index.manifest if item.id == name)
    return f"/api/v1/items/{archive_of(client).item_id(item)}/thumbnail"


def pixels_of(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


@pytest.mark.parametrize("name", ["toy/P01/doe.tif#256,128", "toy/P02/s.svs#128,128", "toy/roi.jpg", "toy/roi.png"])
@pytest.mark.parametrize("px", [64, 200])
def test_a_thumbnail_is_the_box_of_its_item_as_the_reader_gives_it(client: TestClient, name: str, px: int) -> None:
    answer = client.get(address(client, name), params={"px": px})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/jpeg"
    item = next(item for item in archive_of(client).index.manifest if item.id == name)
    with closing(open_pixels(archive_of(client).index.root / item.path)) as reader:
        box = item.box or Box(0, 0, *reader.size)
        wanted = reader.read(box, (px, round(px * box.height / box.width)))
    found = pixels_of(answer.content)
    stream = io.BytesIO()
    Image.fromarray(wanted).save(stream, "JPEG", quality=85)
    assert np.array_equal(found, pixels_of(stream.getvalue()))


def test_nothing_of_the_file_but_pixels_goes_out(client: TestClient) -> None:
    content = client.get(address(client, "toy/roi.jpg")).content
    with Image.open(io.BytesIO(content)) as picture:
        assert not picture.getexif()
        assert "comment" not in picture.info
    assert SECRET.encode() not in content


def test_label_and_macro_images_are_never_opened(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(slide: object) -> None:
        raise AssertionError("associated images were looked at")

    monkeypatch.setattr(openslide.OpenSlide, "associated_images", property(refused))
    for name in ("toy/P02/s.svs#0,0", "toy/P02/s.svs#256,128"):
        assert client.get(address(client, name)).status_code == 200


def test_a_client_that_holds_it_gets_304(client: TestClient) -> None:
    where = address(client, "toy/P01/doe.tif#0,0")
    first = client.get(where, params={"px": 128})
    assert first.headers["cache-control"] == "private, no-cache"
    tag = first.headers["etag"]
    for held in (tag, f'W/{tag}, "other"', "*"):
        again = client.get(where, params={"px": 128}, headers={"If-None-Match": held})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert client.get(where, params={"px": 256}, headers={"If-None-Match": tag}).status_code == 200
    assert client.get(where, params={"px": 128}, headers={"If-None-Match": '"x"'}).status_code == 200


def test_a_new_version_of_the_archive_has_another_tag(tmp_path: Path) -> None:
    index = write_archive(tmp_path)
    client = TestClient(create_app(index), base_url="http://127.0.0.1")
    where = address(client, "toy/P01/doe.tif#0,0")
    before = client.get(where).headers["etag"]
    index.remove(hs.index.Removal(items=["toy/roi.png"]))
    assert client.get(where).headers["etag"] != before


@pytest.mark.parametrize("px", [63, 1025, "big", "-1"])
def test_other_sizes_are_refused(client: TestClient, px: object) -> None:
    answer = client.get(address(client, "toy/roi.png"), params={"px": str(px)})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_picture_that_is_gone_or_damaged_is_one_sentence_without_its_path(tmp_path: Path) -> None:
    client = TestClient(create_app(write_archive(tmp_path)), base_url="http://127.0.0.1")
    whole = (tmp_path / "roi.jpg").read_bytes()
    (tmp_path / "roi.jpg").write_bytes(whole[:2000])
    (tmp_path / "roi.png").write_bytes(b"\x89PNG\r\n\x1a\n no more")
    (tmp_path / "P01" / "doe.tif").unlink()
    said = {"toy/roi.jpg": "cannot be read", "toy/roi.png": "cannot be read", "toy/P01/doe.tif#0,0": "is gone"}
    for name, sentence in said.items():
        answer = client.get(address(client, name))
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
        assert sentence in answer.json()["detail"]
        for secret in (str(tmp_path), "roi", "doe", "P01"):
            assert secret not in answer.text


@pytest.mark.parametrize(
    "wrong", ["A" * 16, "..%2f..%2fetc%2fpasswd", "%2e%2e%2f%2e%2e", "a%00b", "%5c%5chost%5cshare"]
)
def test_ids_that_are_not_there_are_not_there(client: TestClient, wrong: str) -> None:
    answer = client.get(f"/api/v1/items/{wrong}/thumbnail")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
