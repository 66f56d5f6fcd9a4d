"""Building an index folder: embed what is missing, append in batches, and write `index.json` last."""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from histoseek.encoders.encoder import Encoder, loadable_name
from histoseek.errors import FingerprintError, InputError
from histoseek.imaging import scale_of
from histoseek.index.about import DRAFT, FILE, About
from histoseek.index.embedding import Embedded, embed_items
from histoseek.items import Item, Manifest, Skipped, table_of, write_skipped
from histoseek.stores import VECTOR, LanceStore

ROWS_A_COMMIT = 4096
SECONDS_A_COMMIT = 30.0
"""A batch is committed when it has this many rows or this age: what a kill can cost."""

Progress = Callable[[int, int], None]


class _Batch(NamedTuple):
    items: list[Item]
    vectors: list[np.ndarray]


def build_index(
    manifest: Manifest,
    encoder: Encoder,
    out: str | Path,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    workers: int = 2,
) -> About:
    """Embed a manifest into the index folder `out`; see `Index.build`."""
    home = Path(out)
    if not len(manifest):
        raise InputError("the manifest has no items; check the filter or prepare it again")
    about = _about(manifest, encoder)
    store = _start(home, about, manifest, resume)
    done = store.ids()
    left = [item for item in manifest if item.id not in done] if done else manifest
    embedded = embed_items(left, manifest.path_of, encoder, workers)
    skipped = _fill(store, manifest, embedded, len(done), progress)
    write_skipped(home / "skipped.csv", skipped)
    held = store.rows().items  # makes the fast copy too, so that the first search finds it
    if not held.num_rows:
        store.drop()
        (home / DRAFT).unlink(missing_ok=True)
        raise InputError(
            f"none of {len(manifest)} images could be read; the first: {skipped[0].reason}; all reasons stand in "
            f"{home / 'skipped.csv'}; if the images moved, say where with --root"
        )
    scales = Counter(scale_of(mpp, encoder.fingerprint.preprocessing.mpp) for mpp in held["mpp"].to_pylist())
    finished = About(**{**vars(about), "n_items": held.num_rows, "n_skipped": len(skipped), "scales": dict(scales)})
    finished.write(home / FILE)
    (home / DRAFT).unlink(missing_ok=True)
    return finished


def _about(manifest: Manifest, encoder: Encoder) -> About:
    return About(
        encoder=encoder.card.name,
        loaded_from=loadable_name(encoder.card),
        fingerprint=encoder.fingerprint,
        dim=encoder.card.dim,
        has_text=encoder.card.has_text,
        root=str(manifest.root),
        manifest_digest=manifest.digest,
        facts=dict(manifest.facts),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={name: version(name) for name in ("histoseek", "lancedb", "numpy", "pillow")}
        | {"python": platform.python_version()},
    )


def _start(home: Path, about: About, manifest: Manifest, resume: bool) -> LanceStore:
    """A store to fill: a new one, or on request the one that an earlier build left unfinished."""
    store = LanceStore(home)
    if (home / FILE).exists() or (home / DRAFT).exists() or store.exists:
        if not resume:
            raise InputError(f"{home} holds an index already; choose another --out, or go on with --resume")
        return _resumed(home, about, store, manifest)
    if home.exists() and (not home.is_dir() or {path.name for path in home.iterdir()} - {"skipped.csv"}):
        raise InputError(f"{home} exists and is no index; choose another --out")
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {home}: {error.strerror}; choose another --out") from error
    about.write(home / DRAFT)
    return LanceStore.create(home, _schema(manifest, about.dim))


def _resumed(home: Path, about: About, store: LanceStore, manifest: Manifest) -> LanceStore:
    found = About.read(home / (DRAFT if (home / DRAFT).exists() else FILE))
    if found.fingerprint.digest != about.fingerprint.digest:
        raise FingerprintError(
            f"{home} was begun with encoder {found.encoder!r} ({found.fingerprint.precision}); resume with that one"
        )
    if found.manifest_digest != about.manifest_digest:
        raise InputError(f"{home} was begun with another manifest; resume with that one, or choose another --out")
    if not (home / FILE).exists():  # a finished index stays one while it is looked through again
        about.write(home / DRAFT)
    if store.exists:
        return store
    return LanceStore.create(home, _schema(manifest, about.dim))


def _schema(manifest: Manifest, dim: int) -> pa.Schema:
    return manifest.table.schema.remove_metadata().append(pa.field(VECTOR, pa.list_(pa.float32(), dim)))


def _fill(
    store: LanceStore, manifest: Manifest, embedded: Iterable[Embedded], n_done: int, progress: Progress | None
) -> list[Skipped]:
    skipped: list[Skipped] = []
    batch = _Batch([], [])
    since = time.monotonic()
    n_seen = n_done
    try:
        for one in embedded:
            n_seen += 1
            if one.vector is None:
                skipped.append(Skipped(one.item.id, one.reason))
            else:
                batch.items.append(one.item)
                batch.vectors.append(one.vector)
            if len(batch.items) >= ROWS_A_COMMIT or time.monotonic() - since > SECONDS_A_COMMIT:
                _commit(store, manifest, batch)
                since = time.monotonic()
            if progress is not None:
                progress(n_seen, len(manifest))
    finally:  # Ctrl-C keeps what is embedded
        _commit(store, manifest, batch)
    return skipped


def _commit(store: LanceStore, manifest: Manifest, batch: _Batch) -> None:
    if not batch.items:
        return
    dim = len(batch.vectors[0])
    flat = pa.array(np.concatenate(batch.vectors).astype(np.float32, copy=False))
    rows = table_of(batch.items)
    schema = _schema(manifest, dim)
    columns = [
        rows[field.name].cast(field.type) if field.name in rows.schema.names else pa.nulls(len(rows), field.type)
        for field in list(schema)[:-1]
    ]
    batch.items.clear()  # before the rows are stored: Ctrl-C right after must not store them again
    batch.vectors.clear()
    store.add(pa.table([*columns, pa.FixedSizeListArray.from_arrays(flat, dim)], schema=schema))
