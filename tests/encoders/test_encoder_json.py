from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from histoseek.encoders import EncoderCard, Preprocessing
from histoseek.encoders.encoder_json import FILE_NAME, FolderDescription, TextFiles, read_description, write_description
from histoseek.encoders.words import TextInput
from histoseek.errors import DamagedError

FULL = FolderDescription(
    card=EncoderCard("tiny", 24, True, "MIT", None, True, "https://example.org", "about µm"),
    preprocessing=Preprocessing(32, 0.5, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), "bilinear"),
    sha256={"image.onnx": "a" * 64, "text.onnx": "b" * 64, "tokenizer.json": "c" * 64},
    text=TextFiles(TextInput(16, 0, True)),
)

KEYS = [
    *("format", "name", "dim", "has_text", "licence", "commercial_use", "gated", "source", "about"),
    *("preprocessing", "image", "text", "sha256"),
    *(f"preprocessing.{key}" for key in ("view_px", "mpp", "mean", "std", "interpolation")),
    *(f"text.{key}" for key in ("model", "tokenizer", "context", "pad_id", "attention_mask")),
    *(f"sha256.{key}" for key in ("image.onnx", "text.onnx", "tokenizer.json")),
]

WRONG: list[tuple[str, Any]] = [
    ("format", 2),
    ("name", 5),
    ("dim", 0),
    ("dim", 24.5),
    ("dim", True),
    ("dim", 10**9),
    ("has_text", False),
    ("commercial_use", "yes"),
    ("gated", 1),
    ("preprocessing", []),
    ("preprocessing.view_px", 100_000),
    ("preprocessing.mpp", 1000),
    ("preprocessing.mpp", float("nan")),
    ("preprocessing.mean", [0.5, 0.5]),
    ("preprocessing.std", [0.5, 0, 0.5]),
    ("preprocessing.std", [0.5, "1", 0.5]),
    ("preprocessing.interpolation", "nearest"),
    ("image", "../image.onnx"),
    ("image", "/etc/passwd"),
    ("image", "..\\image.onnx"),
    ("image", ".."),
    ("image", ""),
    ("image", "sub/image.onnx"),
    ("text.tokenizer", "../../tokenizer.json"),
    ("text.context", 0),
    ("text.pad_id", -1),
    ("text.attention_mask", "no"),
    ("sha256.image.onnx", "A" * 64),
    ("sha256.image.onnx", "a" * 63),
]


def changed(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    write_description(folder, FULL)
    path = folder / FILE_NAME
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return folder


def parent(content: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    outer, _, inner = key.partition(".")
    return (content[outer], inner) if inner else (content, outer)


def test_it_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_description(tmp_path, FULL)
    assert read_description(tmp_path) == FULL
    assert read_description(tmp_path).weights_sha256 == FULL.weights_sha256
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_needed(tmp_path: Path, key: str) -> None:
    def drop(content: dict[str, Any]) -> None:
        holder, name = parent(content, key)
        del holder[name]

    with pytest.raises(DamagedError) as refused:
        read_description(changed(tmp_path, drop))
    assert str(tmp_path / FILE_NAME) in str(refused.value)
    assert f"{key} is missing" in str(refused.value)


@pytest.mark.parametrize(("key", "value"), WRONG)
def test_every_value_is_checked(tmp_path: Path, key: str, value: object) -> None:
    def put(content: dict[str, Any]) -> None:
        holder, name = parent(content, key)
        holder[name] = value

    with pytest.raises(DamagedError) as refused:
        read_description(changed(tmp_path, put))
    assert f"{key} should be" in str(refused.value)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    outside = tmp_path / "secret.onnx"
    outside.write_bytes(b"x")
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "image.onnx").symlink_to(outside)
    write_description(folder, FULL)
    with pytest.raises(DamagedError, match="not a link out of it"):
        read_description(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '"text"'])
def test_something_else_than_an_object_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE_NAME).write_text(content)
    with pytest.raises(DamagedError, match=r"encoder\.json"):
        read_description(tmp_path)


def test_every_file_counts_for_the_digest() -> None:
    other = {**FULL.sha256, "tokenizer.json": "d" * 64}
    assert replace(FULL, sha256=other).weights_sha256 != FULL.weights_sha256


@pytest.mark.parametrize("change", [{"context": 15}, {"pad_id": 1}, {"attention_mask": False}])
def test_what_the_text_tower_takes_counts_for_the_digest(tmp_path: Path, change: dict[str, object]) -> None:
    read = read_description(changed(tmp_path, lambda content: content["text"].update(change)))
    assert read.weights_sha256 != FULL.weights_sha256


def test_the_digest_of_an_image_only_folder_is_that_of_its_file() -> None:
    image_only = FolderDescription(FULL.card, FULL.preprocessing, {"image.onnx": "a" * 64})
    assert image_only.weights_sha256 == hashlib.sha256(f"image.onnx {'a' * 64}\n".encode()).hexdigest()
