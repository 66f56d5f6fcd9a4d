"""Words on their way into a text tower: a tokenizer file and how its output is cut and padded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histoseek.errors import EncoderError


@dataclass(frozen=True)
class TextInput:
    """What a text tower takes: `context` tokens, padded with `pad_id`, with or without an attention mask."""

    context: int
    pad_id: int
    attention_mask: bool


class Words:
    """A tokenizer that always gives `context` tokens, so that a text's tokens never depend on its neighbours."""

    def __init__(self, tokenizer_json: str, text_input: TextInput) -> None:
        from tokenizers import Tokenizer

        self.json = tokenizer_json
        self.input = text_input
        self._tokenizer = Tokenizer.from_str(tokenizer_json)
        self._tokenizer.enable_truncation(text_input.context)
        self._tokenizer.enable_padding(length=text_input.context, pad_id=text_input.pad_id)

    @property
    def size(self) -> int:
        """Number of tokens that it knows."""
        return int(self._tokenizer.get_vocab_size())

    @property
    def vocabulary(self) -> dict[str, int]:
        """Number of each token."""
        return dict(self._tokenizer.get_vocab())

    def tokens(self, texts: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """Turn texts into `input_ids` `[N, context]` and, where the tower wants one, `attention_mask` `[N, context]`.

        Raises:
            EncoderError: `texts` is not a sequence of strings.
        """
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise EncoderError("embed_texts takes a list of strings, for example ['invasive carcinoma']")
        shape = (len(texts), self.input.context)
        encoded = self._tokenizer.encode_batch(list(texts))
        tokens = {"input_ids": np.array([e.ids for e in encoded], np.int64).reshape(shape)}
        if self.input.attention_mask:
            tokens["attention_mask"] = np.array([e.attention_mask for e in encoded], np.int64).reshape(shape)
        return tokens


def with_clean_text(tokenizer_json: str, *, lower: bool, strip_punctuation: bool) -> str:
    """Make a tokenizer file clean its text first, as some models' own code does outside the file.

    `lower` lowers the case; `strip_punctuation` also drops ASCII punctuation and surplus spaces.
    """
    steps: list[dict[str, object]] = []
    if lower:
        steps.append({"type": "Lowercase"})
    if strip_punctuation:
        punctuation = r"[!-/:-@\[-`{-~]"
        steps.append({"type": "Replace", "pattern": {"Regex": punctuation}, "content": ""})
        steps.append({"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "})
        steps.append({"type": "Strip", "strip_left": True, "strip_right": True})
    content = json.loads(tokenizer_json)
    if content.get("normalizer"):
        steps.append(content["normalizer"])
    content["normalizer"] = {"type": "Sequence", "normalizers": steps}
    return json.dumps(content, ensure_ascii=False)
