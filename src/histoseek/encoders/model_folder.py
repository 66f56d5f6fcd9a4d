"""What a model folder in the hub's format says about its input: pixels by its preprocessor, words by its tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from histoseek.encoders.encoder import Interpolation, Preprocessing
from histoseek.encoders.words import TextInput, Words, with_clean_text
from histoseek.errors import EncoderError

MPP = 0.5
"""Scale of a 20x objective, taken where a model states none, which is always on the hub."""

RESAMPLE: dict[int, Interpolation] = {1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers, which the hub's files use."""

NO_MASK = {"clip", "siglip", "metaclip_2"}
"""Model types whose text tower was trained to see padding, or never looks back from it."""


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        EncoderError: the file is missing or not a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise EncoderError(f"{path.parent} holds no {path.name}; copy the whole model folder from its page") from error
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path} cannot be read ({error}); fetch the model again") from error
    if not isinstance(content, dict):
        raise EncoderError(f"{path} is not a JSON object; fetch the model again")
    return content


def read_preprocessing(folder: Path) -> Preprocessing:
    """Read `preprocessor_config.json`, or the part for images of `processor_config.json`.

    Raises:
        EncoderError: neither is there, or the view would not be square, or the interpolation is not one of ours.
    """
    path = folder / "preprocessor_config.json"
    if path.is_file():
        content = read_json(path)
    else:
        path = folder / "processor_config.json"
        content = read_json(path).get("image_processor", {}) if path.is_file() else {}
    if not content:
        raise EncoderError(
            f"{folder} holds no preprocessor_config.json, so its input size and normalisation are unknown; "
            "copy that file from the model page"
        )
    resample = content.get("resample", 3)
    if resample not in RESAMPLE:
        raise EncoderError(f"{path}: resample {resample!r} is not lanczos (1), bilinear (2) or bicubic (3)")
    # Pixels are scaled to [0, 1] here; a model that scales otherwise differs from that by a factor.
    factor = content.get("rescale_factor", 1 / 255) * 255 if content.get("do_rescale", True) else 255.0
    plain = not content.get("do_normalize", True)
    return Preprocessing(
        view_px=_view_px(path, content),
        mpp=MPP,
        mean=_channels(path, [0.0] * 3 if plain else content.get("image_mean"), factor),
        std=_channels(path, [1.0] * 3 if plain else content.get("image_std"), factor),
        interpolation=RESAMPLE[resample],
    )


def _view_px(path: Path, content: dict[str, Any]) -> int:
    cropped = content.get("do_center_crop", "crop_size" in content) and content.get("crop_size") is not None
    size = content["crop_size"] if cropped else content.get("size")
    if isinstance(size, dict):
        sides = {side for key, side in size.items() if key in ("height", "width", "shortest_edge") and side}
        size = sides.pop() if len(sides) == 1 else None
    if not isinstance(size, int) or not 8 <= size <= 4096:
        raise EncoderError(f"{path}: Histoseek needs one square input size from 8 to 4096 pixels, and finds none")
    return size


def _channels(path: Path, values: Any, factor: float) -> tuple[float, float, float]:
    if not isinstance(values, list) or len(values) != 3 or not all(isinstance(v, int | float) for v in values):
        raise EncoderError(f"{path}: image_mean and image_std should each be three numbers; fetch the model again")
    red, green, blue = (float(value) if factor == 1 else float(value) / factor for value in values)
    return red, green, blue


def read_words(folder: Path, config: dict[str, Any]) -> Words:
    """Read the tokenizer of a dual encoder: `tokenizer.json`, else what `transformers` makes of the older files.

    Raises:
        EncoderError: there is none, or the length of texts is not stated.
    """
    settings_path = folder / "tokenizer_config.json"
    settings = read_json(settings_path) if settings_path.is_file() else {}
    content = _tokenizer_json(folder)
    tokenizer_class = str(settings.get("tokenizer_class", ""))
    if config["model_type"] == "siglip" and '"Lowercase"' not in content and settings.get("do_lower_case", True):
        content = with_clean_text(content, lower=True, strip_punctuation=tokenizer_class.startswith("SiglipTokenizer"))
    text = config.get("text_config", {})
    lengths = [text.get("max_position_embeddings"), settings.get("model_max_length")]
    context = min((length for length in lengths if isinstance(length, int) and 0 < length <= 4096), default=None)
    if context is None:
        context = DEFAULT_CONTEXT.get(config["model_type"])
    if context is None:
        raise EncoderError(f"{folder} does not say how long a text may be; set model_max_length in {settings_path}")
    pad_id = _pad_id(folder, content, settings, text)
    words = Words(content, TextInput(context, pad_id, attention_mask=config["model_type"] not in NO_MASK))
    if words.size > text.get("vocab_size", words.size):
        raise EncoderError(
            f"{folder}: the tokenizer knows {words.size} tokens but the model {text['vocab_size']}; "
            "they belong to different models, fetch the model again"
        )
    return words


DEFAULT_CONTEXT = {"clip": 77, "siglip": 64}
"""Where a hub configuration leaves out what equals its library's default."""

OLDER_TOKENIZERS = (("vocab.json", "merges.txt"), ("vocab.txt",))
"""Files from which `transformers` makes a tokenizer; without them it would make an empty one and say nothing."""


def _tokenizer_json(folder: Path) -> str:
    path = folder / "tokenizer.json"
    if path.is_file():
        read_json(path)
        return path.read_text(encoding="utf-8")
    advice = f"{folder} holds no tokenizer.json; copy it from the model page, texts cannot be read without it"
    if not any(all((folder / name).is_file() for name in names) for names in OLDER_TOKENIZERS):
        raise EncoderError(advice)
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, ImportError, TypeError) as error:
        raise EncoderError(advice) from error
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise EncoderError(advice)
    return str(tokenizer.backend_tokenizer.to_str())


def _pad_id(folder: Path, tokenizer_json: str, settings: dict[str, Any], text_config: dict[str, Any]) -> int:
    """Number of the padding token: by its name, else from the tokenizer's own padding, else from the text tower."""
    token = settings.get("pad_token")
    if token is None and (folder / "special_tokens_map.json").is_file():
        token = read_json(folder / "special_tokens_map.json").get("pad_token")
    token = token.get("content") if isinstance(token, dict) else token
    content = json.loads(tokenizer_json)
    added = {entry["content"]: entry["id"] for entry in content.get("added_tokens", [])}
    if token in added:
        return int(added[token])
    vocabulary = content.get("model", {}).get("vocab", {})
    if isinstance(vocabulary, dict) and token in vocabulary:
        return int(vocabulary[token])
    padding = content.get("padding") or {}
    return int(padding.get("pad_id", text_config.get("pad_token_id") or 0))
