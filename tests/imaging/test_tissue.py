"""Where tissue is found, on drawn slides with pens, borders and tints."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from histoseek.imaging import find_tissue, image_of, open_slide, share_of
from histoseek.imaging.tissue import MASK_MPP, MOST_PX, Tissue, masks_of
from histoseek.items import Box
from histoseek.phantom import KINDS, draw, draw_field, make_patient, write_slide, write_slides
from histoseek.phantom.field import Field

MPP = 2.0
PENS = {"blue": (25, 50, 150), "green": (20, 120, 70), "red": (215, 30, 50), "black": (28, 26, 30)}


def tissue_of(picture: NDArray[np.uint8], mpp: float = MPP) -> Tissue:
    return find_tissue(image_of(Image.fromarray(picture)), mpp)


def share(tissue: Tissue, mask: NDArray[np.bool_], box: tuple[int, int, int, int]) -> float:
    """Share of a mask in a box of level-0 pixels."""
    x, y, width, height = box
    across, down = tissue.scale
    part = mask[round(y / down) : round((y + height) / down), round(x / across) : round((x + width) / across)]
    return float(part.mean())


@pytest.fixture(scope="module")
def field() -> Field:
    kinds = ("stroma", "gland", "lymphoid", "solid tumour", "necrosis")
    return draw_field(1024, 704, MPP, make_patient(0, 0), 3, kinds)


def with_strokes(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """A stroke over the tissue and a thinner one over glass, which end before the edge."""
    image = Image.fromarray(picture)
    pencil = ImageDraw.Draw(image)
    pencil.line([(200, 200), (800, 500)], fill=colour, width=60)
    pencil.line([(24, 40), (24, 660)], fill=colour, width=24)
    return np.asarray(image)


def test_planted_regions_are_tissue_and_the_rim_is_glass(field: Field) -> None:
    tissue = tissue_of(field.picture)
    assert {kind for kind, box in field.regions if share(tissue, tissue.mask, box) > 0.98} == {
        kind for kind, _ in field.regions
    }
    rim = np.ones_like(tissue.mask)
    rim[4:-4, 4:-4] = False
    assert tissue.mask[rim].mean() < 0.02
    assert tissue.white[rim].mean() > 0.98
    assert not tissue.pen.any()


def test_slides_of_every_scanner_are_found_through_their_levels(tmp_path) -> None:
    folder = write_slides(tmp_path / "s", n_patients=2, slides_each=1, size=(1024, 768))
    truth = json.loads((folder / "truth.json").read_text())
    for name, told in truth.items():
        slide = open_slide(folder / name)
        tissue = find_tissue(slide, told["mpp"])
        slide.close()
        assert all(share(tissue, tissue.mask, region["box"]) > 0.95 for region in told["regions"])
        assert 0.4 < tissue.mask.mean() < 0.95


def test_mask_has_about_8_um_a_pixel_and_more_of_them_on_small_images(field: Field) -> None:
    class Plain:
        """A reader of a size, all white."""

        mpp = 0.25
        asked: tuple[int, int] = (0, 0)

        def __init__(self, width: int, height: int) -> None:
            self.size = (width, height)
            self.levels = (self.size,)

        def read(self, box: Box, out: tuple[int, int], *how: str) -> NDArray[np.uint8]:
            assert box == Box(0, 0, *self.size)
            self.asked = out
            return np.full((out[1], out[0], 3), 255, dtype=np.uint8)

        def close(self) -> None:
            pass

    for size, mask in (
        ((64_000, 32_000), (2000, 1000)),
        ((4096, 2048), (256, 128)),
        ((100, 60), (100, 60)),
        ((400_000, 20_000), (MOST_PX, MOST_PX // 20)),
    ):
        reader = Plain(*size)
        tissue = find_tissue(reader, 0.25)
        assert reader.asked == mask
        assert tissue.mask.shape == (mask[1], mask[0])
        assert tissue.scale == pytest.approx((size[0] / mask[0], size[1] / mask[1]))


@pytest.mark.parametrize("kind", ["stroma", "gland", "solid tumour", "mucin"])
def test_an_image_that_is_all_tissue_stays_all_tissue(kind: str) -> None:
    assert tissue_of(draw(kind, 384, 384, 0.5, make_patient(1, 0), 5), 0.5).mask.mean() > 0.99


@pytest.mark.parametrize("glass", [(255, 255, 255), (244, 240, 228), (225, 228, 238), (243, 238, 243), (200, 200, 200)])
def test_empty_slides_have_no_tissue(glass: tuple[int, int, int]) -> None:
    noise = np.random.default_rng(0).normal(0, 3, (400, 500, 3))
    empty = np.clip(np.array(glass) + noise, 0, 255).astype(np.uint8)
    assert not tissue_of(empty).mask.any()
    assert not tissue_of(empty, 0.5).mask.any()


def test_tinted_glass_is_corrected(field: Field) -> None:
    plain = tissue_of(field.picture)
    tint = np.array([1.0, 0.97, 0.9])
    tinted = tissue_of((field.picture * tint).astype(np.uint8))
    assert (plain.mask != tinted.mask).mean() < 0.02


@pytest.mark.parametrize("colour", PENS)
def test_pen_is_excluded_and_what_lies_beside_it_stays(field: Field, colour: str) -> None:
    plain, marked = tissue_of(field.picture), tissue_of(with_strokes(field.picture, PENS[colour]))
    stroke = (480, 340, 40, 20)
    assert share(plain, plain.mask, stroke) > 0.9
    assert share(marked, marked.mask, stroke) == 0
    assert share(marked, marked.pen, stroke) == 1
    assert marked.mask[marked.pen].sum() == 0
    on_glass = (14, 200, 20, 200)
    assert share(marked, marked.mask, on_glass) == 0
    away = (700, 120, 200, 200)
    assert share(marked, marked.mask, away) == pytest.approx(share(plain, plain.mask, away), abs=0.02)


def test_black_border_is_no_tissue_and_no_pen(field: Field) -> None:
    picture = field.picture.copy()
    picture[:60], picture[:, :80] = 0, 0
    tissue = tissue_of(picture)
    assert share(tissue, tissue.mask, (0, 0, 1024, 60)) == 0
    assert share(tissue, tissue.mask, (0, 0, 80, 704)) == 0
    assert not tissue.pen.any()
    assert not share(tissue, tissue.white, (0, 0, 1024, 56))
    assert tissue.mask.mean() > 0.5


def test_other_stains_are_tissue_and_no_pen() -> None:
    rng = np.random.default_rng(1)
    for colour in ((120, 80, 50), (70, 45, 25), (190, 200, 225), (150, 165, 205), (60, 40, 90), (200, 60, 80)):
        picture = np.full((200, 200, 3), 244, dtype=np.uint8)
        picture[40:160, 40:160] = np.clip(np.array(colour) + rng.normal(0, 8, (120, 120, 3)), 0, 255).astype(np.uint8)
        mask, pen, _ = masks_of(picture, MASK_MPP)
        assert mask[45:155, 45:155].all(), colour
        assert not pen.any(), colour
        assert not mask[:30].any()


def test_specks_go_and_small_holes_are_filled() -> None:
    picture = np.full((300, 300, 3), 244, dtype=np.uint8)
    pink = (200, 120, 180)
    picture[50:200, 50:200] = pink
    picture[100:125, 100:125] = 244  # 0.04 mm²: filled
    picture[140:190, 140:190] = 244  # 0.16 mm²: a hole
    picture[250:255, 250:255] = pink  # 0.0016 mm²: a speck
    picture[250:270, 60:80] = pink  # 0.026 mm²: tissue
    mask, _, white = masks_of(picture, MASK_MPP)
    assert mask[112, 112] and white[112, 112]
    assert not mask[165, 165]
    assert not mask[248:258, 248:258].any()
    assert mask[260, 70]


def test_grey_silver_stain_is_tissue() -> None:
    picture = np.full((200, 200, 3), 244, dtype=np.uint8)
    picture[40:160, 40:160] = (120, 120, 122)
    assert masks_of(picture, MASK_MPP)[0][50:150, 50:150].all()


def test_the_picture_is_rebuilt_from_the_slide(tmp_path, field: Field) -> None:
    slide = open_slide(write_slide(tmp_path / "a.tif", field.picture, MPP))
    tissue = find_tissue(slide, MPP)
    slide.close()
    assert tissue.picture.shape == (*tissue.mask.shape, 3)
    assert abs(float(tissue.picture.mean()) - float(field.picture.mean())) < 2


GLASS = (244, 243, 245)


@pytest.fixture(scope="module")
def close_field() -> Field:
    return draw_field(1400, 1000, 0.5, make_patient(2), 5, ("gland", "stroma"))


def test_drawn_tissue_is_found_and_glass_is_not(close_field: Field) -> None:
    tissue = find_tissue(image_of(Image.fromarray(close_field.picture)), 0.5)
    boxes = np.array([region.box for region in close_field.regions])
    assert share_of(tissue.mask, boxes, tissue.scale).min() > 0.85
    corners = np.array([(0, 0, 40, 40), (1360, 0, 40, 40), (0, 960, 40, 40), (1360, 960, 40, 40)])
    assert share_of(tissue.mask, corners, tissue.scale).max() == 0
    assert share_of(tissue.white, corners, tissue.scale).min() == 1


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "fat"])
@pytest.mark.parametrize("patient", [1, 4])
def test_a_region_that_is_all_tissue_stays_all_tissue(kind: str, patient: int) -> None:
    picture = draw(kind, 512, 512, 2.0, make_patient(patient), 3)
    tissue = find_tissue(image_of(Image.fromarray(picture)), 2.0)
    assert tissue.mask.mean() > 0.8


def test_an_empty_slide_of_any_glass_has_no_tissue() -> None:
    rng = np.random.default_rng(0)
    for glass in (GLASS, (235, 240, 228), (255, 255, 255)):
        noise = np.clip(rng.normal(0, 2, (500, 700, 3)) + glass, 0, 255).astype(np.uint8)
        assert not find_tissue(image_of(Image.fromarray(noise)), 8.0).mask.any()


@pytest.mark.parametrize("ink", [(20, 40, 160), (20, 120, 60), (200, 30, 40), (15, 15, 18), (30, 130, 170)])
def test_pen_and_black_borders_are_no_tissue(close_field: Field, ink: tuple[int, int, int]) -> None:
    marked = Image.fromarray(close_field.picture).resize((700, 500))
    draw_on = ImageDraw.Draw(marked)
    draw_on.line((4, 495, 690, 488), fill=ink, width=9)
    draw_on.rectangle((0, 0, 12, 500), fill=(0, 0, 0))
    mask, pen, _ = masks_of(np.asarray(marked), 4.0)
    assert not mask[:, :12].any()
    clean, clean_pen, _ = masks_of(np.asarray(Image.fromarray(close_field.picture).resize((700, 500))), 4.0)
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


def test_specks_go_and_holes_stay() -> None:
    picture = np.full((500, 500, 3), GLASS, np.uint8)
    picture[100:400, 100:400] = (190, 90, 150)
    picture[200:220, 200:220] = GLASS  # 0.026 mm² at 8 µm
    picture[250:350, 250:350] = GLASS  # 0.64 mm²
    picture[20:26, 20:26] = (190, 90, 150)  # 0.002 mm²
    mask, _, _ = masks_of(picture, 8.0)
    assert mask[205:215, 205:215].all()
    assert not mask[260:340, 260:340].any()
    assert not mask[:40, :40].any()
