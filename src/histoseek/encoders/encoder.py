"""What every encoder offers: pixels or words in, unit vectors out."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from histoseek.errors import EncoderError

EMBEDDING_FORMAT = 1
"""Raised whenever the same pixels would come out as another vector for a reason of ours."""

CGROUP = Path("/sys/fs/cgroup")
"""Where Linux tells a container its limits."""

Precision = Literal["f32", "bf16", "f16", "int8"]
AskedPrecision = Literal["auto", "f32", "bf16", "f16", "int8"]
"""As a person asks for it; "auto" is what the machine prefers, and becomes a precision when the encoder is loaded."""

Interpolation = Literal["bicubic", "bilinear", "lanczos"]
Decoding = Literal["full", "scaled"]


@dataclass(frozen=True)
class Settings:
    """How a person asks for an encoder; None leaves a choice to the encoder.

    `threads` counts processor threads, `batch` views per pass; `mpp` overrides the scale (µm per pixel) of the views;
    `fast` lets JPEG files be decoded at a fraction of their size.

    Raises:
        EncoderError: a value makes no sense.
    """

    precision: AskedPrecision = "f32"
    threads: int | None = None
    batch: int | None = None
    mpp: float | None = None
    fast: bool = False

    def __post_init__(self) -> None:
        if self.precision not in get_args(AskedPrecision):
            known = ", ".join(get_args(AskedPrecision))
            raise EncoderError(f"precision {self.precision!r} is unknown; choose {known}")
        for name, number in (("threads", self.threads), ("batch", self.batch)):
            if number is not None and number < 1:
                raise EncoderError(f"{name} is {number}; give a number of at least 1")
        if self.mpp is not None and not 0.05 <= self.mpp <= 20:
            raise EncoderError(
                f"mpp is {self.mpp:g}; tissue is seen at 0.05 to 20 µm per pixel, 0.5 is a 20x objective"
            )

    def seen(self, own: Preprocessing) -> Preprocessing:
        """An encoder's own preprocessing, with what was asked otherwise."""
        mpp = own.mpp if self.mpp is None else self.mpp
        return replace(own, mpp=mpp, decoding="scaled" if self.fast else "full")


@dataclass(frozen=True)
class Preprocessing:
    """How tissue becomes the encoder's input.

    A view is `view_px` × `view_px` pixels at `mpp` µm per pixel, resized with the antialiased `interpolation`;
    values are scaled to [0, 1], then `mean` is taken off and `std` divided by, channel by channel. With the `decoding`
    "scaled" a JPEG file is decoded at 1/2, 1/4 or 1/8 of its size where that is still finer than the view.
    """

    view_px: int
    mpp: float
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    interpolation: Interpolation = "bicubic"
    decoding: Decoding = "full"

    @property
    def told(self) -> str:
        """The view as people read it."""
        how = "" if self.decoding == "full" else f", {self.decoding} decoding"
        return f"{self.view_px} px at {self.mpp} µm/px{how}"


@dataclass(frozen=True)
class EncoderCard:
    """What a person should know before using an encoder.

    `dim` is the length of its vectors; `folder` is where it was loaded from, empty when its name says so.
    """

    name: str
    dim: int
    has_text: bool
    licence: str
    commercial_use: bool | None
    gated: bool = False
    source: str = ""
    about: str = ""
    folder: str = ""


@dataclass(frozen=True)
class Fingerprint:
    """All that decides which vector an image or a text gets; encoders with equal fingerprints are interchangeable.

    `weights_sha256` covers the weights and, where there is a text tower, how it reads words.
    """

    encoder: str
    weights_sha256: str
    preprocessing: Preprocessing
    precision: Precision = "f32"
    embedding_format: int = EMBEDDING_FORMAT

    @property
    def digest(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 over everything but the name."""
        content = {key: value for key, value in asdict(self).items() if key != "encoder"}
        if self.preprocessing.decoding == "full":  # which was the only one when the first fingerprints were made
            del content["preprocessing"]["decoding"]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def told(self) -> str:
        """The encoder and how it was loaded, as people read it."""
        how = "" if self.preprocessing.decoding == "full" else f" with {self.preprocessing.decoding} decoding"
        return f"{self.encoder!r} at {self.precision}{how}"


def loadable_name(card: EncoderCard) -> str:
    """What `load_encoder` takes to load the encoder again on this machine."""
    return card.folder or card.name


class Encoder(Protocol):
    """Pixels or words → unit vectors."""

    @property
    def card(self) -> EncoderCard:
        """What a person should know about it."""
        ...

    @property
    def fingerprint(self) -> Fingerprint:
        """What decides its vectors."""
        ...

    def embed_images(self, views: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed views `[view_px, view_px, 3]` as unit rows `[N, D]`."""
        ...

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts as unit rows `[N, D]`; an encoder without a text tower raises `EncoderError`."""
        ...


@dataclass(frozen=True)
class Pace:
    """How an encoder is fed fastest: `calls` of `embed_images` at a time, each with `views` of them."""

    calls: int = 1
    views: int = 64


@runtime_checkable
class Paced(Protocol):
    """An encoder that knows its pace; its `embed_images` may be called by that many threads at a time."""

    @property
    def pace(self) -> Pace:
        """How it is fed fastest on this machine."""
        ...


def n_cores() -> int:
    """Processor cores that this process may use: its affinity, and within it the quota of its container."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(mine, _quota())))


def _quota() -> float:
    """Cores that Linux' control groups let a container have, infinite where they set no limit.

    By cgroup v2's `cpu.max` or v1's `cpu.cfs_quota_us`; neither counts in the affinity. A container finds its own
    limits at the root; those of a group below it are not looked for.
    """
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = (CGROUP / "cpu.max").read_text().split()
        return math.inf if quota == "max" else int(quota) / int(period)
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = ((CGROUP / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return math.inf if int(quota) < 0 else int(quota) / int(period)
    return math.inf


def unit_rows(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Scale the rows of `[N, D]` to length one; a zero row stays zero.

    Raises:
        EncoderError: a value is not finite.
    """
    rows = np.asarray(vectors, dtype=np.float32)
    if not np.isfinite(rows).all():
        raise EncoderError("the encoder returned values that are not finite; try --precision f32")
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    unit: NDArray[np.float32] = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    return unit


def no_text_tower(card: EncoderCard) -> EncoderError:
    """Say that an encoder cannot read words, and which kind can."""
    return EncoderError(
        f"encoder {card.name!r} has no text tower, so it cannot search by words; "
        "index with a dual encoder instead, for example --encoder mini"
    )
