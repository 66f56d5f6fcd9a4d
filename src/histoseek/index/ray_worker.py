"""What runs on the nodes of a Ray cluster: a chunk of manifest rows in, the same rows with their vectors out."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from histoseek.encoders.encoder import Encoder, Fingerprint
from histoseek.encoders.loading import load_again
from histoseek.errors import FingerprintError, InputError
from histoseek.index.embedding import embed_items
from histoseek.index.filling import rows_of, schema_of, with_digests
from histoseek.items import Manifest, Skipped, item_of


@dataclass(frozen=True)
class ChunkWork:
    """What a worker needs to know besides its rows; `fingerprint` is the one that its encoder must have."""

    encoder: str
    fingerprint: Fingerprint
    root: str
    threads: int


@dataclass(frozen=True)
class ChunkReport:
    """How many rows got a vector, and which did not."""

    n_rows: int
    skipped: tuple[Skipped, ...]


def embed_chunk(rows: pa.Table, work: ChunkWork) -> tuple[pa.Table, ChunkReport]:
    """Embed the rows of a manifest: those with a vector, and a report on all.

    Raises:
        FingerprintError: the encoder of this node gives other vectors.
        InputError: this node does not see the images' folder. Else all its items would count as unreadable.
    """
    root = Path(work.root)
    if not root.is_dir():
        raise InputError(
            f"node {platform.node()} does not see the images' folder {root}; mount it there, or say where with --root"
        )
    encoder = _encoder(work.encoder, work.fingerprint, work.threads)
    if encoder.fingerprint.digest != work.fingerprint.digest:
        raise FingerprintError(
            f"node {platform.node()} has another encoder {work.encoder!r}; install the same version and weights there"
        )
    path_of = Manifest(rows, root, {}).path_of
    items = with_digests(map(item_of, rows.to_pylist()), path_of)
    embedded, skipped = [], []
    for one in embed_items(items, path_of, encoder, work.threads):
        if one.vector is None:
            skipped.append(Skipped(one.item.id, one.reason))
        else:
            embedded.append(one)
    stored = rows_of(embedded, schema_of(rows.schema, encoder.card.dim))
    return stored, ChunkReport(stored.num_rows, tuple(skipped))


@lru_cache(maxsize=1)
def _encoder(name: str, marks: Fingerprint, threads: int) -> Encoder:
    """Loaded once in each worker process; Ray gives a process one task after the other."""
    return load_again(name, marks, threads)
