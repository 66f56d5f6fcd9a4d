from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from histoseek.imaging import draw_preview, find_tissue, image_of, lay_tiles, sharpness_of
from histoseek.imaging.quality import white_share, why_blank
from histoseek.phantom import KINDS, draw, make_patient


def test_blur_lowers_the_sharpness_step_by_step() -> None:
    tile = Image.fromarray(draw("gland", 128, 128, 0.5, make_patient(0, 0), 1))
    values = [sharpness_of(np.asarray(tile.filter(ImageFilter.GaussianBlur(radius)))) for radius in (0, 1, 2, 4)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 4 * values[1] > 0


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    tile = np.zeros((5, 5, 3), dtype=np.uint8)
    tile[2, 2] = 100
    inside = np.zeros((3, 3))
    inside[1, 1], inside[0, 1], inside[1, 0], inside[1, 2], inside[2, 1] = -400, 100, 100, 100, 100
    assert sharpness_of(tile) == pytest.approx(np.var(inside))


def test_white_and_even_pictures_are_blank_and_tissue_is_not() -> None:
    rng = np.random.default_rng(0)
    glass = np.clip(rng.normal(244, 3, (300, 400, 3)), 0, 255).astype(np.uint8)
    assert white_share(glass) > 0.99
    assert why_blank(glass) == "100% of it is white"
    assert why_blank(np.full((64, 64, 3), 90, dtype=np.uint8)) == "all of it has one colour"
    speck = glass.copy()
    speck[100:200, 100:200] = (150, 60, 140)
    assert why_blank(speck) is None
    for seed, kind in enumerate(KINDS):  # fat too, which is mostly white
        assert why_blank(draw(kind, 256, 256, 0.5, make_patient(seed), seed)) is None, kind
    assert why_blank(np.full((1, 1, 3), 255, dtype=np.uint8)) is not None


def test_plain_and_tiny_tiles_have_none() -> None:
    assert sharpness_of(np.full((8, 8, 3), 200, dtype=np.uint8)) == pytest.approx(0)
    assert sharpness_of(np.zeros((2, 9, 3), dtype=np.uint8)) == 0


def test_preview_shows_outline_pen_and_tiles() -> None:
    picture = np.full((400, 600, 3), 244, dtype=np.uint8)
    picture[100:300, 100:300] = (200, 120, 180)
    picture[100:300, 400:460] = (25, 50, 150)
    tissue = find_tissue(image_of(Image.fromarray(picture)), 8.0)
    boxes = lay_tiles((600, 400), 100, 0)[[7]]  # x 100, y 100
    drawn = np.asarray(draw_preview(tissue, boxes)).astype(int)
    assert drawn.shape[1] == 2000
    zoom = 2000 / 600
    reference = np.asarray(draw_preview(tissue, boxes[:0])).astype(int)
    changed = np.argwhere(np.abs(drawn - reference).sum(axis=2) > 30)
    assert np.allclose(changed.min(axis=0) / zoom, [100, 100], atol=1)
    assert np.allclose(changed.max(axis=0) / zoom, [200, 200], atol=1)
    is_blue = (reference == (0, 114, 178)).all(axis=2)
    outline = np.argwhere(is_blue)
    assert np.allclose(outline.min(axis=0) / zoom, [100, 100], atol=4)
    assert not is_blue[round(200 * zoom), round(200 * zoom)]
    middle = reference[round(200 * zoom), round(430 * zoom)]
    assert middle[0] > middle[2] - 50, "pen is tinted orange"
