"""Which encoder made vectors that came from files: its own fingerprint where that can be had, else a declared one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histoseek.encoders import load_encoder
from histoseek.encoders.encoder import Encoder, Fingerprint, Preprocessing, loadable_name
from histoseek.errors import HistoseekError, InputError
from histoseek.index.embedding import embed_items
from histoseek.items import Item, inside_root

MARK = "declared:"
"""Stands before the name of an encoder that was only stated, so that nothing loads under it by accident."""

SAME = 0.9
"""Mean cosine from which vectors count as made by an encoder: another precision or resize costs less, others more."""


@dataclass(frozen=True)
class Sample:
    """Some tiles with the vectors of their file, and how their pictures were cut.

    `side` is the side of a tile in level-0 pixels of `mpp` µm, `patch_px` that of the picture, and `target` the
    picture's nominal magnification; None where unknown. `items` are empty without the slide itself.
    """

    dim: int
    side: int
    mpp: float | None
    patch_px: int | None
    target: float | None
    items: Sequence[Item]
    vectors: NDArray[np.float32]
    root: Path

    @property
    def side_um(self) -> float | None:
        """Side of a tile in µm, by its slide's scale, else by the nominal one (10x is 1 µm per pixel)."""
        if self.mpp is not None:
            return self.side * self.mpp
        return self.patch_px * 10 / self.target if self.patch_px and self.target else None


@dataclass(frozen=True)
class Declared:
    """What an imported index says of its encoder, and why."""

    name: str
    loaded_from: str
    fingerprint: Fingerprint
    dim: int
    has_text: bool
    notes: tuple[str, ...]


def declare(name: str, sample: Sample, view_px: int | None, view_mpp: float | None) -> Declared:
    """Find the fingerprint of the encoder that is said to have made `sample`.

    Where it loads here, gives vectors of that length and, if the slide is at hand, much the same vectors again, the
    fingerprint is its own and queries can be embedded. Otherwise it is declared: the index is searched by item or by
    vector. `view_px` and `view_mpp` overrule what the files say of the encoder's views.

    Raises:
        InputError: nothing says how large the tiles are in µm, or the name cannot be one.
    """
    if not name.strip() or name.startswith(MARK):
        raise InputError(f"--encoder is {name!r}; name the encoder that made the vectors, as in --encoder uni_v1")
    try:
        encoder = _loaded(name, sample, view_mpp)
    except HistoseekError as error:
        return _stated(name, sample, view_px, view_mpp, f"{name} cannot be loaded here ({error})")
    how = encoder.fingerprint.preprocessing
    reason, told = _differs(encoder, sample, view_px)
    if reason:
        return _stated(name, sample, view_px, view_mpp, reason)
    notes = (f"queries are embedded with {name}, in views of {how.view_px} px at {how.mpp:g} µm per pixel; {told}",)
    card = encoder.card
    return Declared(card.name, loadable_name(card), encoder.fingerprint, card.dim, card.has_text, notes)


def _loaded(name: str, sample: Sample, view_mpp: float | None) -> Encoder:
    """The encoder, seeing views as large as the tiles were."""
    encoder = load_encoder(name, mpp=view_mpp)
    how = encoder.fingerprint.preprocessing
    if view_mpp is not None or sample.side_um is None:
        return encoder
    wanted = round(sample.side_um / how.view_px, 4)
    return encoder if abs(wanted / how.mpp - 1) < 0.01 else load_encoder(name, mpp=wanted)


def _differs(encoder: Encoder, sample: Sample, view_px: int | None) -> tuple[str, str]:
    """Why the vectors are not this encoder's, else nothing; and what was looked at."""
    name, own_px = encoder.card.name, encoder.fingerprint.preprocessing.view_px
    if encoder.card.dim != sample.dim:
        return f"{name} gives {encoder.card.dim} numbers and the files hold {sample.dim}", ""
    if view_px is not None and view_px != own_px:
        return f"{name} sees {own_px} px and --view-px says {view_px}", ""
    again = embed_items(sample.items, lambda item: inside_root(sample.root, item), encoder)
    cosines = [
        float(one.vector @ vector) for one, vector in zip(again, sample.vectors, strict=False) if one.vector is not None
    ]
    if not cosines:
        return "", "that it made the vectors was not checked, because no tile of a slide could be read (--slides)"
    told = f"{len(cosines)} tiles embedded again have a mean cosine of {np.mean(cosines):.3f} with their vectors"
    return (f"{told}, so {name} did not make them as it is loaded here" if np.mean(cosines) < SAME else ""), told


def _stated(name: str, sample: Sample, view_px: int | None, view_mpp: float | None, reason: str) -> Declared:
    seen_px = view_px or sample.patch_px or sample.side
    side_um = sample.side_um
    if view_mpp is None and side_um is None:
        raise InputError(
            "neither files nor slides say how large the tiles are in µm; state --mpp (of level 0) or --view-mpp (of "
            "the pictures that the encoder saw)"
        )
    mpp = view_mpp or round((side_um or 0.0) / seen_px, 4)
    fingerprint = Fingerprint(name, MARK + name, Preprocessing(seen_px, mpp))
    note = f"{reason}; it is kept as declared: search by item or by vector, not by image or words"
    return Declared(name, MARK + name, fingerprint, sample.dim, False, (note,))
