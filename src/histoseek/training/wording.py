"""One text for every view of a batch, drawn from what may be said of its item."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from histoseek.training.learner import NO_TEXT


def draw_texts(
    said: Sequence[Sequence[str]], seed: tuple[int, ...], first: int = 0
) -> tuple[list[str], NDArray[np.int64]]:
    """Draw a text for each of N views; gives the M distinct texts, and `[N]` which one each view has (−1: none).

    `first` is the place of the first of these views in the whole batch: with the seed it decides what is drawn, in
    however many processes.
    """
    drawn = []
    for at, texts in enumerate(said, first):
        chosen = np.random.default_rng((*seed, at)).integers(len(texts)) if texts else 0
        drawn.append(texts[int(chosen)] if texts else None)
    distinct = sorted({text for text in drawn if text is not None})
    number = {text: at for at, text in enumerate(distinct)}
    return distinct, np.array([NO_TEXT if text is None else number[text] for text in drawn], np.int64)


def code_of(text: str) -> int:
    """A number for a text that is the same in every process, never negative."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
