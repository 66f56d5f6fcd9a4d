"""Deep Zoom tiles: where they lie, and that together they are the image."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from tifffile import TiffWriter

from histoseek.errors import ImageError, InputError
from histoseek.imaging import DeepZoom, deepzoom, open_flat, open_pixels, open_slide, read_tile
from histoseek.imaging.deepzoom import OVERLAP, TILE
from histoseek.imaging.tiff import TiffImage
from histoseek.items import Box
from histoseek.phantom import write_slide


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise with a slope, so that every place looks its own way; sizes that no power of two divides."""
    rng = np.random.default_rng(3)
    slope = np.linspace(0, 200, 1300)[None, :, None] + np.linspace(0, 40, 901)[:, None, None]
    picture = np.clip(slope + rng.normal(0, 12, (901, 1300, 3)), 0, 255).astype(np.uint8)
    return write_slide(tmp_path_factory.mktemp("dzi") / "s.tif", picture, 0.5)


def test_levels_halve_down_to_one_pixel() -> None:
    pyramid = DeepZoom((1300, 901))
    assert pyramid.n_levels == 12
    assert pyramid.level_size(11) == (1300, 901)
    assert pyramid.level_size(10) == (650, 451)
    assert pyramid.level_size(0) == (1, 1)
    assert pyramid.n_tiles(11) == (6, 4)
    assert DeepZoom((1, 1)).n_levels == 1
    assert DeepZoom((257, 1)).n_levels == 10
    assert DeepZoom((256, 1)).n_levels == 9


def test_tiles_overlap_inside_and_end_at_the_border() -> None:
    pyramid = DeepZoom((1300, 901))
    assert pyramid.tile_box(11, 0, 0) == Box(0, 0, TILE + OVERLAP, TILE + OVERLAP)
    assert pyramid.tile_box(11, 1, 1) == Box(TILE - OVERLAP, TILE - OVERLAP, TILE + 2 * OVERLAP, TILE + 2 * OVERLAP)
    assert pyramid.tile_box(11, 5, 3) == Box(1279, 767, 21, 134)
    assert pyramid.tile_box(0, 0, 0) == Box(0, 0, 1, 1)
    for wrong in ((12, 0, 0), (-1, 0, 0), (11, 6, 0), (11, 0, 4), (11, -1, 0)):
        with pytest.raises(InputError, match="there is no"):
            pyramid.tile_box(*wrong)


def test_full_tiles_are_the_readers_own_pixels(slide: Path) -> None:
    with closing(open_slide(slide)) as reader:
        for column, row in ((0, 0), (2, 1), (5, 3)):
            box = DeepZoom(reader.size).tile_box(11, column, row)
            assert np.array_equal(read_tile(reader, 11, column, row), reader.read(box, (box.width, box.height)))


@pytest.mark.parametrize("level", [0, 3, 8, 9, 10])
def test_tiles_laid_together_are_the_level_read_at_once(slide: Path, level: int) -> None:
    with closing(open_slide(slide)) as reader:
        pyramid = DeepZoom(reader.size)
        width, height = pyramid.level_size(level)
        whole = reader.read(Box(0, 0, *reader.size), (width, height)).astype(int)
        across, down = pyramid.n_tiles(level)
        for column in range(across):
            for row in range(down):
                x, y, w, h = pyramid.tile_box(level, column, row)
                tile = read_tile(reader, level, column, row).astype(int)
                assert tile.shape == (h, w, 3)
                # a last pixel that is half outside moves the others by less than itself
                assert np.abs(tile - whole[y : y + h, x : x + w]).mean() < 2


def test_a_flat_picture_is_tiled_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (300, 520, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    with closing(open_flat(tmp_path / "a.png")) as reader:
        assert np.array_equal(read_tile(reader, 10, 2, 1), picture[255:300, 511:520])


def test_an_overview_that_costs_the_whole_slide_is_refused(slide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deepzoom, "MOST_PIXELS", 80_000)
    with closing(open_slide(slide)) as reader:
        assert reader.levels[-1][0] < 100
        assert read_tile(reader, 7, 0, 0).shape == (57, 82, 3)  # from a small level
        with pytest.raises(ImageError, match="no small levels"):
            read_tile(reader, 10, 0, 0)


def test_the_xml_is_deep_zoom_of_2008() -> None:
    root = ElementTree.fromstring(DeepZoom((1300, 901)).xml())
    name = "{http://schemas.microsoft.com/deepzoom/2008}"
    assert root.tag == f"{name}Image"
    assert root.attrib == {"Format": "jpg", "Overlap": "1", "TileSize": "256"}
    assert root[0].attrib == {"Width": "1300", "Height": "901"}


def test_a_slide_that_only_tifffile_reads_is_tiled_too(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (700, 900, 3), dtype=np.uint8)
    how = {"tile": (256, 256), "photometric": "rgb", "compression": "zstd", "metadata": None}
    with TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(picture, **how)
        writer.write(picture[::2, ::2], subfiletype=1, **how)
    with closing(open_pixels(tmp_path / "a.tif")) as reader:
        assert isinstance(reader, TiffImage)
        assert np.array_equal(read_tile(reader, 10, 1, 1), picture[255:513, 255:513])
        assert np.array_equal(read_tile(reader, 9, 1, 0), picture[:514:2, 510:900:2])
