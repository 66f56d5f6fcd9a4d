"""Changes of a view: each does what it says and no more, and the generator alone decides."""

from __future__ import annotations

import colorsys
from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from histoseek.errors import InputError
from histoseek.imaging.stain import combine_stains, separate_stains
from histoseek.phantom import draw, make_patient
from histoseek.training.augmentation import (
    LIMITS,
    MESH,
    NONE,
    QUALITY,
    Augmentation,
    augment,
    brighten,
    compress,
    jitter_stain,
    pull,
    restain,
    scale_factor,
)
from histoseek.training.palette import Palette, fit_palette

Pixels = NDArray[np.uint8]
SIDE = 96


@pytest.fixture(scope="module")
def view() -> Pixels:
    return draw("gland", SIDE, SIDE, 1.0, make_patient(1), 4)


@pytest.fixture(scope="module")
def palette() -> Palette:
    return fit_palette(draw("stroma", 64, 64, 1.0, make_patient(seed), seed) for seed in range(4))


def only(**numbers: Any) -> Augmentation:
    return replace(NONE, **numbers)


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def symmetries(view: Pixels) -> list[bytes]:
    """The eight, each written out index by index."""
    y, x = np.mgrid[:SIDE, :SIDE]
    last = SIDE - 1
    places = [(y, x), (last - y, x), (y, last - x), (last - y, last - x)]
    return [view[a, b].tobytes() for a, b in places] + [view[b, a].tobytes() for a, b in places]


def hue(pixels: Pixels) -> float:
    red, green, blue = pixels.reshape(-1, 3).mean(axis=0) / 255
    return colorsys.rgb_to_hsv(red, green, blue)[0]


def test_none_changes_nothing_and_gives_a_copy(view: Pixels, palette: Palette) -> None:
    got = augment(view, NONE, rng_of(0), palette)
    assert np.array_equal(got, view)
    assert not np.shares_memory(got, view)


def test_turns_are_the_eight_symmetries_and_nothing_else(view: Pixels) -> None:
    rng = rng_of(0)
    seen = [augment(view, only(turns=True), rng).tobytes() for _ in range(400)]
    all_eight = symmetries(view)
    assert len(set(all_eight)) == 8
    assert set(seen) == set(all_eight)
    assert min(seen.count(one) for one in all_eight) > 25


@pytest.mark.parametrize("name", ["stain", "transfer", "blur", "jpeg", "elastic", "brightness"])
def test_each_change_alone_changes_pixels_and_keeps_the_shape(name: str, view: Pixels, palette: Palette) -> None:
    kept = view.copy()
    got = augment(view, only(**{name: min(LIMITS[name], 1.0)}), rng_of(3), palette)
    assert got.shape == view.shape
    assert got.dtype == np.uint8
    assert got.flags.writeable
    assert not np.array_equal(got, view)
    assert np.array_equal(view, kept), "the caller's pixels were changed"


