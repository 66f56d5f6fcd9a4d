"""What runs on the nodes of a Ray cluster: a chunk of manifest rows in, the same rows with their vectors out."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from histoseek.encoders import load_encoder
from histoseek.encoders.encoder import Encoder, Precision
from histoseek.errors import FingerprintError, InputError
from histoseek.index.embedding import embed_items
from histoseek.items import Manifest, Skipped, item_of
from histoseek.stores import VECTOR


@dataclass(frozen=True)
class ChunkWork:
    """What a worker needs to know besides its rows; `fingerprint` is the digest that its encoder must have."""

    encoder: str
    precision: Precision
    fingerprint: str
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
    encoder = _encoder(work.encoder, work.precision, work.threads)
    if encoder.fingerprint.digest != work.fingerprint:
        raise FingerprintError(
            f"node {platform.node()} has another encoder {work.encoder!r}; install the same version and weights there"
        )
    manifest = Manifest(rows, root, {})
    kept: list[int] = []
    vectors = [np.zeros((0, encoder.card.dim), dtype=np.float32)]
    skipped = []
    items = [item_of(row) for row in rows.to_pylist()]
    for at, one in enumerate(embed_items(items, manifest.path_of, encoder)):
        if one.vector is None:
            skipped.append(Skipped(one.item.id, one.reason))
        else:
            kept.append(at)
            vectors.append(np.asarray(one.vector, dtype=np.float32)[None])
    flat = pa.array(np.concatenate(vectors).ravel())
    column = pa.FixedSizeListArray.from_arrays(flat, encoder.card.dim)
    whole = rows.take(pa.array(kept, pa.int64())).append_column(pa.field(VECTOR, column.type), column)
    return whole, ChunkReport(len(kept), tuple(skipped))


@lru_cache(maxsize=1)
def _encoder(name: str, precision: Precision, threads: int) -> Encoder:
    """Loaded once in each worker process; Ray gives a process one task after the other."""
    return load_encoder(name, precision=precision, threads=threads)
