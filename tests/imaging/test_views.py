from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from histoseek.imaging import plan_views, read_views
from histoseek.imaging.views import scale_of
from histoseek.items import Box


class Numbered:
    """A reader whose pixels say where they are; it resizes by taking the nearest."""

    mpp = None

    def __init__(self, width: int, height: int) -> None:
        self.size = (width, height)
        across, down = np.meshgrid(np.arange(width) % 256, np.arange(height) % 256)
        self.pixels = np.stack([across, down, across // 256], axis=-1).astype(np.uint8)

    def read(self, box: Box, out: tuple[int, int], *how: str) -> NDArray[np.uint8]:
        part = self.pixels[box.y : box.y + box.height, box.x : box.x + box.width]
        assert part.shape[:2] == (box.height, box.width), "the view leaves the image"
        rows = np.arange(out[1]) * box.height // out[1]
        return part[rows][:, np.arange(out[0]) * box.width // out[0]]


@settings(max_examples=400, deadline=None)
@given(
    st.integers(1, 900),
    st.integers(1, 900),
    st.one_of(st.none(), st.floats(0.05, 20)),
    st.sampled_from([16, 64, 224]),
    st.floats(0.1, 4),
)
def test_every_pixel_is_in_some_view_and_no_view_leaves_the_rectangle(
    width: int, height: int, mpp: float | None, view_px: int, view_mpp: float
) -> None:
    plan = plan_views(width, height, mpp, view_px, view_mpp)
    for length, starts in ((width, {x for x, _ in plan.corners}), (height, {y for _, y in plan.corners})):
        seen = np.zeros(length, dtype=bool)
        for start in starts:
            assert start >= 0
            assert start + min(plan.side, length) <= length
            seen[start : start + plan.side] = True
        assert seen.all()


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 4000), st.integers(1, 4000), st.floats(0.05, 0.5))
def test_views_are_stretched_by_less_than_the_slack(width: int, height: int, mpp: float) -> None:
    plan = plan_views(width, height, mpp, 224, 0.5)
    side = 224 * 0.5 / mpp
    assert side - 1 <= plan.side <= side * 1.12 + 2


def test_bach_image_at_its_published_scale_has_35_views() -> None:
    plan = plan_views(2048, 1536, 0.42, 256, 0.5)
    assert len(plan.corners) == 7 * 5
    assert plan.corners[0] == (0, 0)
    assert plan.corners[-1] == (2048 - plan.side, 1536 - plan.side)


def test_views_stand_in_rows_from_the_top_left() -> None:
    assert plan_views(200, 300, 0.5, 100, 0.5).corners == tuple((x, y) for y in (0, 100, 200) for x in (0, 100))


def test_image_of_the_views_own_size_is_one_view_without_resizing() -> None:
    assert plan_views(224, 224, 0.5, 224, 0.5) == (224, ((0, 0),))


def test_unknown_scale_is_fitted_to_the_short_side() -> None:
    plan = plan_views(2048, 1536, None, 224, 0.5)
    assert plan.side == 1536
    assert scale_of(None, 0.5) == "fitted"
    assert plan.corners == ((0, 0), (512, 0))


def test_long_thread_of_unknown_scale_has_few_views() -> None:
    assert len(plan_views(100_000, 1, None, 224, 0.5).corners) == 16


@pytest.mark.parametrize(
    ("mpp", "scale"), [(0.25, "matched"), (0.5, "matched"), (0.505, "matched"), (0.52, "own"), (4, "own")]
)
def test_image_coarser_than_the_encoder_keeps_its_own_scale(mpp: float, scale: str) -> None:
    assert scale_of(mpp, 0.5) == scale
    if scale == "own":
        assert plan_views(1000, 1000, mpp, 100, 0.5).side == 100


def test_small_region_is_mirrored_to_the_size_of_a_view() -> None:
    reader = Numbered(10, 6)
    (view,) = read_views(reader, Box(2, 1, 5, 4), plan_views(5, 4, 0.5, 16, 0.5), 16, "bicubic")
    assert view.shape == (16, 16, 3)
    assert np.array_equal(view[:4, :5], reader.pixels[1:5, 2:7])
    assert np.array_equal(view[:4, 5:10], view[:4, 4::-1])
    assert np.array_equal(view[4:8], view[3::-1])


def test_views_read_the_pixels_under_their_box() -> None:
    reader = Numbered(300, 200)
    box = Box(20, 10, 200, 100)
    plan = plan_views(200, 100, 0.5, 100, 0.5)
    views = list(read_views(reader, box, plan, 100, "bicubic"))
    assert np.array_equal(views[0], reader.pixels[10:110, 20:120])
    assert np.array_equal(views[1], reader.pixels[10:110, 120:220])


def test_views_at_another_scale_have_the_encoders_size() -> None:
    reader = Numbered(500, 400)
    plan = plan_views(500, 400, 0.25, 64, 0.5)
    views = list(read_views(reader, Box(0, 0, 500, 400), plan, 64, "bicubic"))
    assert {view.shape for view in views} == {(64, 64, 3)}
