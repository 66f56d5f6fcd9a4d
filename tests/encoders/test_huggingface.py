from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from histoseek.encoders import Encoder, load_encoder  # noqa: E402
from histoseek.encoders.model_folder import read_preprocessing, read_words  # noqa: E402
from histoseek.errors import EncoderError  # noqa: E402
from tests.encoders import tiny_models  # noqa: E402

Views = list[NDArray[np.uint8]]
TEXTS = ["Tumour", "invasive carcinoma of the breast", "no"]


@pytest.fixture
def folder(model_folder: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of the tiny CLIP, free to be harmed."""
    return Path(shutil.copytree(model_folder("clip"), tmp_path / "clip"))


def edit(path: Path, **changes: object) -> None:
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))


def pixels(folder: Path, views: Views) -> torch.Tensor:
    content = json.loads((folder / "preprocessor_config.json").read_text())
    scaled = (np.stack(views) / 255 - content["image_mean"]) / content["image_std"]
    return torch.from_numpy(scaled.transpose(0, 3, 1, 2)).float()


def units(output: object) -> NDArray[np.float32]:
    rows = getattr(output, "pooler_output", output).flatten(1)
    return torch.nn.functional.normalize(rows, dim=-1).numpy()


@pytest.mark.parametrize("kind", ["clip", "siglip", "dual"])
def test_images_of_dual_encoders(
    kind: str, model_folder: Callable[[str], Path], loaded: Callable[[str], Encoder], views: Views
) -> None:
    model = transformers.AutoModel.from_pretrained(model_folder(kind)).eval()
    with torch.inference_mode():
        expected = units(model.get_image_features(pixel_values=pixels(model_folder(kind), views)))
    np.testing.assert_allclose(loaded(kind).embed_images(views), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["clip", "dual"])
def test_padding_does_not_change_a_text(
    kind: str, model_folder: Callable[[str], Path], loaded: Callable[[str], Encoder]
) -> None:
    """Each text alone and without padding is the truth: a mask that is ignored would show."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model_folder(kind) / "tokenizer.json"))
    model = transformers.AutoModel.from_pretrained(model_folder(kind)).eval()
    with torch.inference_mode():
        alone = [model.get_text_features(input_ids=torch.tensor([tokenizer.encode(text).ids])) for text in TEXTS]
    expected = np.concatenate([units(output) for output in alone])
    np.testing.assert_allclose(loaded(kind).embed_texts(TEXTS), expected, atol=1e-5)


def test_siglip_sees_its_padding_and_cleans_its_text(
    model_folder: Callable[[str], Path], loaded: Callable[[str], Encoder]
) -> None:
    folder, encoder = model_folder("siglip"), loaded("siglip")
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    ids = [vocabulary[word] for word in ("invasive", "carcinoma", "</s>")]
    padded = torch.tensor([ids + [vocabulary["</s>"]] * (tiny_models.CONTEXT - len(ids))])
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        expected = units(model.get_text_features(input_ids=padded))
    for text in ("invasive carcinoma", "Invasive, CARCINOMA!", "  invasive -  carcinoma "):
        np.testing.assert_allclose(encoder.embed_texts([text]), expected, atol=1e-5)


def test_long_texts_are_cut_and_keep_their_end(loaded: Callable[[str], Encoder]) -> None:
    long = loaded("clip").embed_texts(["tumour " * 500, "tumour " * 14])
    np.testing.assert_allclose(long[0], long[1], atol=1e-6)


def test_what_stands_for_an_image_of_an_image_model(
    model_folder: Callable[[str], Path], loaded: Callable[[str], Encoder], views: Views, tmp_path: Path
) -> None:
    tiny_models.save_vit(tmp_path, pooler=True)
    cases = {
        model_folder("vit"): lambda output: output.last_hidden_state[:, 0],
        tmp_path: lambda output: output.pooler_output,
        model_folder("dinov2"): lambda output: output.last_hidden_state[:, 0],
        model_folder("resnet"): lambda output: output.last_hidden_state.mean(dim=(2, 3)),
    }
    for folder, summary in cases.items():
        model = transformers.AutoModel.from_pretrained(folder).eval()
        with torch.inference_mode():
            expected = units(summary(model(pixel_values=pixels(folder, views))))
        encoder = load_encoder(folder)
        np.testing.assert_allclose(encoder.embed_images(views), expected, atol=1e-5)
        assert (encoder.card.has_text, encoder.card.dim) == (False, expected.shape[1])


def test_the_fingerprint_follows_weights_configuration_scale_and_precision(folder: Path, tmp_path: Path) -> None:
    plain = load_encoder(folder).fingerprint
    same = load_encoder(shutil.copytree(folder, tmp_path / "elsewhere")).fingerprint
    assert same.digest == plain.digest
    edit(folder / "config.json", transformers_version="9.9")
    assert load_encoder(folder).fingerprint.digest == plain.digest
    other = tiny_models.save_clip(Path(shutil.copytree(folder, tmp_path / "other")), seed=1)
    vision = json.loads((folder / "config.json").read_text())["vision_config"]
    digests = {plain.digest, load_encoder(other).fingerprint.digest}
    digests |= {load_encoder(folder, mpp=0.25).fingerprint.digest}
    digests |= {load_encoder(folder, precision="bf16").fingerprint.digest}
    edit(folder / "config.json", vision_config=vision | {"layer_norm_eps": 1e-3})
    digests |= {load_encoder(folder).fingerprint.digest}
    assert len(digests) == 5


def test_the_fingerprint_follows_the_tokenizer_and_the_text_input(folder: Path) -> None:
    digests = [load_encoder(folder).fingerprint.digest]
    words = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = words["model"]["vocab"]
    vocabulary["tumour"], vocabulary["normal"] = vocabulary["normal"], vocabulary["tumour"]
    edit(folder / "tokenizer.json", model=words["model"])
    digests.append(load_encoder(folder).fingerprint.digest)
    edit(folder / "tokenizer_config.json", pad_token="</s>")
    digests.append(load_encoder(folder).fingerprint.digest)
    edit(folder / "tokenizer_config.json", model_max_length=12)
    digests.append(load_encoder(folder).fingerprint.digest)
    assert len(set(digests)) == 4


def test_words_do_not_count_where_none_are_read(model_folder: Callable[[str], Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model_folder("vit"), tmp_path / "vit"))
    before = load_encoder(folder).fingerprint.digest
    (folder / "tokenizer.json").write_text("{}")
    assert load_encoder(folder).fingerprint.digest == before


def test_lower_precision_drifts_little(folder: Path, views: Views) -> None:
    exact, low = load_encoder(folder), load_encoder(folder, precision="bf16")
    cosines = (exact.embed_images(views) * low.embed_images(views)).sum(axis=1)
    assert 0.98 < cosines.min() < 1 - 1e-7
    with pytest.raises(EncoderError, match="not int8"):
        load_encoder(folder, precision="int8")


def test_batches_do_not_change_vectors(folder: Path, views: Views) -> None:
    whole = load_encoder(folder).embed_images(views)
    np.testing.assert_allclose(load_encoder(folder, batch=3).embed_images(views), whole, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (32, 3 * (0.5,), "bicubic")),
        ({"crop_size": 40}, (40, 3 * (0.5,), "bicubic")),
        ({"do_center_crop": False, "size": {"height": 48, "width": 48}}, (48, 3 * (0.5,), "bicubic")),
        ({"do_center_crop": False, "size": 64, "resample": 2}, (64, 3 * (0.5,), "bilinear")),
        ({"size": {"shortest_edge": 50}, "crop_size": None, "do_center_crop": None}, (50, 3 * (0.5,), "bicubic")),
        ({"do_normalize": False}, (32, 3 * (0.0,), "bicubic")),
        ({"rescale_factor": 1 / 127.5}, (32, 3 * (0.25,), "bicubic")),
        ({"rescale_factor": 1 / 255}, (32, 3 * (0.5,), "bicubic")),
    ],
)
@pytest.mark.parametrize("form", ["preprocessor_config.json", "processor_config.json"])
def test_preprocessor_files_old_and_new(
    tmp_path: Path, form: str, changes: dict[str, object], expected: tuple[object, ...]
) -> None:
    tiny_models.save_preprocessor(tmp_path, **({"image_mean": [0.5] * 3} | changes))
    if form == "processor_config.json":
        old = tmp_path / "preprocessor_config.json"
        (tmp_path / form).write_text(json.dumps({"image_processor": json.loads(old.read_text())}))
        old.unlink()
    found = read_preprocessing(tmp_path)
    assert (found.view_px, pytest.approx(found.mean), found.interpolation) == expected
    assert found.mpp == 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resample": 0}, "resample 0"),
        ({"crop_size": {"height": 32, "width": 48}}, "one square input size"),
        ({"image_mean": [0.5]}, "three numbers"),
    ],
)
def test_preprocessor_files_that_do_not_fit(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    tiny_models.save_preprocessor(tmp_path, **changes)
    with pytest.raises(EncoderError, match=message):
        read_preprocessing(tmp_path)


def test_padding_token_by_name(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    assert read_words(folder, config).input.pad_id == 0
    edit(folder / "tokenizer_config.json", pad_token={"content": "</s>"})
    assert read_words(folder, config).input.pad_id == 3
    edit(folder / "tokenizer_config.json", pad_token=..., model_max_length=1e30)
    words = read_words(folder, config)
    assert (words.input.pad_id, words.input.context) == (0, 16)


def test_tokenizer_files_of_the_older_form(folder: Path) -> None:
    special = ["<|startoftext|>", "<|endoftext|>"]
    tokens = [*"tumor", *(f"{letter}</w>" for letter in "tumor"), "tu", "tum", *special]
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\nt u\ntu m\n")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text("{}")
    words = read_words(folder, json.loads((folder / "config.json").read_text()))
    numbers = [tokens.index(token) for token in (special[0], "tum", "o", "r</w>", special[1])]
    assert words.tokens(["TUMOR"])["input_ids"][0, :5].tolist() == numbers


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def cut(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:1000])


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def without_one_weight(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, folder / "model.safetensors")


def with_a_larger_vocabulary(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"] |= {f"word{number}": 1000 + number for number in range(99)}
    (folder / "tokenizer.json").write_text(json.dumps(content))


def of_type(kind: str) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "config.json", model_type=kind)


def with_code_of_its_own(folder: Path) -> None:
    edit(folder / "config.json", model_type="theirs", auto_map={"AutoModel": "evil.Model"})
    (folder / "evil.py").write_text("raise SystemExit('code of a model folder was run')")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (remove("preprocessor_config.json"), "holds no preprocessor_config.json"),
        (remove("tokenizer.json"), "holds no tokenizer.json"),
        (remove("model.safetensors"), "holds no safetensors"),
        (pickled, "opens no pickles"),
        (cut("model.safetensors"), "cannot be loaded"),
        (cut("tokenizer.json"), r"tokenizer\.json cannot be read"),
        (with_a_larger_vocabulary, "belong to different models"),
        (without_one_weight, "lacks 1 of the model's weights"),
        (of_type("llama"), "type 'llama' are not supported"),
        (of_type("siglip2"), "type 'siglip2' are not supported"),
        (with_code_of_its_own, "type 'theirs' are not supported"),
    ],
)
def test_folders_that_cannot_be_used_are_refused_in_words(
    folder: Path, harm: Callable[[Path], None], message: str
) -> None:
    harm(folder)
    with pytest.raises(EncoderError, match=message) as refused:
        load_encoder(folder)
    assert str(folder) in str(refused.value)


def test_the_licence_is_the_model_cards(folder: Path) -> None:
    assert load_encoder(folder).card.commercial_use is None
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    card = load_encoder(folder).card
    assert (card.licence, card.commercial_use, card.name) == ("CC BY-NC 4.0", False, "clip")


def test_loading_is_silent(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()  # saving a tiny model is not silent
    load_encoder(folder)
    load_encoder(f"hf:{folder}")
    assert capfd.readouterr() == ("", "")
