"""Heat maps: colours lie where the tiles lie, and nowhere else."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from openslide import OpenSlide
from tifffile import TiffFile

from histoseek.errors import InputError
from histoseek.figures.heat import (
    OPACITY,
    coloured,
    draw_heat,
    rasterised,
    round_length,
    score_range,
    write_overlay,
)
from histoseek.figures.lettering import font_of
from histoseek.imaging import open_pixels
from histoseek.index import HeatMap
from histoseek.items import Box
from histoseek.phantom import draw_field, make_patient, write_slide

PINK = (200, 110, 160)
PAD = 16


def heat(path: Path, scores: dict[tuple[int, int, int, int], float], mpp: float | None = None) -> HeatMap:
    boxes = np.array(list(scores), dtype=np.int64)
    return HeatMap("s1", path, boxes, np.array(list(scores.values()), dtype=np.float32), mpp)


def pink_slide(folder: Path, mpp: float | None = 0.5) -> Path:
    """Stained tissue from edge to edge but for glass on the right: 800 × 400 pixels."""
    picture = np.full((400, 800, 3), PINK, dtype=np.uint8)
    picture[:, 700:] = 245
    return write_slide(folder / "s1.tif", picture, mpp, steps=())


def test_raster_puts_scores_at_their_place_and_averages_overlaps() -> None:
    found = heat(Path("x"), {(0, 0, 40, 40): 0.2, (20, 0, 40, 40): 0.6, (160, 80, 40, 20): -1.0})
    values = rasterised(found, (200, 100), (20, 10))
    wanted = np.full((10, 20), np.nan)
    wanted[:4, :2], wanted[:4, 2:4], wanted[:4, 4:6], wanted[8:, 16:] = 0.2, 0.4, 0.6, -1.0
    np.testing.assert_allclose(values, wanted, rtol=1e-6)
    assert values.dtype == np.float32  # a slide may have 16 million cells


def test_tiles_smaller_than_a_cell_are_seen() -> None:
    assert np.isfinite(rasterised(heat(Path("x"), {(3, 3, 2, 2): 0.5}), (100, 100), (10, 10))).sum() == 1


def test_neighbouring_tiles_leave_no_gap_at_any_scale() -> None:
    found = heat(Path("x"), {(x, y, 33, 33): 0.1 for x in range(0, 330, 33) for y in range(0, 330, 33)})
    assert all(np.isfinite(rasterised(found, (330, 330), (side, side))).all() for side in (7, 100, 121, 330))


def test_colours_grow_lighter_in_even_steps_and_end_at_the_range() -> None:
    ramp = coloured(np.linspace(0, 1, 33)[None], 0.0, 1.0)[0]
    light = np.where(ramp / 255 > 0.04045, ((ramp / 255 + 0.055) / 1.055) ** 2.4, ramp / 255 / 12.92)
    steps = np.diff(np.cbrt(light @ (0.2126, 0.7152, 0.0722)))
    assert (steps > 0).all()
    assert steps.max() < 2.5 * steps.min()
    assert (coloured(np.array([[-5.0, 9.0, np.nan]]), 0.0, 1.0) == ramp[[0, -1, 0]][None]).all()


def test_range_leaves_outliers_out_and_is_never_empty() -> None:
    low, high = score_range(np.array([-1.0, *np.linspace(0.4, 0.6, 99), 1.0], dtype=np.float32))
    assert 0.39 < low < high < 0.61
    low, high = score_range(np.array([0.5, 0.5], dtype=np.float32))
    assert low < 0.5 < high


def test_picture_is_coloured_on_tiles_with_tissue_and_nowhere_else(tmp_path: Path) -> None:
    scores = {(0, 0, 200, 200): 0.1, (200, 0, 200, 200): 0.9, (600, 0, 200, 200): 0.9}
    picture = np.asarray(draw_heat(heat(pink_slide(tmp_path), scores)).convert("RGB"), dtype=float)
    slide = picture[PAD : PAD + 400, PAD : PAD + 800]
    grey = np.mean(PINK)
    low, high = ((1 - OPACITY) * grey + OPACITY * colour for colour in coloured(np.array([0.0, 1.0])[None], 0, 1)[0])
    assert slide[100, 100] == pytest.approx(low, abs=3)
    assert slide[100, 300] == pytest.approx(high, abs=3)
    assert slide[195, 195] == pytest.approx(low, abs=3)
    assert slide[195, 205] == pytest.approx(high, abs=3)
    assert slide[100, 650] == pytest.approx(high, abs=3)
    assert np.ptp(slide[100, 750]) < 2  # glass of a tile
    assert np.ptp(slide[100, 500]) < 2  # no tile
    assert np.ptp(slide[300, 100]) < 2
    assert slide[300, 100].mean() == pytest.approx(0.5 * grey + 127.5, abs=3)


def bar_length(path: Path, mpp: float | None) -> int:
    """Pixels of the scale bar below the picture; 0 without one."""
    picture = np.asarray(draw_heat(heat(path, {(0, 0, 100, 100): 0.5}, mpp)).convert("L"))
    legend = picture[PAD + 400 + PAD + 6, PAD + 310 :]
    return int((legend < 64).sum())


def test_scale_bar_is_as_long_as_it_says(tmp_path: Path) -> None:
    path = pink_slide(tmp_path)
    assert bar_length(path, None) == 200  # 0.3 of 800 pixels are 120 µm at 0.5: 100 µm fit
    assert bar_length(path, 4.0) == 125  # 960 µm at a stated 4 µm: 500 µm fit
    unknown = pink_slide(tmp_path / "unknown", mpp=None)
    assert bar_length(unknown, None) == 0
    assert bar_length(unknown, 0.5) == 200


@pytest.mark.parametrize(("um", "rounded"), [(999, 500), (1000, 1000), (1999, 1000), (0.3, 0.2), (5.0, 5.0)])
def test_scale_bar_has_a_round_length(um: float, rounded: float) -> None:
    assert round_length(um) == pytest.approx(rounded)


def test_any_query_can_be_written_below(tmp_path: Path) -> None:
    found = heat(pink_slide(tmp_path), {(0, 0, 100, 100): 0.5})
    plain = draw_heat(found, "x" * 5000)
    assert plain.size == draw_heat(found, "Drüsen µ 腺\n").size
    assert font_of(14).getlength("x" * 5000) > plain.width


def test_large_slides_are_drawn_small(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "a.tif", np.full((300, 4000, 3), PINK, dtype=np.uint8), 0.5, steps=(4,))
    picture = draw_heat(heat(path, {(0, 0, 300, 300): 0.2, (3700, 0, 300, 300): 0.8}))
    assert picture.width == 1600 + 2 * PAD
    right = np.asarray(picture.convert("RGB"))[PAD + 60, PAD + 1550].astype(int)
    assert right[1] > right[2] + 40  # the yellow end of the colours
    legend = np.asarray(picture.convert("L"))[PAD + 120 + PAD + 6, PAD + 310 :]
    assert (legend < 64).sum() == 160  # at 1.25 µm a drawn pixel, 200 µm is what fits 300 pixels


@pytest.fixture
def overlay(tmp_path: Path) -> Path:
    """Of a slide 4 100 × 500 pixels at 0.5 µm, with two places told apart by their score."""
    path = write_slide(tmp_path / "a.tif", np.full((500, 4100, 3), PINK, dtype=np.uint8), 0.5, steps=(4,))
    scores = {(x, 96, 12, 12): 0.0 for x in range(0, 1200, 12)} | {(x, 96, 12, 12): 1.0 for x in range(3600, 4080, 12)}
    write_overlay(heat(path, scores), tmp_path / "heat.tif")
    return tmp_path / "heat.tif"


def test_overlay_covers_the_slide_at_its_scale(overlay: Path) -> None:
    with closing(OpenSlide(str(overlay))) as slide:
        mpp = float(slide.properties["openslide.mpp-x"])
        assert float(slide.properties["openslide.mpp-y"]) == mpp
        width, height = slide.dimensions
        assert slide.level_count == 4
        assert slide.level_downsamples == (1, 2, 4, 8)
    with TiffFile(overlay) as file:
        assert [page.get_resolution("MICROMETER")[0] for page in file.pages] == pytest.approx(
            [1 / (mpp * shrink) for shrink in (1, 2, 4, 8)]
        )
    assert mpp == pytest.approx(1.5)  # four cells a tile of 6 µm
    assert 0 <= width * mpp - 4100 * 0.5 < 8 * mpp
    assert 0 <= height * mpp - 500 * 0.5 < 8 * mpp


def test_overlay_has_each_colour_at_its_place(overlay: Path) -> None:
    with closing(open_pixels(overlay)) as reader:
        picture = reader.read(Box(0, 0, *reader.size), reader.size).astype(float)
        assert reader.mpp is not None
        cells = 0.5 / reader.mpp
    low, high = coloured(np.array([[0.0, 1.0]]), 0, 1)[0]
    coloured_rows = np.flatnonzero((picture < 250).any(axis=(1, 2)))
    assert (coloured_rows[0], coloured_rows[-1] + 1) == (96 * cells, 108 * cells)
    line = picture[round(100 * cells)]
    starts = np.flatnonzero(np.abs(line - high).max(axis=1) < 3)
    assert (starts[0], starts[-1] + 1) == (3600 * cells, 4080 * cells)
    ends = np.flatnonzero(np.abs(line - low).max(axis=1) < 3)
    assert (ends[0], ends[-1] + 1) == (0, 1200 * cells)
    assert (picture[0] == 255).all()


def test_overlay_of_large_tiles_stays_at_a_scale_that_readers_believe(tmp_path: Path) -> None:
    found = heat(pink_slide(tmp_path), {(0, 0, 400, 400): 0.1, (400, 0, 400, 400): 0.9})
    write_overlay(found, tmp_path / "heat.tif")
    with closing(open_pixels(tmp_path / "heat.tif")) as reader:
        assert reader.mpp is not None
        assert reader.mpp <= 20
        assert reader.size[0] * reader.mpp == pytest.approx(400, abs=reader.mpp)


def test_overlay_needs_a_scale_from_the_slide_or_the_archive(tmp_path: Path) -> None:
    path = pink_slide(tmp_path, mpp=None)
    scores = {(0, 0, 40, 40): 0.5}
    with pytest.raises(InputError, match=r"draw a \.png"):
        write_overlay(heat(path, scores), tmp_path / "heat.tif")
    assert not (tmp_path / "heat.tif").exists()
    write_overlay(heat(path, scores, mpp=0.5), tmp_path / "heat.tif")
    with closing(OpenSlide(str(tmp_path / "heat.tif"))) as slide:
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(5.0)


def test_drawn_tissue_is_said_to_be_drawn(tmp_path: Path) -> None:
    field = draw_field(300, 200, 1.0, make_patient(1), 3, ("gland", "fat"))
    found = heat(write_slide(tmp_path / "p.tif", field.picture, 1.0, steps=()), {(100, 60, 80, 80): 0.5})
    legend = np.asarray(draw_heat(found).convert("L"))[PAD + 200 + PAD + 66 :]
    plain = tmp_path / "plain.tif"
    plain.write_bytes(found.path.read_bytes().replace(b"Synthetic", b"Real-life"))
    other = np.asarray(draw_heat(heat(plain, {(100, 60, 80, 80): 0.5})).convert("L"))[PAD + 200 + PAD + 66 :]
    assert (legend < 200).sum() > (other < 200).sum()
