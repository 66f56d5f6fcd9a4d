from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from histoseek.encoders import export_encoder, load_encoder
from histoseek.encoders.encoder import loadable_name
from histoseek.encoders.openclip_name import OpenClipName, parse_openclip_name
from histoseek.encoders.openclip_tokens import reading_sha256, words_like
from histoseek.errors import EncoderError
from tests.encoders.conftest import some_views
from tests.encoders.fake_hub import FakeHub


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ViT-B-32/laion2b_s34b_b79k", OpenClipName("ViT-B-32", "laion2b_s34b_b79k")),
        ("ViT-B-32/weights.safetensors", OpenClipName("ViT-B-32", "weights.safetensors")),
        ("ViT-B-32//data/weights.safetensors", OpenClipName("ViT-B-32", "/data/weights.safetensors")),
        ("hf-hub:lab/model", OpenClipName(hub="lab/model")),
        ("local-dir:/data/model", OpenClipName(folder="/data/model")),
    ],
)
def test_names_are_taken_apart(name: str, expected: OpenClipName) -> None:
    assert parse_openclip_name(name) == expected


@pytest.mark.parametrize(
    ("name", "lasting"),
    [
        ("ViT-B-32/laion2b_s34b_b79k", "ViT-B-32/laion2b_s34b_b79k"),
        ("hf-hub:lab/model", "hf-hub:lab/model"),
        ("local-dir:model", "local-dir:{here}/model"),
        ("ViT-B-32/runs/w.safetensors", "ViT-B-32/{here}/runs/w.safetensors"),
        ("ViT-B-32/{here}/w.safetensors", "ViT-B-32/{here}/w.safetensors"),
    ],
)
def test_names_last_when_the_working_directory_changes(
    name: str, lasting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    here = tmp_path.resolve()
    found = parse_openclip_name(name.format(here=here)).lasting
    assert found == lasting.format(here=here)
    assert parse_openclip_name(found).lasting == found


@pytest.mark.parametrize(
    "name", ["ViT-B-32", "ViT-B-32/", "/tag", "hf-hub:model", "hf-hub:a/b/c", "hf-hub:", "local-dir:"]
)
def test_malformed_names_are_refused_before_open_clip_is_missed(name: str) -> None:
    with pytest.raises(EncoderError, match="is not an open_clip name"):
        load_encoder(f"openclip:{name}")


class SmallSimpleTokenizer:
    """A vocabulary of letters and two merges in the form of open_clip's SimpleTokenizer."""

    def __init__(self) -> None:
        letters = [chr(number) for number in range(33, 127)]
        merges = [("c", "e"), ("l", "l</w>"), ("ce", "ll</w>")]
        vocabulary = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges)]
        vocabulary += ["<start_of_text>", "<end_of_text>"]
        self.encoder = {token: number for number, token in enumerate(vocabulary)}
        self.decoder = {number: token for token, number in self.encoder.items()}
        self.bpe_ranks = {pair: rank for rank, pair in enumerate(merges)}
        self.sot_token_id, self.eot_token_id = len(vocabulary) - 2, len(vocabulary) - 1

    def ids(self, *tokens: str, length: int = 8) -> list[int]:
        found = [self.sot_token_id, *(self.encoder[token] for token in tokens), self.eot_token_id]
        return found + [0] * (length - len(found))


def test_the_byte_pair_tokenizer_is_rebuilt() -> None:
    theirs = SmallSimpleTokenizer()
    sample = {
        "": theirs.ids(),
        "Cell  CELL\ncell": theirs.ids("cell</w>", "cell</w>", "cell</w>"),
        "cell's": theirs.ids("cell</w>", "'", "s</w>"),
        "20!": theirs.ids("2</w>", "0</w>", "!</w>"),
        "cell " * 9: theirs.ids(*["cell</w>"] * 6),
    }
    words = words_like(theirs, sample, context=8)
    assert words.input.pad_id == 0
    assert not words.input.attention_mask


def test_vocabulary_sample_and_input_count_for_the_digest() -> None:
    theirs, other = SmallSimpleTokenizer(), SmallSimpleTokenizer()
    other.encoder["x"], other.encoder["y"] = other.encoder["y"], other.encoder["x"]
    sample = {"cell": theirs.ids("cell</w>")}
    words = words_like(theirs, sample, context=8)
    plain = reading_sha256(words, sample)
    assert reading_sha256(words_like(SmallSimpleTokenizer(), sample, context=8), sample) == plain
    assert reading_sha256(words_like(other, sample, context=8), sample) != plain
    assert reading_sha256(words_like(theirs, {}, context=9), sample) != plain
    assert reading_sha256(words, {"no": [1]}) != plain


def test_a_tokenizer_that_reads_otherwise_is_refused() -> None:
    theirs = SmallSimpleTokenizer()
    with pytest.raises(EncoderError, match="in a way of its own"):
        words_like(theirs, {"cell": theirs.ids("c", "e", "l", "l</w>")}, context=8)
    with pytest.raises(EncoderError, match="cannot be turned into a tokenizer file"):
        words_like(object(), {}, context=8)


SMALL = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}


def test_a_hub_model_from_fetching_to_export(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_clip = pytest.importorskip("open_clip")
    from safetensors.torch import save_file

    folder = tmp_path / "model"
    folder.mkdir()
    config = {"model_cfg": SMALL, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    model = open_clip.create_model(f"local-dir:{folder}")
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    hub.models["lab/small", "main"] = folder

    encoder = load_encoder("openclip:hf-hub:lab/small")
    assert (encoder.card.dim, encoder.card.licence, encoder.fingerprint.preprocessing.view_px) == (32, "MIT", 32)
    texts = ["Tumour cells!", "it's 20 % Ki-67"]
    theirs = open_clip.get_tokenizer(f"local-dir:{folder}")(texts)
    expected = model.eval().encode_text(theirs, normalize=True).detach().numpy()
    np.testing.assert_allclose(encoder.embed_texts(texts), expected, atol=1e-5)
    assert load_encoder(folder).fingerprint.digest == encoder.fingerprint.digest
    monkeypatch.chdir(tmp_path)
    local = load_encoder("openclip:local-dir:model")
    monkeypatch.chdir(folder)
    assert load_encoder(loadable_name(local.card)).fingerprint == local.fingerprint
    result = export_encoder(encoder, tmp_path / "out")
    assert result.image_cosine >= 0.9999
    assert encoder.embed_images(some_views(32)).shape == (7, 32)
