"""What every reader of pixels must do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histoseek.errors import ImageError
from histoseek.imaging import Reader, image_of, open_flat, plan_views, read_views
from histoseek.items import Box

WIDTH, HEIGHT = 60, 40
PIXELS = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def _file(folder: Path) -> Reader:
    Image.fromarray(PIXELS).save(folder / "a.png", dpi=(50_800, 50_800))
    return open_flat(folder / "a.png")


def _memory(folder: Path) -> Reader:
    return image_of(Image.fromarray(PIXELS))


READERS: dict[str, Callable[[Path], Reader]] = {"flat file": _file, "picture in memory": _memory}


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> Reader:
    made = READERS[request.param](tmp_path)
    request.addfinalizer(made.close)  # type: ignore[attr-defined]
    return made


def test_size_is_width_then_height(reader: Reader) -> None:
    assert reader.size == (WIDTH, HEIGHT)


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
