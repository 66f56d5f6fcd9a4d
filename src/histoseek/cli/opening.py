"""Opening an index as the verbs do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from histoseek.index import Index


def open_index(path: str | Path, encoder: str | None, root: Path | None) -> Index:
    """Open an index, with its encoder loaded from elsewhere when `encoder` is given; another one is refused."""
    from histoseek.encoders import load_encoder
    from histoseek.index import Index

    opened = Index.open(path, root=root)
    if encoder is None:
        return opened
    marks = opened.about.fingerprint
    chosen = load_encoder(encoder, precision=marks.precision, mpp=marks.preprocessing.mpp)
    return Index.open(path, chosen, root)
