"""What every encoder keeps, whatever runs inside it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from histoseek.encoders import Encoder, describe, load_encoder
from histoseek.encoders.encoder import Paced, loadable_name
from histoseek.encoders.loading import load_again
from histoseek.errors import EncoderError
from tests.encoders.conftest import exported, loaded, model_folder, shared_dir, some_views

__all__ = ["exported", "loaded", "model_folder", "shared_dir"]
"""Fixtures taken over from the encoders' own tests."""

NAMES = ("color", "hf", "folder")
TEXTS = ["invasive carcinoma of the breast", "tumour", "normal colon mucosa"]


@pytest.fixture(scope="module")
def places(model_folder: Callable[[str], Path], exported: Callable[[str], Path]) -> dict[str, str]:
    """What `load_encoder` takes, by family: the colour histogram, a model folder, an encoder folder."""
    return {"color": "color", "hf": str(model_folder("clip")), "folder": str(exported("clip"))}


@pytest.fixture(scope="module", params=NAMES)
def encoder(request: pytest.FixtureRequest, places: dict[str, str]) -> Encoder:
    return load_encoder(places[request.param])


@pytest.fixture
def views(encoder: Encoder) -> list[NDArray[np.uint8]]:
    return some_views(encoder.fingerprint.preprocessing.view_px)


def test_images_become_unit_rows(encoder: Encoder, views: list[NDArray[np.uint8]]) -> None:
    rows = encoder.embed_images(views)
    assert rows.shape == (len(views), encoder.card.dim)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert len({row.tobytes() for row in rows}) == len(views)


def test_a_row_depends_on_its_view_and_stands_at_its_place(encoder: Encoder, views: list[NDArray[np.uint8]]) -> None:
    rows = encoder.embed_images(views)
    np.testing.assert_allclose(encoder.embed_images(views[::-1])[::-1], rows, atol=2e-6)
    for row, view in zip(rows, views, strict=True):
        np.testing.assert_allclose(encoder.embed_images([view])[0], row, atol=2e-6)


def test_views_are_left_as_they_were(encoder: Encoder, views: list[NDArray[np.uint8]]) -> None:
    before = [view.copy() for view in views]
    for view in views:
        view.flags.writeable = False
    encoder.embed_images(views)
    assert all((one == other).all() for one, other in zip(views, before, strict=True))


def test_views_need_not_be_contiguous(encoder: Encoder, views: list[NDArray[np.uint8]]) -> None:
    turned = [view.transpose(1, 0, 2) for view in views]
    copies = [np.ascontiguousarray(view) for view in turned]
    np.testing.assert_allclose(encoder.embed_images(turned), encoder.embed_images(copies), atol=2e-6)


def test_as_many_threads_may_call_as_its_pace_says(encoder: Encoder, views: list[NDArray[np.uint8]]) -> None:
    if not isinstance(encoder, Paced):
        pytest.skip("it is called by one thread at a time")
    rows = encoder.embed_images(views)
    with ThreadPoolExecutor(encoder.pace.calls) as pool:
        for again in pool.map(encoder.embed_images, [views] * 12):
            np.testing.assert_allclose(again, rows, atol=2e-6)


def test_no_views_are_no_rows(encoder: Encoder) -> None:
    assert encoder.embed_images([]).shape == (0, encoder.card.dim)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda view: view[:-1],
        lambda view: view[..., :1],
        lambda view: view[..., 0],
        lambda view: view.astype(np.float32),
        lambda view: view.tolist(),
    ],
)
def test_a_view_of_another_form_is_refused(encoder: Encoder, views: list[NDArray[np.uint8]], spoil: object) -> None:
    side = encoder.fingerprint.preprocessing.view_px
    with pytest.raises(EncoderError) as refused:
        encoder.embed_images([views[0], spoil(views[1])])  # type: ignore[operator]
    assert "view 1 is" in str(refused.value)
    assert f"[{side}, {side}, 3]" in str(refused.value)


def test_texts_become_unit_rows_or_are_refused(encoder: Encoder) -> None:
    if not encoder.card.has_text:
        with pytest.raises(EncoderError, match="no text tower"):
            encoder.embed_texts(TEXTS)
        return
    rows = encoder.embed_texts(TEXTS)
    assert rows.shape == (len(TEXTS), encoder.card.dim)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(encoder.embed_texts(TEXTS[::-1])[::-1], rows, atol=2e-6)
    np.testing.assert_allclose(encoder.embed_texts(TEXTS[:1])[0], rows[0], atol=2e-6)
    assert encoder.embed_texts([]).shape == (0, encoder.card.dim)
    with pytest.raises(EncoderError, match="list of strings"):
        encoder.embed_texts("tumour")


def test_card_and_fingerprint_agree(encoder: Encoder) -> None:
    assert encoder.fingerprint.encoder == encoder.card.name
    assert encoder.fingerprint.precision == "f32"
    assert len(encoder.fingerprint.weights_sha256) == 64
    assert encoder.card.licence
    assert describe(encoder)["dim"] == encoder.card.dim


def test_fast_decoding_is_another_fingerprint_of_the_same_vectors(
    encoder: Encoder, views: list[NDArray[np.uint8]], places: dict[str, str], request: pytest.FixtureRequest
) -> None:
    fast = load_encoder(places[request.node.callspec.params["encoder"]], fast=True, mpp=0.7)
    assert (fast.fingerprint.preprocessing.decoding, fast.fingerprint.preprocessing.mpp) == ("scaled", 0.7)
    slow = replace(fast.fingerprint, preprocessing=encoder.fingerprint.preprocessing)
    assert slow == encoder.fingerprint
    assert describe(fast)["decoding"] == "scaled"
    np.testing.assert_allclose(fast.embed_images(views), encoder.embed_images(views), atol=2e-6)
    again = load_again(places[request.node.callspec.params["encoder"]], fast.fingerprint)
    assert again.fingerprint == fast.fingerprint


def test_auto_becomes_a_precision_before_the_fingerprint_is_made(
    places: dict[str, str], request: pytest.FixtureRequest, encoder: Encoder
) -> None:
    chosen = load_encoder(places[request.node.callspec.params["encoder"]], precision="auto").fingerprint.precision
    assert chosen in ("f32", "bf16", "f16")
    asked = load_encoder(places[request.node.callspec.params["encoder"]], precision=chosen)
    assert asked.fingerprint.precision == chosen


def test_fingerprints_are_the_same_in_another_process(places: dict[str, str]) -> None:
    code = (
        "import sys; from histoseek.encoders import load_encoder;"
        "print(*(load_encoder(place).fingerprint.digest for place in sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, *places.values()]
    there = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert there == [load_encoder(place).fingerprint.digest for place in places.values()]
    assert len(set(there)) == len(places)


@pytest.mark.parametrize("form", [*NAMES, "hf:DIR"])
def test_the_card_says_how_to_load_it_again_from_anywhere(
    form: str, places: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = places["hf" if form == "hf:DIR" else form]
    if form != "color":
        monkeypatch.chdir(Path(place).parent)
        place = Path(place).name
    encoder = load_encoder(f"hf:{place}" if form == "hf:DIR" else place)
    monkeypatch.chdir(tmp_path)
    again = load_encoder(loadable_name(encoder.card))
    assert again.fingerprint == encoder.fingerprint
    assert again.card == encoder.card


def test_an_encoder_folder_runs_without_pytorch(places: dict[str, str], tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from histoseek.encoders import load_encoder;"
        f"e = load_encoder({places['folder']!r}); e.embed_texts(['tumour']);"
        "assert not {'transformers', 'onnx', 'onnxscript', 'huggingface_hub'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=tmp_path)
