"""Uploads: counted as they come, told by their bytes, decoded elsewhere, and a sentence when they are bad."""

from __future__ import annotations

import io
import json
import struct
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from histoseek.errors import TooManyPixelsError
from histoseek.imaging.flat import flat_of_bytes
from histoseek.web.decoding import Decoder, format_of
from histoseek.web.problems import TooLarge, UnreadablePicture
from histoseek.web.settings import Limits
from tests.conftest import draw_square
from tests.web.conftest import Opened, app_of, id_of

IMAGE = "/api/v1/search/image"


def encoded(kind: str, size: tuple[int, int] = (64, 48), **options: Any) -> bytes:
    stream = io.BytesIO()
    draw_square("red", np.random.default_rng(1), size).save(stream, kind, **options)
    return stream.getvalue()


def png_of(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG whose head claims a size, with rows that are all zero, packed as tightly as can be."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(b"\0" * (1 + 3 * width)) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", head), *(chunk(*one) for one in chunks), chunk(b"IDAT", rows), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff_of(width: int, height: int, tags: list[tuple[int, int, int]], data: bytes) -> bytes:
    """A little-endian TIFF of one strip: tags as (number, type, value)."""
    entries = [(256, 4, width), (257, 4, height), (278, 4, height), *tags]
    at = 8 + 2 + 12 * (len(entries) + 2) + 4
    entries += [(273, 4, at), (279, 4, len(data))]
    body = b"".join(struct.pack("<HHII", number, kind, 1, value) for number, kind, value in sorted(entries))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + struct.pack("<I", 0) + data


def jpeg_claiming(width: int, height: int) -> bytes:
    data = bytearray(encoded("JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def gif_frames() -> bytes:
    stream = io.BytesIO()
    frames = [Image.new("L", (2000, 2000), shade) for shade in range(3)]
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    return stream.getvalue()


def svg() -> bytes:
    return b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'


BOMBS: dict[str, Callable[[], bytes]] = {
    "PNG that unfolds to half a gigabyte": lambda: png_of(13_000, 13_000),
    "PNG of 51 million pixels": lambda: png_of(7_200, 7_200),
    "PNG that claims two thousand million pixels": lambda: png_of(1, 1).replace(
        struct.pack(">II", 1, 1), struct.pack(">II", 50_000, 50_000), 1
    ),
    "PNG with a text that unfolds": lambda: png_of(8, 8, (b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 200_000_000, 9))),
    "PNG with a profile that unfolds": lambda: png_of(
        8, 8, (b"iCCP", b"a\0\0" + zlib.compress(b"\0" * 200_000_000, 9))
    ),
    "TIFF that claims all": lambda: tiff_of(60_000, 60_000, [(258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1)], b"x"),
    "TIFF of 51 million pixels": lambda: tiff_of(
        7_200, 7_200, [(258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1)], zlib.compress(b"\0" * 51_840_000, 9)
    ),
    "TIFF of wide pixels": lambda: tiff_of(
        6_900, 6_900, [(258, 3, 16), (259, 3, 8), (262, 3, 1), (277, 3, 16)], zlib.compress(b"\0" * 1_000_000, 9)
    ),
    "JPEG in TIFF that claims more": lambda: tiff_of(
        9_000, 9_000, [(258, 3, 8), (259, 3, 7), (262, 3, 6), (277, 3, 3)], jpeg_claiming(9_000, 9_000)
    ),
    "JPEG in TIFF of another size": lambda: tiff_of(
        64, 48, [(258, 3, 8), (259, 3, 7), (262, 3, 6), (277, 3, 3)], jpeg_claiming(60_000, 60_000)
    ),
    "JPEG that claims all": lambda: jpeg_claiming(65_000, 65_000),
    "GIF of many frames": gif_frames,
    "SVG with a file in it": svg,
    "EPS": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
    "PDF": lambda: b"%PDF-1.7\n%\xe2\xe3",
    "ZIP": lambda: b"PK\3\4" + b"\0" * 60,
    "HTML after a JPEG's head": lambda: b"\xff\xd8\xff\xe0<html><script>alert(1)</script>",
    "PNG's head before a JPEG": lambda: b"\x89PNG\r\n\x1a\n" + encoded("JPEG"),
    "BMP's head before a PNG": lambda: b"BM" + encoded("PNG"),
    "a WEBP's head alone": lambda: b"RIFF\x10\0\0\0WEBPVP8 ",
    "BigTIFF in circles": lambda: b"II+\0\x08\0\0\0" + struct.pack("<QQHHQQQ", 16, 1, 330, 16, 1, 16, 16),
    "nothing": lambda: b"",
    "one byte": lambda: b"\xff",
}


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    one = Decoder(Limits(decode_s=20))
    yield one
    one.close()


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_a_sentence(decoder: Decoder, name: str) -> None:
    data = BOMBS[name]()
    assert len(data) < 1_000_000
    since = time.monotonic()
    try:
        decoded = decoder.decode(data)
    except (UnreadablePicture, TooLarge) as problem:
        assert "/" not in str(problem) and "Traceback" not in str(problem)
    else:  # what is harmless once its wrapping is left aside
        assert decoded.pixels.nbytes <= 3 * 50_000_000 and "unfolds" in name
    assert time.monotonic() - since < 15


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_truncated_picture_is_a_sentence(decoder: Decoder, kind: str) -> None:
    whole = encoded(kind)
    for part in (0.02, 0.2, 0.5, 0.9):
        with pytest.raises(UnreadablePicture):
            decoder.decode(whole[: int(len(whole) * part)])


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {}), ("PNG", {}), ("TIFF", {}), ("WEBP", {}), ("BMP", {})])
def test_pictures_are_told_by_their_bytes(decoder: Decoder, kind: str, options: dict[str, Any]) -> None:
    data = encoded(kind, **options)
    assert format_of(data) == kind
    decoded = decoder.decode(data)
    assert decoded.pixels.shape == (48, 64, 3) and decoded.pixels.dtype == np.uint8


