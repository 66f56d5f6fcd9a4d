"""One text for every view of a batch, drawn from what may be said of its item."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from histoseek.training.learner import NO_TEXT


def draw_texts(said: Sequence[Sequence[str]], rng: np.random.Generator) -> tuple[list[str], NDArray[np.int64]]:
    """Draw a text for each of N views; gives the M distinct texts, and `[N]` which one each view has (−1: none)."""
    drawn = [str(texts[int(rng.integers(len(texts)))]) if texts else None for texts in said]
    distinct = sorted({text for text in drawn if text is not None})
    number = {text: at for at, text in enumerate(distinct)}
    return distinct, np.array([NO_TEXT if text is None else number[text] for text in drawn], np.int64)


def code_of(text: str) -> int:
    """A number for a text that is the same in every process, never negative."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
