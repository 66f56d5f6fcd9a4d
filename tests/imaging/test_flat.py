from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from histoseek.errors import ImageError
from histoseek.imaging import FlatImage, image_of, open_flat, read_size
from histoseek.items import Box


def pixels(width: int = 48, height: int = 32, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Smooth colours with noise, so that every corner and channel differs."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 200, width)[None, :, None] * np.linspace(0.3, 1, height)[:, None, None]
    return np.clip(ramp + rng.integers(0, 55, (height, width, channels)), 0, 255).astype(np.uint8)


def read_whole(path: Path) -> np.ndarray:
    flat = open_flat(path)
    try:
        return flat.read(Box(0, 0, *flat.size), flat.size)
    finally:
        flat.close()


def by_pillow(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises width × height pixels in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compressobj(9)
    data = b"".join(rows.compress(bytes(width * 3 + 1)) for _ in range(min(height, 200))) + rows.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


SAVED = {
    "plain.png": {},
    "plain.bmp": {},
    "plain.tiff": {},
    "lzw.tiff": {"compression": "tiff_lzw"},
    "deflate.tiff": {"compression": "tiff_adobe_deflate"},
    "jpeg.tiff": {"compression": "jpeg"},
    "tiled.tiff": {"tiffinfo": {322: 16, 323: 16}},
    "strips.tiff": {"strip_size": 500},
    "baseline.jpg": {"quality": 90},
    "progressive.jpg": {"progressive": True, "quality": 90},
    "lossless.webp": {"lossless": True},
    "lossy.webp": {"quality": 90},
}


@pytest.mark.parametrize("name", SAVED)
def test_every_format_gives_the_pixels_that_pillow_gives(name: str, tmp_path: Path) -> None:
    Image.fromarray(pixels()).save(tmp_path / name, **SAVED[name])
    assert np.array_equal(read_whole(tmp_path / name), by_pillow(tmp_path / name))
    if "jp" not in name and "lossy" not in name:
        assert np.array_equal(read_whole(tmp_path / name), pixels())


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tiff", ".webp"])
def test_exif_orientation_is_obeyed(suffix: str, turn: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(pixels()).save(tmp_path / f"a{suffix}", exif=exif)
    expected = by_pillow(tmp_path / f"a{suffix}")
    assert read_size(tmp_path / f"a{suffix}")[:2] == expected.shape[1::-1]
    assert np.array_equal(read_whole(tmp_path / f"a{suffix}"), expected)


@pytest.mark.parametrize("turn", range(1, 9))
def test_orientation_of_a_pillow_image_is_obeyed(turn: int) -> None:
    exif, stream = Image.Exif(), io.BytesIO()
    exif[0x0112] = turn
    Image.fromarray(pixels()).save(stream, "PNG", exif=exif)
    flat = image_of(Image.open(stream))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(stream)))
    assert np.array_equal(flat.read(Box(0, 0, *flat.size), flat.size), expected)


def test_sixteen_bit_grey_uses_its_full_range(tmp_path: Path) -> None:
    deep = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    for name in ("a.png", "a.tiff"):
        Image.fromarray(deep).save(tmp_path / name)
        grey = read_whole(tmp_path / name)
        assert np.abs(grey[..., 0] - deep / 257).max() <= 0.5
        assert (grey[..., 0] == grey[..., 2]).all()


def test_range_of_deep_pixels_is_that_of_the_whole_image_in_every_box(tmp_path: Path) -> None:
    values = np.full((20, 20), 200, dtype=np.int32)
    values[10:] = 65535
    Image.fromarray(values).save(tmp_path / "a.tiff")
    flat = open_flat(tmp_path / "a.tiff")
    dark = flat.read(Box(0, 0, 20, 5), (20, 5))
    assert np.array_equal(dark, flat.read(Box(0, 0, 20, 20), (20, 20))[:5])
    flat.close()


@pytest.mark.parametrize(("top", "shown"), [(1.0, 128), (255.0, 128), (65535.0, 128)])
def test_floating_point_grey_is_shown_by_its_range(top: float, shown: int, tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, top / 2, top]], dtype=np.float32)).save(tmp_path / "a.tiff")
    assert read_whole(tmp_path / "a.tiff")[0, :, 0].tolist() == [0, shown, 255]


