"""The encoder that ships with Histoseek, as a user without PyTorch meets it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from histoseek.encoders import known_encoders, load_encoder
from histoseek.encoders.bundled import BUNDLED, DEFAULT
from histoseek.encoders.encoder import loadable_name
from histoseek.encoders.loading import MODEL_DIR
from histoseek.errors import DamagedError
from histoseek.phantom import draw, make_patient

LARGEST_BYTES = 20_000_000


def test_mini_reads_pictures_and_words_under_its_own_name() -> None:
    encoder = load_encoder("mini")
    assert DEFAULT == "mini" and loadable_name(encoder.card) == "mini"
    assert encoder.card.has_text and encoder.card.commercial_use
    side = encoder.fingerprint.preprocessing.view_px
    views = [draw(kind, side, side, 0.8, make_patient(1), 3) for kind in ("fat", "gland", "lymphoid")]
    rows = encoder.embed_images(views)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert (rows @ rows.T)[np.triu_indices(3, 1)].max() < 0.99
    assert encoder.embed_texts(["colon", "a slide of fat necrosis"]).shape == (2, encoder.card.dim)


def test_the_folder_fits_into_the_wheel() -> None:
    files = [path for path in BUNDLED["mini"].rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= LARGEST_BYTES


def test_the_list_shows_it_first_with_its_licence() -> None:
    card = known_encoders()[0]
    assert card.name == "mini" and "Apache-2.0" in card.licence and not card.folder


def test_the_network_to_train_from_is_the_one_that_runs() -> None:
    encoder = load_encoder("mini")
    network = load_encoder(BUNDLED["mini"] / MODEL_DIR, mpp=encoder.fingerprint.preprocessing.mpp)
    side = encoder.fingerprint.preprocessing.view_px
    assert network.fingerprint.preprocessing == encoder.fingerprint.preprocessing
    views = [draw(kind, side, side, 0.8, make_patient(2), 5) for kind in ("fat", "gland", "mucin")]
    assert (encoder.embed_images(views) * network.embed_images(views)).sum(axis=1).min() > 0.999
    words = ["normal liver", "malignant tumour of the pancreas"]
    assert (encoder.embed_texts(words) * network.embed_texts(words)).sum(axis=1).min() > 0.999


def test_a_bundled_folder_that_is_gone_is_said_to_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(BUNDLED, "small", tmp_path)
    with pytest.raises(DamagedError, match=r"encoder\.json cannot be read"):
        load_encoder("small")
