"""Building an index folder: embed what is missing, append in batches, and write `index.json` last."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from histoseek.encoders.encoder import Encoder, loadable_name
from histoseek.errors import FingerprintError, InputError
from histoseek.index.about import DRAFT, FILE, About
from histoseek.index.embedding import embed_items
from histoseek.index.filling import Progress, fill, scales_of, schema_of, with_digests
from histoseek.items import Item, Manifest, write_skipped
from histoseek.stores import LanceStore


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
    left = with_digests(_left(manifest, done), manifest.path_of)
    embedded = embed_items(left, manifest.path_of, encoder, workers)

    def told(number: int) -> None:
        if progress is not None:
            progress(len(done) + number, len(manifest))

    skipped = fill(store, schema_of(manifest.table.schema, about.dim), embedded, told)
    write_skipped(home / "skipped.csv", skipped)
    held = store.rows().items  # makes the fast copy too, so that the first search finds it
    if not held.num_rows:
        store.drop()
        (home / DRAFT).unlink(missing_ok=True)
        raise InputError(
            f"none of {len(manifest)} images could be read; the first: {skipped[0].reason}; all reasons stand in "
            f"{home / 'skipped.csv'}; if the images moved, say where with --root"
        )
    scales = scales_of(held["mpp"], encoder.fingerprint.preprocessing.mpp)
    finished = replace(about, n_items=held.num_rows, n_skipped=len(skipped), scales=scales)
    finished.write(home / FILE)
    (home / DRAFT).unlink(missing_ok=True)
    return finished


def _left(manifest: Manifest, done: set[str]) -> Iterator[Item]:
    return (item for item in manifest if item.id not in done)


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
    return LanceStore.create(home, schema_of(manifest.table.schema, about.dim))


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
    return LanceStore.create(home, schema_of(manifest.table.schema, about.dim))
