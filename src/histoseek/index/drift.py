"""How far the vectors of an archive that was read fast lie from those of full decoding."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from histoseek.encoders.encoder import Encoder, EncoderCard, Fingerprint
from histoseek.errors import ImageError, InputError, MissingExtraError
from histoseek.imaging import FlatImage, open_pixels
from histoseek.imaging.flat import FINER
from histoseek.index.embedding import embed_box

if TYPE_CHECKING:
    from histoseek.index.index import Index

SAMPLE = 32
SAME = 1 - 1e-6
"""Vectors of the same pixels come at least so near, whatever else was in their batch."""


@dataclass(frozen=True)
class Drift:
    """Cosines `[N]` of the stored vectors of sampled JPEG items with those of full decoding, out of `n_items`."""

    n_items: int
    cosines: NDArray[np.float64]

    @property
    def told(self) -> str:
        """What people read."""
        if (self.cosines > SAME).all():
            return (
                f"fast decoding changed nothing: none of {self.n_items} sampled items is a JPEG file that is shrunk by "
                f"{2 * FINER:g} or more"
            )
        return (
            f"fast decoding: cosine with full decoding {self.cosines.min():.4f} at the smallest, "
            f"{self.cosines.mean():.4f} in the mean; {len(self.cosines)} of {self.n_items} sampled items are JPEG files"
        )


def drift_of(index: Index) -> Drift:
    """Embed up to 32 items of an index, evenly spread, once more with full decoding, and compare with what it holds.

    Items whose picture cannot be read now are left out.
    """
    manifest = index.manifest
    rows = np.unique(np.linspace(0, len(manifest) - 1, min(SAMPLE, len(manifest))).round().astype(np.int64))
    encoder = _InFull(index.encoder)
    cosines = []
    for row, stored in zip(rows, index.rows.vectors(rows), strict=True):
        item = manifest[int(row)]
        try:
            with closing(open_pixels(manifest.path_of(item))) as image:
                if isinstance(image, FlatImage) and image.is_jpeg:
                    full = embed_box(image, item.box, item.mpp, encoder)
                    cosines.append(float(full.astype(np.float64) @ stored))
        except (ImageError, InputError, MissingExtraError):
            continue
    return Drift(len(rows), np.array(cosines))


class _InFull:
    """An encoder whose pictures are decoded in full, whatever it was loaded with."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    @property
    def card(self) -> EncoderCard:
        return self._encoder.card

    @property
    def fingerprint(self) -> Fingerprint:
        marks = self._encoder.fingerprint
        return replace(marks, preprocessing=replace(marks.preprocessing, decoding="full"))

    def embed_images(self, views: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        return self._encoder.embed_images(views)

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._encoder.embed_texts(texts)
