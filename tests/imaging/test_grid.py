from __future__ import annotations

import numpy as np
import pytest

from histoseek.imaging import lay_tiles, share_of, tile_side


def test_a_tiles_side_follows_the_scale() -> None:
    assert tile_side(256, 0.5, 0.25) == 512
    assert tile_side(256, 0.5, 0.499) == 257
    assert tile_side(256, 0.5, 1.0112) == 127
    assert tile_side(16, 0.05, 20) == 1


def test_tiles_lie_row_by_row_from_the_top_left_and_whole() -> None:
    assert lay_tiles((250, 130), 60, 0).tolist() == [[x, y, 60, 60] for y in (0, 60) for x in (0, 60, 120, 180)]
    assert lay_tiles((240, 120), 60, 0).shape == (8, 4)


@pytest.mark.parametrize(("overlap", "step"), [(0.0, 100), (0.25, 75), (0.5, 50), (0.9, 10)])
def test_overlap_is_the_part_that_neighbours_share(overlap: float, step: int) -> None:
    boxes = lay_tiles((1003, 317), 100, overlap)
    assert sorted(set(boxes[:, 0])) == list(range(0, 904, step))
    assert sorted(set(boxes[:, 1])) == list(range(0, 218, step))
    assert (boxes[:, 0] + boxes[:, 2]).max() <= 1003
    assert (boxes[:, 1] + boxes[:, 3]).max() <= 317


def test_a_slide_smaller_than_a_tile_is_one_tile_and_a_narrow_one_is_a_column() -> None:
    assert lay_tiles((50, 40), 100, 0.5).tolist() == [[0, 0, 50, 40]]
    assert lay_tiles((50, 250), 100, 0).tolist() == [[0, 0, 50, 100], [0, 100, 50, 100]]


def test_shares_are_those_of_counting_pixels() -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((60, 80)) > 0.4
    full = np.kron(mask, np.ones((7, 7)))  # level-0 pixels
    boxes = np.array([[*rng.integers(0, 300, 2), *rng.integers(1, 120, 2)] for _ in range(200)])
    wanted = [full[y : y + height, x : x + width].mean() for x, y, width, height in boxes]
    assert np.allclose(share_of(mask, boxes, (7, 7)), wanted, atol=1e-5)


def test_shares_of_all_and_nothing_are_exact() -> None:
    boxes = lay_tiles((1000, 700), 96, 0.3)
    scale = (1000 / 123, 700 / 87)
    assert (share_of(np.ones((87, 123), dtype=bool), boxes, scale) == 1).all()
    assert (share_of(np.zeros((87, 123), dtype=bool), boxes, scale) == 0).all()


def test_a_large_slide_has_all_its_tiles() -> None:
    boxes = lay_tiles((100_000, 100_000), 512, 0)
    mask = np.zeros((3125, 3125), dtype=bool)
    mask[:, :1600] = True  # the left 51 200 pixels
    shares = share_of(mask, boxes, (32, 32))
    assert len(boxes) == 195 * 195
    assert shares.sum() == pytest.approx(195 * 100)