def test_floating_point_grey_without_numbers_does_not_fail(tmp_path: Path) -> None:
    Image.fromarray(np.array([[np.nan, np.inf, -np.inf, 10]], dtype=np.float32)).save(tmp_path / "a.tiff")
    assert read_whole(tmp_path / "a.tiff").shape == (1, 4, 3)


@pytest.mark.parametrize("name", ["a.jpg", "a.tiff"])
def test_cmyk_becomes_rgb(name: str, tmp_path: Path) -> None:
    Image.fromarray(pixels()).convert("CMYK").save(tmp_path / name)
    assert np.array_equal(read_whole(tmp_path / name), by_pillow(tmp_path / name))


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_grey_and_palette_become_rgb(mode: str, tmp_path: Path) -> None:
    Image.fromarray(pixels()).convert(mode).save(tmp_path / "a.png")
    assert np.array_equal(read_whole(tmp_path / "a.png"), by_pillow(tmp_path / "a.png"))


@pytest.mark.parametrize("name", ["a.png", "a.tiff", "a.webp"])
def test_transparent_pixels_show_white(name: str, tmp_path: Path) -> None:
    rgba = pixels(channels=4)
    rgba[..., 3] = 0
    rgba[:, 10:, 3] = 255
    Image.fromarray(rgba, "RGBA").save(tmp_path / name, **({"lossless": True, "exact": True} if "webp" in name else {}))
    shown = read_whole(tmp_path / name)
    assert (shown[:, :10] == 255).all()
    assert np.array_equal(shown[:, 10:], rgba[:, 10:, :3])


def test_half_transparent_pixels_are_mixed_with_white(tmp_path: Path) -> None:
    Image.new("LA", (4, 4), (0, 128)).save(tmp_path / "a.png")
    assert abs(int(read_whole(tmp_path / "a.png")[0, 0, 0]) - 127) <= 1


