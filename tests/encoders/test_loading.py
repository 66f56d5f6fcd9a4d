from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from histoseek.encoders import Settings, describe, known_encoders, load_encoder, loading
from histoseek.encoders.bundled import BUNDLED
from histoseek.encoders.color import ColorEncoder
from histoseek.encoders.encoder import Fingerprint, Preprocessing
from histoseek.errors import EncoderError, MissingExtraError


def outsider(rest: str, settings: Settings) -> ColorEncoder:
    return ColorEncoder(Settings(mpp=float(rest)))


def test_importing_the_room_loads_nothing_heavy() -> None:
    code = (
        "import sys, histoseek.encoders as e; e.load_encoder('color'); e.known_encoders();"
        "heavy = {'torch', 'transformers', 'openvino', 'onnx', 'tokenizers', 'huggingface_hub', 'safetensors'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("colour", "did you mean 'color'?"),
        ("openai/clip-vit-base-patch16", "did you mean 'hf:openai/clip-vit-base-patch16'?"),
        ("hf:", "hf:ORGANISATION/MODEL"),
        ("color:x", "see `histoseek encoders list`"),
        ("nothing/like/this", "the path of an encoder folder"),
        ("", "Histoseek loads mini, color"),
    ],
)
def test_an_unknown_name_is_met_with_what_exists(name: str, hint: str) -> None:
    with pytest.raises(EncoderError) as refused:
        load_encoder(name)
    assert hint in str(refused.value)


def test_a_folder_that_is_no_encoder(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"neither encoder\.json .* nor config\.json"):
        load_encoder(tmp_path)
    with pytest.raises(EncoderError, match="there is no folder"):
        load_encoder(tmp_path / "missing")


def test_a_folder_of_open_clip_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "open_clip_config.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "open_clip", None)
    monkeypatch.delitem(sys.modules, "histoseek.encoders.openclip", raising=False)
    with pytest.raises(MissingExtraError, match="needs the openclip extra"):
        load_encoder(tmp_path)


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("hf:lab/model", "transformers", "torch"), ("openclip:ViT-B-32/laion2b_s34b_b79k", "open_clip", "openclip")],
)
def test_a_missing_extra_is_named(name: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    for module in ("huggingface", "openclip"):
        monkeypatch.delitem(sys.modules, f"histoseek.encoders.{module}", raising=False)
    with pytest.raises(MissingExtraError) as refused:
        load_encoder(name)
    assert f"needs the {extra} extra" in str(refused.value)
    assert f"pip install 'histoseek[{extra}]'" in str(refused.value)


def test_outsiders_join_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = (
        EntryPoint("theirs", "tests.encoders.test_loading:outsider", loading.GROUP),
        EntryPoint("broken", "no_such_module:load", loading.GROUP),
    )
    monkeypatch.setattr(loading, "_outsiders", lambda: entries)
    assert load_encoder("theirs:0.75").fingerprint.preprocessing.mpp == 0.75
    with pytest.raises(EncoderError, match=r"'broken'.*cannot be imported"):
        load_encoder("broken:x")
    with pytest.raises(EncoderError, match="theirs"):
        load_encoder("unheard-of")


def test_an_outsider_that_does_not_know_a_setting_is_not_taken_for_one_that_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = EntryPoint("theirs", "tests.encoders.test_loading:outsider", loading.GROUP)
    monkeypatch.setattr(loading, "_outsiders", lambda: (entry,))
    with pytest.raises(EncoderError, match="'theirs' does not know fast decoding"):
        load_encoder("theirs:0.75", fast=True)


def test_digests_of_encoders_loaded_as_ever_stay_what_they_were() -> None:
    """Those of archives that were made before there was another decoding."""
    plain = Fingerprint("x", "w", Preprocessing(224, 0.5))
    assert plain.digest == "b9c5ad0595b14d83"
    assert load_encoder("color").fingerprint.digest == "e6430d3cfd9924d3"
    assert replace(plain, preprocessing=replace(plain.preprocessing, decoding="scaled")).digest != plain.digest


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"precision": "f8"}, "auto, f32"),
        ({"threads": 0}, "threads"),
        ({"batch": -1}, "batch"),
        ({"mpp": 1000}, "mpp"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, object], word: str) -> None:
    with pytest.raises(EncoderError, match=word):
        load_encoder("color", **settings)  # type: ignore[arg-type]


def test_describe_says_all_in_plain_values() -> None:
    about = describe(load_encoder("color"))
    assert (about["name"], about["licence"], about["view_px"], about["mpp"], about["precision"]) == (
        "color",
        "MIT",
        256,
        0.5,
        "f32",
    )
    assert about["fingerprint"] == load_encoder("color").fingerprint.digest


def test_known_encoders_are_loadable_names() -> None:
    cards = known_encoders()
    assert len({card.name for card in cards}) == len(cards)
    for card in cards:
        assert card.name in BUNDLED or card.name.partition(":")[0] in loading.FAMILIES
        assert card.licence
        assert card.dim > 0
        assert card.commercial_use is not None or "MIT" not in card.licence.split()[-1]
    assert any(card.gated for card in cards)
    assert any(card.commercial_use is False for card in cards)
