from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from histoseek.imaging import find_tissue, image_of
from histoseek.imaging.grid import lay_tiles, share_of
from histoseek.imaging.quality import sharpness_of
from histoseek.imaging.tissue import masks_of
from histoseek.phantom import KINDS, draw, draw_field, make_patient

GLASS = (244, 243, 245)


@pytest.fixture(scope="module")
def field():
    return draw_field(1400, 1000, 0.5, make_patient(2), 5, ("gland", "stroma"))


def test_drawn_tissue_is_found_and_glass_is_not(field) -> None:
    tissue = find_tissue(image_of(Image.fromarray(field.picture)), 0.5)
    boxes = np.array([region.box for region in field.regions])
    assert share_of(tissue.mask, boxes, tissue.scale).min() > 0.85
    corners = np.array([(0, 0, 40, 40), (1360, 0, 40, 40), (0, 960, 40, 40), (1360, 960, 40, 40)])
    assert share_of(tissue.mask, corners, tissue.scale).max() == 0
    assert share_of(tissue.white, corners, tissue.scale).min() == 1


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "fat"])
@pytest.mark.parametrize("patient", [1, 4])
def test_a_region_that_is_all_tissue_stays_all_tissue(kind: str, patient: int) -> None:
    picture = draw(kind, 1024, 1024, 2.0, make_patient(patient), 3)
    tissue = find_tissue(image_of(Image.fromarray(picture)), 2.0)
    assert tissue.mask.mean() > 0.8


def test_an_empty_slide_has_no_tissue() -> None:
    rng = np.random.default_rng(0)
    for glass in (GLASS, (235, 240, 228), (255, 255, 255)):
        noise = np.clip(rng.normal(0, 2, (500, 700, 3)) + glass, 0, 255).astype(np.uint8)
        assert not find_tissue(image_of(Image.fromarray(noise)), 8.0).mask.any()


@pytest.mark.parametrize("ink", [(20, 40, 160), (20, 120, 60), (200, 30, 40), (15, 15, 18), (30, 130, 170)])
def test_pen_and_black_borders_are_no_tissue(field, ink: tuple[int, int, int]) -> None:
    marked = Image.fromarray(field.picture).resize((700, 500))
    draw_on = ImageDraw.Draw(marked)
    draw_on.line((4, 495, 690, 488), fill=ink, width=9)
    draw_on.rectangle((0, 0, 12, 500), fill=(0, 0, 0))
    mask, pen, _ = masks_of(np.asarray(marked), 4.0)
    assert not mask[:, :12].any()
    clean, clean_pen, _ = masks_of(np.asarray(Image.fromarray(field.picture).resize((700, 500))), 4.0)
    assert not clean_pen.any()  # stains are no ink
    assert (mask & clean).sum() > 0.95 * clean.sum()
    assert (mask & ~clean).sum() < 0.001 * clean.sum()
    assert pen.any() == (max(ink) > 60)


def test_brown_and_pale_blue_stains_are_tissue() -> None:
    for colour in ((150, 100, 60), (190, 195, 220), (214, 190, 210)):
        picture = np.full((400, 400, 3), GLASS, np.uint8)
        picture[100:300, 100:300] = colour
        mask, pen, _ = masks_of(picture, 4.0)
        assert mask[110:290, 110:290].all() and not mask[:90].any() and not pen.any()


def test_specks_go_and_small_holes_are_filled() -> None:
    picture = np.full((500, 500, 3), GLASS, np.uint8)
    picture[100:400, 100:400] = (190, 90, 150)
    picture[200:220, 200:220] = GLASS  # 0.026 mm² at 8 µm
    picture[250:350, 250:350] = GLASS  # 0.64 mm²
    picture[20:26, 20:26] = (190, 90, 150)  # 0.002 mm²
    mask, _, _ = masks_of(picture, 8.0)
    assert mask[205:215, 205:215].all()
    assert not mask[260:340, 260:340].any()
    assert not mask[:40, :40].any()


def test_tiles_cover_the_grid_row_by_row() -> None:
    boxes = lay_tiles((1000, 500), 200, 0.0)
    assert boxes[:6].tolist() == [[x, 0, 200, 200] for x in range(0, 1000, 200)] + [[0, 200, 200, 200]]
    assert len(boxes) == 5 * 2
    overlapping = lay_tiles((1000, 500), 200, 0.5)
    assert overlapping[:, 0].max() == 800 and np.diff(np.unique(overlapping[:, 0])).tolist() == [100] * 8
    assert lay_tiles((150, 500), 200, 0.0).tolist() == [[0, 0, 150, 200], [0, 200, 150, 200]]


def test_shares_are_those_of_counting_pixels() -> None:
    rng = np.random.default_rng(1)
    mask = rng.random((60, 90)) > 0.5
    boxes = np.column_stack([rng.integers(0, 700, 200), rng.integers(0, 400, 200), np.full((200, 2), 160)])
    shares = share_of(mask, boxes, (10.0, 10.0))
    for (x, y, width, height), share in zip(boxes.tolist(), shares, strict=True):
        part = mask[round(y / 10) : round((y + height) / 10), round(x / 10) : round((x + width) / 10)]
        assert share == pytest.approx(part.mean(), abs=1e-6)


def test_blurred_tiles_are_less_sharp(field) -> None:
    from PIL import ImageFilter

    tile = Image.fromarray(field.picture[200:456, 200:456])
    sharp, soft = (sharpness_of(np.asarray(one)) for one in (tile, tile.filter(ImageFilter.GaussianBlur(2))))
    assert soft < 0.2 * sharp