def test_palette_with_a_transparent_colour_shows_white_there(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([10, 20, 30, 200, 100, 50] + [0] * 762)
    image.paste(1, (4, 0, 8, 8))
    image.save(tmp_path / "a.png", transparency=0)
    shown = read_whole(tmp_path / "a.png")
    assert shown[0, 0].tolist() == [255, 255, 255]
    assert shown[0, 7].tolist() == [200, 100, 50]


def test_first_page_of_a_multi_page_tiff_counts(tmp_path: Path) -> None:
    first, second = Image.fromarray(pixels()), Image.fromarray(pixels(20, 10))
    first.save(tmp_path / "a.tiff", save_all=True, append_images=[second])
    assert np.array_equal(read_whole(tmp_path / "a.tiff"), pixels())


def test_first_picture_of_an_animation_counts(tmp_path: Path) -> None:
    first, second = Image.fromarray(pixels()), Image.fromarray(pixels(seed=3))
    first.save(tmp_path / "a.webp", save_all=True, append_images=[second], lossless=True)
    assert np.array_equal(read_whole(tmp_path / "a.webp"), pixels())


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "lanczos"])
@pytest.mark.parametrize("box", [Box(0, 0, 48, 32), Box(5, 3, 30, 20), Box(47, 31, 1, 1)])
@pytest.mark.parametrize("out", [(16, 16), (7, 11), (60, 50)])
def test_read_is_pillows_antialiased_resize_of_the_box(
    box: Box, out: tuple[int, int], interpolation: str, tmp_path: Path
) -> None:
    Image.fromarray(pixels()).save(tmp_path / "a.png")
    flat = open_flat(tmp_path / "a.png")
    got = flat.read(box, out, interpolation)  # type: ignore[arg-type]
    flat.close()
    part = Image.fromarray(pixels()[box.y : box.y + box.height, box.x : box.x + box.width])
    wanted = np.asarray(part.resize(out, getattr(Image.Resampling, interpolation.upper())))
    assert np.abs(got.astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("box", [(-1, 0, 5, 5), (0, 0, 49, 5), (0, 30, 5, 3), (0, 0, 0, 5), (60, 60, 1, 1)])
def test_box_outside_the_image_is_refused(box: tuple[int, int, int, int], tmp_path: Path) -> None:
    Image.fromarray(pixels()).save(tmp_path / "a.png")
    flat = open_flat(tmp_path / "a.png")
    with pytest.raises(ImageError, match="not inside the 48 × 32 image"):
        flat.read(Box(*box), (8, 8))
    flat.close()


@pytest.mark.parametrize("size", [(12_000, 11_000), (20_000, 15_000), (2_000_000, 2_000_000)])
def test_bomb_is_refused_before_it_is_decoded_and_without_warnings(size: tuple[int, int], tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png_header(*size) if size[0] < 1e6 else png_header(9, 9))
    if size[0] > 1e6:
        head = bytearray((tmp_path / "bomb.png").read_bytes())
        head[16:24] = struct.pack(">II", *size)
        head[29:33] = struct.pack(">I", zlib.crc32(bytes(head[12:29])))
        (tmp_path / "bomb.png").write_bytes(head)
    assert (tmp_path / "bomb.png").stat().st_size < 100_000
    with warnings.catch_warnings(record=True) as heard, pytest.raises(ImageError, match="limit is 120 million; cut it"):
        open_flat(tmp_path / "bomb.png")
    assert not heard


def test_lazily_opened_bomb_of_pillow_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.open(io.BytesIO(png_header(400, 300)))
    monkeypatch.setattr(Image.Image, "copy", lambda self: pytest.fail("decoded"))
    with pytest.raises(ImageError, match="limit"):
        image_of(image, max_pixels=100_000)


def test_broken_pillow_image_is_an_image_error(tmp_path: Path) -> None:
    Image.fromarray(pixels(200, 200)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    with pytest.raises(ImageError, match="the query image cannot be decoded"):
        image_of(Image.open(io.BytesIO(whole[: len(whole) // 2])), "the query image")


@pytest.mark.parametrize("limit", [48 * 32, 48 * 32 - 1])
def test_limit_itself_is_allowed(limit: int, tmp_path: Path) -> None:
    Image.fromarray(pixels()).save(tmp_path / "a.png")
    if limit >= 48 * 32:
        open_flat(tmp_path / "a.png", limit).close()
    else:
        with pytest.raises(ImageError, match="limit"):
            open_flat(tmp_path / "a.png", limit)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tiff", ".webp", ".bmp"])
def test_truncated_file_is_an_image_error(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(pixels(200, 200)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageError, match=f"a{suffix}"):
        read_whole(path)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"GIF89a" + bytes(50)]
)
def test_file_that_is_no_image_is_an_image_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError, match="no image that can be read"):
        open_flat(tmp_path / "a.png")


def test_other_formats_of_pillow_are_not_decoded(tmp_path: Path) -> None:
    for suffix in (".gif", ".ppm", ".ico", ".eps"):
        Image.fromarray(pixels()).save(tmp_path / f"a{suffix}")
        with pytest.raises(ImageError, match="no image that can be read"):
            open_flat(tmp_path / f"a{suffix}")


def test_missing_file_and_folder_are_image_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "none.png", tmp_path, Path("a\0b")):
        with pytest.raises(ImageError):
            open_flat(path)


@pytest.mark.parametrize(
    ("dpi", "mpp"), [(50_800, 0.5), (101_600, 0.25), (72, None), (96, None), (300, None), (1e6, None)]
)
def test_scale_comes_from_the_resolution_tag_unless_it_is_a_placeholder(
    dpi: float, mpp: float | None, tmp_path: Path
) -> None:
    Image.fromarray(pixels()).save(tmp_path / "a.tiff", dpi=(dpi, dpi))
    assert read_size(tmp_path / "a.tiff") == (48, 32, mpp)


def test_header_is_read_without_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix in (".jpg", ".png", ".tiff", ".webp", ".bmp"):
        Image.fromarray(pixels()).save(tmp_path / f"a{suffix}")
        with Image.open(tmp_path / f"a{suffix}") as image:
            kind = type(image)
        with monkeypatch.context() as patch:
            patch.setattr(kind, "load", lambda self: pytest.fail("decoded"))
            assert read_size(tmp_path / f"a{suffix}") == (48, 32, None)


def test_closed_image_leaves_no_open_file(tmp_path: Path) -> None:
    Image.fromarray(pixels()).save(tmp_path / "a.tiff")
    flat: FlatImage = open_flat(tmp_path / "a.tiff")
    flat.read(Box(0, 0, 5, 5), (5, 5))
    flat.close()
    del flat  # a ResourceWarning here would fail the test
