"""The floor: a histogram of stain colours and nuclear texture, without any learning."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from histoseek.encoders.encoder import (
    EncoderCard,
    Fingerprint,
    Pace,
    Preprocessing,
    Settings,
    n_cores,
    no_text_tower,
    unit_rows,
)
from histoseek.encoders.pixels import stacked
from histoseek.errors import EncoderError

VERSION = "histoseek colour and texture histogram 1"
"""Names the recipe below; changed with it, because it stands for the weights in the fingerprint."""

VIEW_PX = 256
MPP = 0.5

HAEMATOXYLIN_BINS, EOSIN_BINS = 12, 10
VIEWS_A_CALL = 16
CONTRASTS = (4, 12, 28)
"""Steps of haematoxylin between the darkest and palest neighbour that part the four contrast bins."""
PATTERNS = 10
SCALES = 3
FLAT = 3
"""A neighbour counts as darker only from this many haematoxylin steps on: below lie noise and JPEG blocks."""
COLOUR_SHARE = 0.4
"""Part of the squared length that the colour block carries; the texture blocks share the rest."""

DIM = HAEMATOXYLIN_BINS * EOSIN_BINS + SCALES * PATTERNS * (len(CONTRASTS) + 1)

# Ruifrok and Johnston's optical densities of haematoxylin, eosin and a residual, per RGB channel.
STAINS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
NEIGHBOURS = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))

CARD = EncoderCard(
    name="color",
    dim=DIM,
    has_text=False,
    licence="MIT",
    commercial_use=True,
    about="stain colour and nuclear texture histogram; not learned, the floor in every table",
)


class ColorEncoder:
    """Square-rooted histograms of stain amounts and of local patterns of haematoxylin at three scales.

    Turning a view by right angles or mirroring it changes nothing: tissue has no up. A row depends on its view alone.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        settings = settings or Settings()
        if settings.precision not in ("auto", "f32"):
            raise EncoderError(f"encoder 'color' counts in f32 only, not {settings.precision}; leave --precision out")
        self._threads = settings.threads or n_cores()
        self._fingerprint = Fingerprint(
            encoder=CARD.name,
            weights_sha256=hashlib.sha256(VERSION.encode()).hexdigest(),
            preprocessing=settings.seen(Preprocessing(view_px=VIEW_PX, mpp=MPP)),
        )

    @property
    def card(self) -> EncoderCard:
        """What a person should know about it."""
        return CARD

    @property
    def fingerprint(self) -> Fingerprint:
        """What decides its vectors."""
        return self._fingerprint

    @property
    def pace(self) -> Pace:
        """One call a core: counting runs beside counting, for the most part without Python's lock."""
        return Pace(self._threads, VIEWS_A_CALL)

    def embed_images(self, views: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed views `[256, 256, 3]` as unit rows `[N, 240]`."""
        pixels = stacked(views, VIEW_PX)
        rows = np.zeros((len(pixels), DIM), np.float32)
        for row, view in zip(rows, pixels, strict=True):
            row[:] = _described(view)
        return unit_rows(rows)

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Raise `EncoderError`: colours know no words."""
        raise no_text_tower(CARD)


def _described(view: NDArray[np.uint8]) -> NDArray[np.float32]:
    colours = _coarse_colours(view)
    haematoxylin, bins = _stain_tables()
    counts = np.bincount(colours.ravel(), minlength=len(bins))
    present = np.flatnonzero(counts)
    blocks = [_block(counts[present].astype(np.float32) @ bins[present], COLOUR_SHARE)]
    layer = haematoxylin[colours]
    for _ in range(SCALES):
        blocks.append(_block(_pattern_counts(layer), (1 - COLOUR_SHARE) / SCALES))
        layer = _halved(layer)
    return np.concatenate(blocks)


def _block(counts: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """Turn counts into a histogram whose square root has squared length `share`."""
    roots: NDArray[np.float32] = np.sqrt(counts * np.float32(share) / counts.sum(), dtype=np.float32)
    return roots


def _coarse_colours(view: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Number each pixel's colour with 5 bits a channel, `[H, W]`, from 0 to 32767."""
    coarse = (view >> 3).astype(np.uint16)
    return coarse[..., 0] * np.uint16(1024) + coarse[..., 1] * np.uint16(32) + coarse[..., 2]


@cache
def _stain_tables() -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """Look up, by coarse colour, the haematoxylin step `[32768]` and the soft colour bins `[32768, B]`."""
    level = np.arange(32) * 8 + 3.5
    rgb = np.stack(np.meshgrid(level, level, level, indexing="ij"), axis=-1).reshape(-1, 3)
    stains = np.asarray(STAINS) / np.linalg.norm(STAINS, axis=1, keepdims=True)
    amounts = -np.log10((rgb + 1) / 256) @ np.linalg.inv(stains)
    steps = np.clip(amounts[:, 0] * 200 + 20, 0, 255).astype(np.int16)
    along = _soft_bins(amounts[:, 0], -0.05, 0.75, HAEMATOXYLIN_BINS)
    across = _soft_bins(amounts[:, 1], -0.1, 0.6, EOSIN_BINS)
    return steps, (along[:, :, None] * across[:, None, :]).reshape(len(rgb), -1)


def _soft_bins(values: NDArray[np.float64], low: float, high: float, n: int) -> NDArray[np.float32]:
    """Share each value between its two nearest of `n` bins, `[V, n]`; what lies outside goes to the end bins."""
    place = (values - low) / (high - low) * n - 0.5
    left = np.floor(place).astype(np.int64)
    weights = np.zeros((len(values), n), np.float32)
    everyone = np.arange(len(values))
    for bin_, share in ((left, 1 - (place - left)), (left + 1, place - left)):
        np.add.at(weights, (everyone, np.clip(bin_, 0, n - 1)), share.astype(np.float32))
    return weights


def _pattern_counts(layer: NDArray[np.int16]) -> NDArray[np.float32]:
    """Count local patterns by contrast: how the eight neighbours of each pixel stand to it, `[40]`."""
    height, width = layer.shape[0] - 2, layer.shape[1] - 2
    centre = layer[1:-1, 1:-1]
    darker_from = centre + np.int16(FLAT)
    code = np.zeros(centre.shape, np.uint8)
    highest, lowest = centre.copy(), centre.copy()
    for bit, (y, x) in enumerate(NEIGHBOURS):
        neighbour = layer[y : y + height, x : x + width]
        code |= (neighbour >= darker_from).view(np.uint8) << np.uint8(bit)
        np.maximum(highest, neighbour, out=highest)
        np.minimum(lowest, neighbour, out=lowest)
    patterns, contrasts = _pattern_tables()
    bins = patterns[code] + contrasts[highest - lowest]
    return np.bincount(bins.ravel(), minlength=PATTERNS * (len(CONTRASTS) + 1)).astype(np.float32)


@cache
def _pattern_tables() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Look up the first bin of a neighbour code `[256]` and the offset of a contrast `[256]`.

    Codes whose darker neighbours form one arc count by the arc's length, 0 to 8; all others share bin 9.
    """
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    changes = (bits != np.roll(bits, 1, axis=1)).sum(axis=1)
    pattern = np.where(changes <= 2, bits.sum(axis=1), PATTERNS - 1)
    contrast = np.searchsorted(CONTRASTS, np.arange(256), side="right")
    return (pattern * (len(CONTRASTS) + 1)).astype(np.uint8), contrast.astype(np.uint8)


def _halved(layer: NDArray[np.int16]) -> NDArray[np.int16]:
    """Average squares of 2 × 2 pixels."""
    total = layer[::2, ::2] + layer[1::2, ::2] + layer[::2, 1::2] + layer[1::2, 1::2]
    return (total + np.int16(2)) >> np.int16(2)