def test_same_generator_gives_the_same_view(view: Pixels, palette: Palette) -> None:
    how = Augmentation(transfer=0.7, blur=0.7, jpeg=0.7, elastic=0.7)
    first, again = ([augment(view, how, rng_of(seed), palette) for seed in range(6)] for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert len({one.tobytes() for one in first}) == 6


@pytest.mark.parametrize("name", ["transfer", "blur", "jpeg", "elastic"])
def test_probabilities_are_probabilities(name: str, palette: Palette) -> None:
    small = draw("gland", 32, 32, 1.0, make_patient(1), 4)
    rng = rng_of(0)
    changed = sum(not np.array_equal(augment(small, only(**{name: 0.3}), rng, palette), small) for _ in range(300))
    assert 60 < changed < 120


def test_no_colours_are_transferred_without_a_palette(view: Pixels) -> None:
    assert np.array_equal(augment(view, only(transfer=1.0), rng_of(0)), view)


def test_scale_is_a_power_of_two_around_one() -> None:
    rng = rng_of(0)
    drawn = np.log2([scale_factor(only(scale=0.5), rng) for _ in range(2000)])
    assert -0.5 <= drawn.min() < -0.48
    assert 0.48 < drawn.max() <= 0.5
    assert abs(drawn.mean()) < 0.03
    assert scale_factor(NONE, rng) == 1.0


def test_stain_jitter_of_no_strength_is_the_identity() -> None:
    every = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    every[:2] = 0, 0, 0
    every[2:4] = 255, 255, 255
    got = jitter_stain(every, 0.0, rng_of(0))
    assert np.abs(got.astype(int) - every).max() <= 1


def test_restain_scales_and_shifts_each_stain_by_its_own_number() -> None:
    amounts = np.random.default_rng(0).uniform((0.35, 0.25, 0.0), (0.6, 0.5, 0.05), (40, 40, 3)).astype(np.float32)
    view = combine_stains(amounts)
    for factor, shift in (((1.3, 0.8, 1.0), (0, 0, 0)), ((1, 1, 1), (0.1, -0.05, 0.02)), ((0.7, 1.2, 1), (0, 0.1, 0))):
        got = separate_stains(restain(view, factor, shift))
        np.testing.assert_allclose(got, separate_stains(view) * factor + shift, atol=0.03)


def test_stain_jitter_stays_within_its_strength() -> None:
    amounts = np.full((8, 8, 3), (0.5, 0.4, 0.0), np.float32)
    view, rng = combine_stains(amounts), rng_of(0)
    got = np.array([separate_stains(jitter_stain(view, 0.2, rng)).mean(axis=(0, 1)) for _ in range(400)])
    moved = got - separate_stains(view).mean(axis=(0, 1))
    most = 0.2 * np.array([0.5 + 0.5, 0.4 + 0.5, 0.15])
    assert (np.abs(moved) <= most + 0.02).all()
    assert (np.abs(moved).max(axis=0) > 0.7 * most).all(), "some stain is hardly changed"
    assert np.abs(np.corrcoef(moved[:, :2].T)[0, 1]) < 0.2, "stains move together"


def test_stain_jitter_keeps_glass_white_and_changes_the_hue_of_tissue() -> None:
    glass = np.full((32, 32, 3), (243, 241, 244), np.uint8)
    tissue = draw("stroma", 64, 64, 1.0, make_patient(0), 2)
    glasses = np.array([jitter_stain(glass, 0.2, rng_of(seed))[0, 0] for seed in range(40)], int)
    hues = [hue(jitter_stain(tissue, 0.2, rng_of(seed))) for seed in range(40)]
    assert glasses.min() > 232
    assert (glasses.max(axis=1) - glasses.min(axis=1)).max() < 10, "glass took up colour"
    apart = np.abs((np.array(hues) - hue(tissue) + 0.5) % 1 - 0.5)
    assert np.median(apart) > 0.01


def test_brightness_multiplies_light_within_its_strength() -> None:
    grey = np.full((8, 8, 3), 100, np.uint8)
    rng = rng_of(0)
    levels = np.array([augment(grey, only(brightness=0.2), rng)[0, 0, 0] for _ in range(500)], int)
    assert 80 <= levels.min() < 83
    assert 117 < levels.max() <= 120


def test_light_that_is_too_bright_is_white() -> None:
    pale = np.full((8, 8, 3), (250, 240, 200), np.uint8)
    assert (brighten(pale, 1.5) == 255).all()
    assert restain(pale, (-1, -1, -1), (0, 0, 0)).min() >= 254


def test_blur_takes_away_detail_and_keeps_colour(view: Pixels) -> None:
    soft = augment(view, only(blur=1.0), rng_of(1))
    edges = [np.abs(np.diff(one.astype(int), axis=1)).mean() for one in (view, soft)]
    assert edges[1] < 0.9 * edges[0]
    np.testing.assert_allclose(soft.mean(axis=(0, 1)), view.mean(axis=(0, 1)), atol=1.0)


def test_jpeg_is_the_coarser_the_lower_its_quality(view: Pixels) -> None:
    error = [np.abs(compress(view, quality).astype(int) - view).mean() for quality in QUALITY]
    assert 0 < error[1] < error[0] < 12


def test_elastic_moves_what_is_inside_and_leaves_no_holes() -> None:
    bright = np.full((SIDE, SIDE, 3), 200, np.uint8)
    assert all((pull(bright, rng_of(seed)) == 200).all() for seed in range(10)), "a hole at the border"
    ramp = np.broadcast_to(np.linspace(0, 240, SIDE)[None, :, None], (SIDE, SIDE, 3)).astype(np.uint8)
    moved_px = (pull(ramp, rng_of(0)).astype(float) - ramp)[..., 0] * SIDE / 240
    assert 0.5 < np.abs(moved_px).mean() < SIDE / MESH / 2
    assert np.abs(moved_px[:, (0, -1)]).max() < 2, "the border was pulled in"
    assert (np.diff(pull(ramp, rng_of(0)).astype(int), axis=1) >= 0).all(), "the mesh folded"


@pytest.mark.parametrize("name", sorted(LIMITS))
@pytest.mark.parametrize("wrong", [-0.1, 5.0, float("nan")])
def test_numbers_out_of_range_are_refused(name: str, wrong: float) -> None:
    with pytest.raises(InputError, match=name):
        Augmentation(**{name: wrong})  # type: ignore[arg-type]


def test_turns_are_on_or_off() -> None:
    number: Any = 0.0
    assert asdict(Augmentation(turns=number))["turns"] is False
    number = 0.5
    with pytest.raises(InputError, match="turns"):
        Augmentation(turns=number)


def test_every_number_has_a_limit_and_none_is_all_off() -> None:
    assert {field.name for field in fields(Augmentation)} == {"turns", *LIMITS}
    assert not any(asdict(NONE).values())
