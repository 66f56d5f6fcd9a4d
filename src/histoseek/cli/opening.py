"""Opening an index as the verbs do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from histoseek.index import Index


def open_index(path: str | Path, encoder: str | None, root: Path | None) -> Index:
    """Open an index, with its encoder loaded from elsewhere when `encoder` is given; another one is refused."""
    from histoseek.encoders.loading import load_again
    from histoseek.index import Index

    opened = Index.open(path, root=root)
    if encoder is None:
        return opened
    return Index.open(path, load_again(encoder, opened.about.fingerprint), root)