def test_too_many_pixels_are_told_by_type_and_not_by_words(decoder: Decoder) -> None:
    with pytest.raises(TooManyPixelsError):
        flat_of_bytes(encoded("PNG"), "PNG", 10)
    few = Decoder(Limits(upload_pixels=10))
    try:
        with pytest.raises(TooLarge):
            few.decode(encoded("PNG"))
    finally:
        few.close()
    with pytest.raises(UnreadablePicture):
        decoder.decode(encoded("PNG")[:50])


def test_the_worker_lives_through_bad_pictures(decoder: Decoder) -> None:
    good = encoded("PNG")
    for data in (BOMBS["PNG that unfolds to half a gigabyte"](), BOMBS["TIFF of wide pixels"](), good[:50]):
        with pytest.raises((UnreadablePicture, TooLarge)):
            decoder.decode(data)
        assert decoder.decode(good).pixels.shape == (48, 64, 3)


def test_a_worker_that_is_too_slow_is_killed_and_replaced() -> None:
    slow = Decoder(Limits(decode_s=0.0))
    try:
        slow.start()
        first = slow._worker
        assert first is not None
        with pytest.raises(UnreadablePicture, match="within the limits"):
            slow.decode(encoded("PNG"))
        assert first.wait(10) == -9
        slow._limits = Limits()
        assert slow.decode(encoded("PNG")).pixels.shape == (48, 64, 3)
    finally:
        slow.close()


def test_a_worker_that_runs_out_of_memory_says_so() -> None:
    small = Decoder(Limits(decode_bytes=64 * 1024**2))
    try:
        with pytest.raises((UnreadablePicture, TooLarge)):
            small.decode(png_of(7_000, 7_000))
        assert small.decode(encoded("PNG")).pixels.shape == (48, 64, 3)
    finally:
        small.close()


def test_the_worker_can_write_no_file_and_ends_with_its_server(decoder: Decoder) -> None:
    decoder.decode(encoded("PNG"))
    assert decoder._worker is not None
    limits = Path(f"/proc/{decoder._worker.pid}/limits").read_text()
    found = {line[:25].strip(): line[25:].split()[0] for line in limits.splitlines()}
    assert found["Max file size"] == "0" and found["Max core file size"] == "0"
    assert int(found["Max address space"]) < 8 * 1024**3
    alone = Decoder(Limits())
    alone.start()
    worker = alone._worker
    assert worker is not None and worker.stdin is not None
    worker.stdin.close()  # as happens when the server is killed
    assert worker.wait(20) == 0
    alone.close()


def test_an_upload_is_searched_with_and_forgotten(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "TemporaryFile", None)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    data = encoded("PNG", (1200, 1000), dpi=(50_800, 50_800))  # 0.5 µm per pixel, more than a megabyte
    assert len(data) > 2_000_000
    answer = client.post(IMAGE, files={"picture": ("Doe_Jane.png", data)}, data={"asked": '{"k": 3}'})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert [hit["label"] for hit in told["hits"]] == ["red"] * 3 and told["warnings"] == []
    assert len(told["query"]["vector"]) == 32
    assert "Doe" not in answer.text and "Doe" not in app_of(client).state.parts.log.path.read_text()
    assert not list((tmp_path / "temporary").iterdir())
    again = client.post("/api/v1/search", json={"examples": [{"vector": told["query"]["vector"]}], "k": 3}).json()
    assert [hit["id"] for hit in again["hits"]] == [hit["id"] for hit in told["hits"]]
    assert again["query"]["digest"] == told["query"]["digest"]


