"""An archive that was read fast: loaded again the same way, never mixed, and its drift told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import histoseek as hs
from histoseek.errors import DamagedError, FingerprintError
from histoseek.index.about import About
from histoseek.index.drift import SAMPLE, drift_of
from histoseek.phantom import draw, make_patient

N = 5


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tissue at 80x, which the colour encoder shrinks by 4, as JPEG and as PNG."""
    folder = tmp_path_factory.mktemp("fast")
    for at in range(N):
        picture = Image.fromarray(draw("gland", 1024, 1024, 0.125, make_patient(at), at))
        picture.save(folder / f"{at}.jpg", quality=90)
        picture.save(folder / f"{at}.png")
    return folder


def manifest(home: Path, suffix: str, mpp: float = 0.125) -> hs.Manifest:
    return hs.Manifest.from_items([hs.Item(f"{at}", f"{at}{suffix}", mpp=mpp, group=f"{at}") for at in range(N)], home)


@pytest.fixture(scope="module")
def fast(home: Path) -> hs.Index:
    return hs.Index.build(manifest(home, ".jpg"), hs.load_encoder("color", fast=True), home / "fast.index")


def test_drift_is_that_of_the_stored_vectors_to_those_of_full_decoding(fast: hs.Index, home: Path) -> None:
    full = hs.Index.build(manifest(home, ".jpg"), hs.load_encoder("color"), home / "full.index")
    rows = np.arange(N)
    expected = (fast.rows.vectors(rows).astype(float) * full.rows.vectors(rows)).sum(axis=1)
    drift = drift_of(fast)
    np.testing.assert_allclose(drift.cosines, expected, atol=1e-6)
    assert 0.98 < expected.min() < 0.99999
    assert f"{expected.min():.4f} at the smallest" in drift.told
    assert f"{N} of {N} sampled items are JPEG files" in drift.told


def test_what_is_no_jpeg_or_hardly_shrunk_does_not_drift(home: Path) -> None:
    for name, items in (("png", manifest(home, ".png")), ("near", manifest(home, ".jpg", 0.2))):
        index = hs.Index.build(items, hs.load_encoder("color", fast=True), home / f"{name}.index")
        assert f"changed nothing: none of {N} sampled items" in drift_of(index).told


def test_a_sample_is_small_and_spread(fast: hs.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    assert SAMPLE == 32
    monkeypatch.setattr("histoseek.index.drift.SAMPLE", 3)
    drift = drift_of(fast)
    assert (drift.n_items, len(drift.cosines)) == (3, 3)


def test_items_that_are_gone_are_left_out(fast: hs.Index, home: Path, tmp_path: Path) -> None:
    (tmp_path / "0.jpg").write_bytes((home / "0.jpg").read_bytes())
    assert len(drift_of(hs.Index.open(fast.path, root=tmp_path)).cosines) == 1


def test_an_index_loads_its_encoder_with_the_decoding_that_made_it(fast: hs.Index, home: Path) -> None:
    again = hs.Index.open(fast.path)
    assert again.encoder.fingerprint == fast.about.fingerprint
    assert again.search(image=home / "3.jpg", mpp=0.125, k=1)[0].score == pytest.approx(1, abs=1e-6)
    with pytest.raises(FingerprintError, match=r"'color' at f32 with scaled decoding .* and 'color' at f32 \("):
        hs.Index.open(fast.path, hs.load_encoder("color"))


def test_an_index_that_does_not_say_how_it_was_decoded_was_decoded_in_full(fast: hs.Index) -> None:
    kept = json.loads((fast.path / "index.json").read_text())
    assert kept["fingerprint"]["preprocessing"].pop("decoding") == "scaled"
    with pytest.raises(DamagedError, match="checksum"):
        About.of(kept, "x")
    old = About.of({key: value for key, value in kept.items() if key != "checksum"} | {"format": 1}, "x")
    marks = fast.about.fingerprint
    assert old.fingerprint == replace(marks, preprocessing=replace(marks.preprocessing, decoding="full"))
