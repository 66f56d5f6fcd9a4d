"""`encoder.json`: what an encoder folder says about itself, read with distrust and written last."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from histoseek.encoders.encoder import EncoderCard, Interpolation, Preprocessing
from histoseek.encoders.words import TextInput
from histoseek.errors import DamagedError
from histoseek.items.files import written_whole

FILE_NAME = "encoder.json"
FORMAT = 1
IMAGE_FILE, TEXT_FILE, TOKENIZER_FILE = "image.onnx", "text.onnx", "tokenizer.json"
MOST_PX, MOST_DIM, MOST_TOKENS = 4096, 65536, 4096


@dataclass(frozen=True)
class FolderDescription:
    """All of `encoder.json`: the card, the preprocessing, file names and their SHA-256.

    `sha256` names every file that decides a vector; `text` is None for an encoder without a text tower.
    """

    card: EncoderCard
    preprocessing: Preprocessing
    sha256: Mapping[str, str]
    image: str = IMAGE_FILE
    text: TextFiles | None = None

    @property
    def weights_sha256(self) -> str:
        """One digest over the digests of all files, in order of name, and over what the text tower takes."""
        lines = "".join(f"{name} {digest}\n" for name, digest in sorted(self.sha256.items()))
        if self.text is not None:
            lines += json.dumps(asdict(self.text.input), sort_keys=True)
        return hashlib.sha256(lines.encode()).hexdigest()


@dataclass(frozen=True)
class TextFiles:
    """The text tower's files and what it takes."""

    input: TextInput
    model: str = TEXT_FILE
    tokenizer: str = TOKENIZER_FILE


def write_description(folder: Path, description: FolderDescription) -> None:
    """Write `encoder.json`, which makes the folder an encoder."""
    card = asdict(description.card)
    del card["folder"]  # true on this machine only
    text = description.text
    content = {
        "format": FORMAT,
        **card,
        "preprocessing": {key: value for key, value in asdict(description.preprocessing).items() if key != "decoding"},
        "image": description.image,
        "text": {"model": text.model, "tokenizer": text.tokenizer, **asdict(text.input)} if text else None,
        "sha256": dict(sorted(description.sha256.items())),
    }
    with written_whole(folder / FILE_NAME) as draft:
        draft.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_description(folder: Path) -> FolderDescription:
    """Read and check `encoder.json`.

    Raises:
        DamagedError: it is not JSON, lacks a key, holds a value out of range, or names a file outside the folder.
    """
    path = folder / FILE_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DamagedError(f"{path} cannot be read ({error}); export or copy the encoder folder again") from error
    return _Reader(path, content).description()


class _Reader:
    """Takes values out of parsed JSON, and says where one is wrong."""

    def __init__(self, path: Path, content: Any, place: str = "") -> None:
        self.path, self.place = path, place
        if not isinstance(content, dict):
            raise self.wrong("", "an object", content)
        self.content = content

    def wrong(self, key: str, expected: str, found: object) -> DamagedError:
        where = f"{self.place}{key}".rstrip(".") or "its content"
        return DamagedError(
            f"{self.path}: {where} should be {expected}, not {found!r:.80}; export or copy the encoder folder again"
        )

    def value(self, key: str) -> Any:
        if key not in self.content:
            raise DamagedError(f"{self.path}: {self.place}{key} is missing; export or copy the encoder folder again")
        return self.content[key]

    def under(self, key: str) -> _Reader:
        return _Reader(self.path, self.value(key), f"{self.place}{key}.")

    def text(self, key: str) -> str:
        value = self.value(key)
        if not isinstance(value, str) or len(value) > 10_000:
            raise self.wrong(key, "a text", value)
        return value

    def flag(self, key: str) -> bool:
        value = self.value(key)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false", value)
        return value

    def whole(self, key: str, low: int, high: int) -> int:
        value = self.value(key)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.wrong(key, f"a whole number from {low} to {high}", value)
        return value

    def number(self, key: str, low: float, high: float) -> float:
        return self._within(key, self.value(key), low, high)

    def channels(self, key: str, low: float, high: float) -> tuple[float, float, float]:
        value = self.value(key)
        if not isinstance(value, list) or len(value) != 3:
            raise self.wrong(key, "three numbers", value)
        red, green, blue = (self._within(key, channel, low, high) for channel in value)
        return red, green, blue

    def _within(self, key: str, value: object, low: float, high: float) -> float:
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not low <= value <= high:  # type: ignore[operator]
            raise self.wrong(key, f"a number from {low:g} to {high:g}", value)
        return float(value)  # type: ignore[arg-type]

    def file(self, key: str) -> str:
        name = self.text(key)
        folder = self.path.parent
        if not name or Path(name).name != name or name.startswith(".") or "\\" in name or "\0" in name:
            raise self.wrong(key, "the name of a file in this folder", name)
        if not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise self.wrong(key, "a file in this folder, not a link out of it", name)
        return name

    def description(self) -> FolderDescription:
        if self.value("format") != FORMAT:
            raise self.wrong("format", f"{FORMAT}, the only one this Histoseek reads", self.value("format"))
        image = self.file("image")
        text = None if self.value("text") is None else self.under("text").text_files()
        card = self.card(has_text=text is not None)
        files = [image, text.model, text.tokenizer] if text else [image]
        return FolderDescription(card, self.under("preprocessing").preprocessing(), self.digests(files), image, text)

    def card(self, has_text: bool) -> EncoderCard:
        if self.flag("has_text") != has_text:
            raise self.wrong("has_text", "true exactly when text is described", self.value("has_text"))
        return EncoderCard(
            name=self.text("name"),
            dim=self.whole("dim", 1, MOST_DIM),
            has_text=has_text,
            licence=self.text("licence"),
            commercial_use=None if self.value("commercial_use") is None else self.flag("commercial_use"),
            gated=self.flag("gated"),
            source=self.text("source"),
            about=self.text("about"),
        )

    def preprocessing(self) -> Preprocessing:
        interpolation = self.text("interpolation")
        if interpolation not in get_args(Interpolation):
            raise self.wrong("interpolation", f"one of {', '.join(get_args(Interpolation))}", interpolation)
        return Preprocessing(
            view_px=self.whole("view_px", 8, MOST_PX),
            mpp=self.number("mpp", 0.05, 20),
            mean=self.channels("mean", -10, 10),
            std=self.channels("std", 1e-3, 10),
            interpolation=interpolation,  # type: ignore[arg-type]
        )

    def text_files(self) -> TextFiles:
        return TextFiles(
            input=TextInput(
                context=self.whole("context", 1, MOST_TOKENS),
                pad_id=self.whole("pad_id", 0, 2**31 - 1),
                attention_mask=self.flag("attention_mask"),
            ),
            model=self.file("model"),
            tokenizer=self.file("tokenizer"),
        )

    def digests(self, files: list[str]) -> dict[str, str]:
        digests = self.under("sha256")
        found = {name: digests.text(name) for name in files}
        for name, digest in found.items():
            if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
                raise digests.wrong(name, "a SHA-256 in hexadecimal", digest)
        return found