def test_an_upload_joins_other_examples(client: TestClient) -> None:
    asked = {"examples": [{"item": id_of(client), "weight": -0.5}], "k": 2}
    answer = client.post(IMAGE, files={"picture": encoded("PNG")}, data={"mpp": "0.5", "asked": json.dumps(asked)})
    assert answer.status_code == 200
    alone = client.post(IMAGE, files={"picture": encoded("PNG")}, data={"mpp": "0.5"})
    assert answer.json()["query"]["digest"] != alone.json()["query"]["digest"]


def test_the_patient_of_an_uploaded_file_of_the_archive_is_left_out(client: TestClient) -> None:
    archive = app_of(client).state.archive
    data = (archive.index.root / "p0_0.png").read_bytes()
    own = archive.patient_name(archive.item(id_of(client)))
    for exclude in (True, False):
        asked = json.dumps({"exclude_group": exclude, "k": 36, "per_slide": None})
        hits = client.post(IMAGE, files={"picture": data}, data={"asked": asked}).json()["hits"]
        assert (own in {hit["patient"] for hit in hits}) is not exclude


def test_a_blank_picture_and_an_unknown_scale_are_said(client: TestClient) -> None:
    white = io.BytesIO()
    Image.new("RGB", (64, 64), (250, 249, 248)).save(white, "PNG")
    warnings = client.post(IMAGE, files={"picture": white.getvalue()}).json()["warnings"]
    assert any("looks blank: 100% of it is white" in one for one in warnings)
    assert any("scale of this picture is unknown" in one for one in warnings)


def test_what_is_wrong_with_a_form_is_said(client: TestClient) -> None:
    picture = {"picture": encoded("PNG")}
    for files, data, reason in (
        ({}, {"mpp": "0.5"}, "multipart"),
        ({"other": b"x"}, {}, "unknown field 'other'"),
        (picture, {"mpp": "far"}, "mpp: "),
        (picture, {"mpp": "nan"}, "mpp: "),
        (picture, {"mpp": "1e9"}, "mpp: "),
        (picture, {"asked": "{"}, "asked"),
        (picture, {"asked": '{"k": 0}'}, "asked.k"),
        (picture, {"asked": '{"where": "1=1"}'}, "asked.where"),
        (picture, {"picture": "text", "mpp": "1", "asked": "{}"}, "form"),
    ):
        answer = client.post(IMAGE, files=files, data=data)
        assert answer.status_code == 400 and reason in answer.json()["detail"], answer.text
    text = client.post(IMAGE, content=b"--x", headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert text.status_code == 400
    assert client.post(IMAGE, content=b"", headers={"Content-Type": "multipart/form-data"}).status_code == 400


def test_larger_uploads_are_refused_by_their_stated_and_by_their_true_length(opened: Opened) -> None:
    client = opened(limits=Limits(upload_bytes=100_000))
    stated = client.post(IMAGE, content=b"x", headers={"Content-Length": "10000000"})
    assert stated.status_code == 413

    given = []

    def chunks() -> Iterator[bytes]:
        for _ in range(10_000):  # no length stated, and far more than the limit
            given.append(1)
            yield b"x" * 10_000

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert client.post(IMAGE, content=chunks(), headers=headers).status_code == 413
    close = encoded("PNG", (200, 200))
    assert 100_000 < len(close) < 100_000 + 64 * 1024
    answer = client.post(IMAGE, files={"picture": close})
    assert answer.status_code == 413 and "the picture has more" in answer.json()["detail"]
    fits = client.post(IMAGE, files={"picture": encoded("PNG", (100, 100))})
    assert fits.status_code == 200


def test_other_bodies_have_their_own_limit(opened: Opened) -> None:
    client = opened(limits=Limits(body_bytes=2000, batch_bytes=2000, key_bytes=2000))
    long = {"examples": [{"vector": [0.123456789] * 32}] * 60}
    assert client.post("/api/v1/search", json=long).status_code == 413
    assert client.post("/api/v1/search/batch", content=b"x" * 3000).status_code == 413
    assert client.post("/api/v1/session", content=b"x" * 3000).status_code == 413


def test_more_uploads_than_may_wait_are_refused(opened: Opened) -> None:
    client = opened(limits=Limits(encoding_waits=0, uploads_at_once=1))
    data, statuses = encoded("PNG", (1500, 1500)), []

    def ask() -> None:
        statuses.append(client.post(IMAGE, files={"picture": data}))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kinds = {answer.status_code for answer in statuses}
    assert kinds == {200, 429}
    assert all("Retry-After" in answer.headers for answer in statuses if answer.status_code == 429)
