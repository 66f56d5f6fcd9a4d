"""What every reader of pixels must do."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tifffile import TiffWriter, imwrite

from histoseek.errors import ImageError
from histoseek.imaging import (
    FlatImage,
    Reader,
    image_of,
    open_flat,
    open_pixels,
    open_slide,
    plan_views,
    read_views,
)
from histoseek.imaging.slide import OpenSlideImage
from histoseek.imaging.tiff import TiffImage
from histoseek.items import Box

WIDTH, HEIGHT = 60, 40
PIXELS = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def _file(folder: Path) -> Reader:
    Image.fromarray(PIXELS).save(folder / "a.png", dpi=(50_800, 50_800))
    return open_flat(folder / "a.png")


def _memory(folder: Path) -> Reader:
    return image_of(Image.fromarray(PIXELS))


def _tiled(folder: Path) -> Reader:
    how = {"tile": (16, 16), "compression": "deflate", "resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
    with TiffWriter(folder / "a.tif") as writer:
        writer.write(PIXELS, photometric="rgb", metadata=None, **how)
        writer.write(PIXELS[::2, ::2], photometric="rgb", subfiletype=1, metadata=None, **how)
    return OpenSlideImage(folder / "a.tif")


def _tiles(folder: Path) -> Reader:
    _tiled(folder).close()
    return open_pixels(folder / "a.tif")


def _ome(folder: Path) -> Reader:
    with TiffWriter(folder / "a.ome.tif") as writer:
        metadata = {"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm"}
        writer.write(PIXELS, photometric="rgb", subifds=1, tile=(16, 16), metadata=metadata)
        writer.write(PIXELS[::2, ::2], photometric="rgb", subfiletype=1, tile=(16, 16))
    return open_pixels(folder / "a.ome.tif")


def _planes(folder: Path) -> Reader:
    imwrite(folder / "a.tif", np.moveaxis(PIXELS, 2, 0), photometric="rgb", planarconfig="separate", rowsperstrip=7)
    return open_slide(folder / "a.tif")


READERS: dict[str, Callable[[Path], Reader]] = {
    "flat file": _file,
    "picture in memory": _memory,
    "OpenSlide": _tiled,
    "tifffile, tiles": _tiles,
    "tifffile, OME": _ome,
    "tifffile, strips of planes": _planes,
}

KINDS = {
    "flat file": FlatImage,
    "picture in memory": FlatImage,
    "OpenSlide": OpenSlideImage,
    "tifffile, tiles": TiffImage,
    "tifffile, OME": TiffImage,
    "tifffile, strips of planes": TiffImage,
}


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> Reader:
    made = READERS[request.param](tmp_path)
    assert type(made) is KINDS[request.param]
    request.addfinalizer(made.close)
    return made


def test_size_is_width_then_height(reader: Reader) -> None:
    assert reader.size == (WIDTH, HEIGHT)


def test_levels_start_with_the_full_size(reader: Reader) -> None:
    assert reader.levels[0] == reader.size
    assert list(reader.levels) == sorted(reader.levels, reverse=True)


def test_scale_is_a_number_or_unknown(reader: Reader) -> None:
    assert reader.mpp is None or 0.05 <= reader.mpp <= 20


def test_read_gives_rgb_of_the_size_asked(reader: Reader) -> None:
    got = reader.read(Box(3, 5, 20, 10), (8, 4))
    assert (got.shape, got.dtype) == ((4, 8, 3), np.uint8)


def test_read_at_full_size_gives_the_pixels_themselves(reader: Reader) -> None:
    assert np.array_equal(reader.read(Box(3, 5, 20, 10), (20, 10)), PIXELS[5:15, 3:23])


def test_reading_twice_gives_the_same(reader: Reader) -> None:
    one, two = (reader.read(Box(0, 0, WIDTH, HEIGHT), (13, 7)) for _ in range(2))
    assert np.array_equal(one, two)


def test_box_outside_is_refused(reader: Reader) -> None:
    with pytest.raises(ImageError):
        reader.read(Box(50, 0, 20, 10), (8, 4))


def test_views_of_a_plan_can_be_read(reader: Reader) -> None:
    plan = plan_views(WIDTH, HEIGHT, 0.5, 16, 0.5)
    views = list(read_views(reader, Box(0, 0, WIDTH, HEIGHT), plan, 16, "bicubic"))
    assert len(views) == len(plan.corners)
    assert {view.shape for view in views} == {(16, 16, 3)}


def test_many_threads_read_the_same(reader: Reader) -> None:
    if isinstance(reader, FlatImage):
        pytest.skip("one thread at a time reads a flat image")
    boxes = [Box(x, y, 12, 9) for x in range(0, 48, 5) for y in range(0, 30, 4)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda box: reader.read(box, (12, 9)), boxes * 4))
    for box, pixels in zip(boxes * 4, found, strict=True):
        assert np.array_equal(pixels, PIXELS[box.y : box.y + 9, box.x : box.x + 12])


def test_a_forked_process_reads_for_itself(reader: Reader) -> None:
    expected = reader.read(Box(3, 5, 20, 10), (20, 10))
    child = os.fork()
    if not child:  # the parent's handle shares its place in the file with this process
        try:
            right = all(np.array_equal(reader.read(Box(3, 5, 20, 10), (20, 10)), expected) for _ in range(50))
        finally:
            os._exit(0 if right else 1)
    for _ in range(50):
        assert np.array_equal(reader.read(Box(30, 20, 20, 10), (20, 10)), PIXELS[20:30, 30:50])
    assert os.waitpid(child, 0)[1] == 0
