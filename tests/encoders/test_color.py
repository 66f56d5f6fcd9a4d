from __future__ import annotations

import numpy as np
import pytest

from histoseek.encoders import Settings
from histoseek.encoders.color import DIM, ColorEncoder
from histoseek.errors import EncoderError
from tests.encoders.conftest import some_views

VIEWS = some_views(256, n=6)
COLOR = ColorEncoder()


def one(view: np.ndarray) -> np.ndarray:
    return COLOR.embed_images([view])[0]


def test_turning_and_mirroring_change_nothing() -> None:
    for view in VIEWS:
        row = one(view)
        for turns in range(4):
            turned = np.rot90(view, turns)
            np.testing.assert_array_equal(one(turned), row)
            np.testing.assert_array_equal(one(turned[:, ::-1]), row)


def test_a_row_depends_on_its_view_alone() -> None:
    together = COLOR.embed_images(VIEWS)
    for row, view in zip(together, VIEWS, strict=True):
        np.testing.assert_array_equal(one(view), row)


def test_texture_counts_where_colours_are_equal() -> None:
    shuffled = np.random.default_rng(0).permutation(VIEWS[0].reshape(-1, 3)).reshape(VIEWS[0].shape)
    assert one(shuffled) @ one(VIEWS[0]) < 0.97


def test_colour_counts_where_texture_is_equal() -> None:
    assert one(VIEWS[0][..., ::-1].copy()) @ one(VIEWS[0]) < 0.97


def test_like_tissue_lies_closer_than_other_tissue() -> None:
    rng = np.random.default_rng(1)
    again = [np.clip(view + rng.normal(0, 3, view.shape), 0, 255).astype(np.uint8) for view in VIEWS]
    cosines = COLOR.embed_images(VIEWS) @ COLOR.embed_images(again).T
    assert (cosines.argmax(axis=1) == np.arange(len(VIEWS))).all()


@pytest.mark.parametrize("value", [0, 128, 255])
def test_blank_views_have_unit_vectors_too(value: int) -> None:
    row = one(np.full((256, 256, 3), value, np.uint8))
    assert np.isfinite(row).all()
    assert np.linalg.norm(row) == pytest.approx(1, abs=1e-6)


def test_its_size_is_what_the_card_says() -> None:
    assert COLOR.embed_images(VIEWS).shape == (len(VIEWS), DIM)
    assert COLOR.card.dim == DIM == 240


def test_other_precisions_are_refused() -> None:
    assert ColorEncoder(Settings(precision="auto")).fingerprint == COLOR.fingerprint
    with pytest.raises(EncoderError, match="f32 only"):
        ColorEncoder(Settings(precision="bf16"))


def test_another_scale_is_another_fingerprint() -> None:
    assert ColorEncoder(Settings(mpp=1.0)).fingerprint.digest != COLOR.fingerprint.digest
