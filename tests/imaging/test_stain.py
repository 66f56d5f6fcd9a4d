from __future__ import annotations

import numpy as np
import pytest

from histoseek.imaging.stain import (
    EOSIN,
    HAEMATOXYLIN,
    combine_stains,
    od_to_rgb,
    rgb_to_od,
    separate_stains,
    stain_matrix,
)


def test_every_level_comes_back_from_optical_density():
    levels = np.arange(1, 256, dtype=np.uint8)
    rgb = np.stack([levels, levels[::-1], levels], axis=-1)
    assert np.array_equal(od_to_rgb(rgb_to_od(rgb)), rgb)


def test_density_is_base_ten_and_white_has_none():
    assert rgb_to_od([255, 255, 255]) == pytest.approx([0, 0, 0])
    assert od_to_rgb([1.0, 1.0, 0.0]).tolist() == [26, 26, 255]
    assert np.isfinite(rgb_to_od([0, 0, 0])).all()


@pytest.mark.parametrize("stains", [None, stain_matrix((0.6, 0.71, 0.38), (0.2, 0.82, 0.54))])
def test_amounts_come_back_from_the_colours_they_make(stains):
    rng = np.random.default_rng(0)
    amounts = rng.uniform(0.0, 0.8, (20, 30, 2)).astype(np.float32)
    matrix = stain_matrix() if stains is None else stains
    found = separate_stains(combine_stains(amounts, matrix[:2]), stains)
    assert found.shape == (20, 30, 3)
    assert found.dtype == np.float32
    assert np.abs(found[..., :2] - amounts).max() < 0.03
    assert np.abs(found[..., 2]).max() < 0.03


def test_stains_are_not_mixed_up():
    blue, pink = combine_stains([[0.7, 0.0], [0.0, 0.7]], stain_matrix()[:2])
    assert blue[0] < pink[0]
    blue_parts, pink_parts = separate_stains(np.stack([blue, pink]))
    assert blue_parts[0] > 0.6 > 0.1 > abs(blue_parts[1])
    assert pink_parts[1] > 0.6 > 0.1 > abs(pink_parts[0])


def test_matrix_rows_are_unit_vectors_and_the_residual_is_at_right_angles():
    matrix = stain_matrix()
    assert np.linalg.norm(matrix, axis=1) == pytest.approx([1, 1, 1], abs=1e-6)
    assert matrix[2] @ np.array(HAEMATOXYLIN) == pytest.approx(0, abs=1e-6)
    assert matrix[2] @ np.array(EOSIN) == pytest.approx(0, abs=1e-6)
