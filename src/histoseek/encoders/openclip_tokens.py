"""open_clip's tokenizers, rebuilt as tokenizer files that run without open_clip."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from histoseek.encoders.words import TextInput, Words, with_clean_text
from histoseek.errors import EncoderError

WORD = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def words_like(tokenizer: Any, sample: Mapping[str, list[int]], context: int) -> Words:
    """Rebuild an open_clip tokenizer; `sample` holds texts with the ids that it gives them.

    Raises:
        EncoderError: the rebuilt one reads a sample text otherwise.
    """
    inner: Any = getattr(tokenizer, "tokenizer", None)
    if hasattr(tokenizer, "bpe_ranks"):
        content, pad_id = _byte_pairs(tokenizer), 0
    elif getattr(inner, "backend_tokenizer", None) is not None:
        content = str(inner.backend_tokenizer.to_str())
        pad_id = int(inner.pad_token_id or 0)
        if type(tokenizer).__name__ == "SigLipTokenizer" or "canonicalize" in _cleaning(tokenizer):
            content = with_clean_text(content, lower=True, strip_punctuation=True)
    else:
        raise EncoderError(f"open_clip's {type(tokenizer).__name__} cannot be turned into a tokenizer file")
    words = Words(content, TextInput(context=context, pad_id=pad_id, attention_mask=False))
    for text, ids in sample.items():
        if words.tokens([text])["input_ids"][0].tolist() != list(ids):
            raise EncoderError(
                f"open_clip's {type(tokenizer).__name__} reads {text[:40]!r} in a way of its own, which Histoseek "
                "cannot reproduce; use a model of the hf: family"
            )
    return words


def reading_sha256(words: Words, sample: Mapping[str, list[int]]) -> str:
    """Digest over vocabulary, a sample of texts with their ids, and what the text tower takes.

    The tokenizer file itself does not count: how `tokenizers` writes it down changes with its version.
    """
    content = [words.vocabulary, dict(sample), asdict(words.input)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _cleaning(tokenizer: Any) -> str:
    return str(getattr(getattr(tokenizer, "clean_fn", None), "__name__", ""))


def _byte_pairs(tokenizer: Any) -> str:
    """CLIP's own byte-pair tokenizer: lower case, words by pattern, byte letters, merges, start and end marks."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    start, end = (tokenizer.decoder[number] for number in (tokenizer.sot_token_id, tokenizer.eot_token_id))
    built = Tokenizer(
        models.BPE(
            vocab=dict(tokenizer.encoder),
            merges=list(tokenizer.bpe_ranks),
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
        )
    )
    built.normalizer = normalizers.Sequence([normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    built.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    built.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        special_tokens=[(start, tokenizer.sot_token_id), (end, tokenizer.eot_token_id)],
    )
    return str(built.to_str())
