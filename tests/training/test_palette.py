"""Colour transfer: LAB is LAB, tissue takes the template's colours, glass keeps its own, a palette survives JSON."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from histoseek.errors import InputError
from histoseek.phantom import draw, make_patient
from histoseek.training.palette import (
    FARTHEST,
    STRETCH,
    Palette,
    draw_template,
    fit_palette,
    lab_to_rgb,
    match_template,
    rgb_to_lab,
    tissue_moments,
    transfer,
)

Pixels = NDArray[np.uint8]
GLASS = 255


@pytest.fixture(scope="module")
def views() -> list[Pixels]:
    """One view of each of eight patients."""
    kinds = ("stroma", "solid tumour", "gland", "necrosis")
    return [draw(kinds[seed % 4], 96, 96, 1.0, make_patient(seed), seed) for seed in range(8)]


@pytest.fixture(scope="module")
def palette(views: list[Pixels]) -> Palette:
    return fit_palette(views)


def moments(view: Pixels) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    found = tissue_moments(view)
    assert found is not None
    return found


# The corners of sRGB under D65 as they are commonly tabulated, and the grey of half the lightness.
@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((255, 255, 255), (100.0, 0.0, 0.0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((0, 0, 0), (0.0, 0.0, 0.0)),
        ((119, 119, 119), (50.03, 0.0, 0.0)),
    ],
)
def test_lab_is_cielab(rgb: tuple[int, int, int], lab: tuple[float, float, float]) -> None:
    np.testing.assert_allclose(rgb_to_lab(np.array([[rgb]], np.uint8))[0, 0], lab, atol=0.02)


def test_lab_and_back_is_where_it_began() -> None:
    level = np.append(np.arange(0, 256, 15), [1, 2, 3]).astype(np.uint8)
    every = np.stack(np.meshgrid(level, level, level), axis=-1).reshape(len(level), -1, 3)
    assert np.abs(lab_to_rgb(rgb_to_lab(every)).astype(int) - every).max() <= 1


def test_matching_moves_tissue_to_the_template() -> None:
    view = draw("stroma", 96, 96, 1.0, make_patient(3), 5)
    mean, deviation = moments(view)
    for shift, stretch in (((-8, 5, -4), 1.2), ((4, -6, 5), 0.8)):
        wanted = mean + np.array(shift, np.float32)
        got_mean, got_deviation = moments(match_template(view, wanted, deviation * stretch))
        np.testing.assert_allclose(got_mean, wanted, atol=1.5)
        np.testing.assert_allclose(got_deviation / deviation, stretch, atol=0.12)


def test_transfer_goes_to_the_template_it_draws(views: list[Pixels], palette: Palette) -> None:
    nearer = []
    for seed in range(8):
        mean, _ = draw_template(palette, np.random.default_rng(seed))
        before, after = views[seed], transfer(views[seed], palette, np.random.default_rng(seed))
        nearer.append(np.abs(moments(after)[0] - mean).max() / np.abs(moments(before)[0] - mean).max())
    assert np.median(nearer) < 0.15, nearer


def test_transfer_draws_only_from_the_generator(views: list[Pixels], palette: Palette) -> None:
    kept = views[0].copy()
    first, again, other = (transfer(views[0], palette, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(views[0], kept)


def test_glass_stays_glass() -> None:
    view = draw("stroma", 96, 96, 1.0, make_patient(0), 1)
    view[:48] = GLASS
    dark = match_template(view, (40.0, 30.0, -20.0), (10.0, 8.0, 8.0))
    assert (dark[:48] == GLASS).all()
    assert dark[48:].mean() < view[48:].mean() - 20


def test_share_of_glass_is_no_colour_of_tissue() -> None:
    full = draw("stroma", 96, 96, 1.0, make_patient(0), 1)
    half = np.concatenate([full, np.full_like(full, GLASS)])
    np.testing.assert_allclose(moments(half), moments(full), atol=1e-3)


def test_bare_glass_is_left_alone_and_not_counted(views: list[Pixels], palette: Palette) -> None:
    glass = np.full((96, 96, 3), 245, np.uint8)
    assert np.array_equal(transfer(glass, palette, np.random.default_rng(0)), glass)
    assert fit_palette([*views, glass]) == palette


def test_noise_of_an_even_view_is_not_blown_up() -> None:
    even = np.random.default_rng(0).normal((190, 120, 170), 3.0, (64, 64, 3)).astype(np.uint8)
    mean, deviation = moments(even)
    after = moments(match_template(even, mean, deviation * 10))[1]
    np.testing.assert_allclose(after / deviation, STRETCH, rtol=0.1)


def test_palette_holds_mean_and_covariance_of_views(views: list[Pixels], palette: Palette) -> None:
    rows = np.array([np.concatenate(moments(view)) for view in views], np.float64)
    np.testing.assert_allclose(palette.mean, rows.mean(axis=0))
    np.testing.assert_allclose(palette.covariance, np.cov(rows.T, bias=True))


def test_templates_vary_as_the_views_do(palette: Palette) -> None:
    rng = np.random.default_rng(0)
    drawn = np.array([np.concatenate(draw_template(palette, rng)) for _ in range(2000)])
    spread = np.sqrt(np.diag(palette.covariance))
    np.testing.assert_allclose(drawn.mean(axis=0)[:3], palette.mean[:3], atol=0.1 * spread[:3].max())
    np.testing.assert_allclose(drawn.std(axis=0)[:3], spread[:3], rtol=0.15)
    expected = np.array(palette.covariance)[:3, :3] / np.outer(spread[:3], spread[:3])
    np.testing.assert_allclose(np.corrcoef(drawn[:, :3].T), expected, atol=0.1)
    assert (drawn[:, 3:] > 0).all()
    assert (np.abs(drawn[:, 0] - palette.mean[0]) <= FARTHEST * spread[0] + 0.1).all()


def test_one_view_is_a_palette_of_its_own_colours(views: list[Pixels]) -> None:
    mean, deviation = draw_template(fit_palette(views[:1]), np.random.default_rng(0))
    np.testing.assert_allclose((mean, deviation), moments(views[0]), atol=0.02)


@pytest.mark.parametrize("views", [[], [np.full((32, 32, 3), 250, np.uint8)]])
def test_no_tissue_is_an_error(views: list[Pixels]) -> None:
    with pytest.raises(InputError, match="transfer=0"):
        fit_palette(views)
