"""Building an index: embed what is missing, append in batches, and write `index.json` last."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from histoseek.encoders.encoder import Encoder, loadable_name
from histoseek.errors import FingerprintError, InputError
from histoseek.index.about import DRAFT, FILE, About
from histoseek.index.embedding import embed_items
from histoseek.index.filling import Progress, fill, scales_of, schema_of, with_digests
from histoseek.index.ray_build import RayWork, embed_on_ray, without
from histoseek.index.ray_writing import sink_for
from histoseek.index.skipping import FILE as SKIPPED
from histoseek.index.skipping import join_list, write_list
from histoseek.items import Manifest, Skipped
from histoseek.items.files import local_path
from histoseek.stores import TableStore, create_store, open_store
from histoseek.stores.places import delete, exists, is_remote, joined, list_names


def build_index(
    manifest: Manifest,
    encoder: Encoder,
    out: str | Path,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    ray: RayWork | None = None,
) -> About:
    """Embed a manifest into the index folder or address `out`; see `Index.build`."""
    home = str(out)
    if not len(manifest):
        raise InputError("the manifest has no items; check the filter or prepare it again")
    about = _about(manifest, encoder)
    store = _start(home, about, manifest, resume)
    done = store.ids()

    def told(number: int) -> None:
        if progress is not None:
            progress(len(done) + number, len(manifest))

    if ray is None:
        skipped = _embed_here(manifest, encoder, store, done, told)
    else:
        skipped = _embed_there(manifest, encoder, store, (done, ray), told)
    finished = _finish(home, about, store, skipped)
    if not finished.n_items:
        store.drop()
        delete(joined(home, DRAFT))
        raise InputError(
            f"none of {len(manifest)} images could be read; the first: {skipped[0].reason}; all reasons stand in "
            f"{joined(home, SKIPPED)}; if the images moved, say where with --root"
        )
    delete(joined(home, DRAFT))
    return finished


def _finish(home: str, about: About, store: TableStore, skipped: list[Skipped]) -> About:
    """Write the list of what was skipped and, where there are items, what makes the folder an index."""
    place = joined(home, FILE)
    with store.locked():  # a finished index that is looked through again may have other writers
        held = store.rows().items  # makes the fast copy too, so that the first search finds it
        n_skipped = join_list(home, skipped, held["id"]) if exists(place) else write_list(home, skipped)
        scales = scales_of(held["mpp"], about.fingerprint.preprocessing.mpp)
        finished = replace(about, n_items=held.num_rows, n_skipped=n_skipped, scales=scales)
        if held.num_rows:
            finished.write(place)
    return finished


def _embed_here(
    manifest: Manifest, encoder: Encoder, store: TableStore, done: set[str], told: Callable[[int], None]
) -> list[Skipped]:
    left = (item for item in manifest if item.id not in done)
    embedded = embed_items(with_digests(left, manifest.path_of), manifest.path_of, encoder)
    return fill(store, schema_of(manifest.table.schema, encoder.card.dim), embedded, told)


def _embed_there(
    manifest: Manifest, encoder: Encoder, store: TableStore, work: tuple[set[str], RayWork], told: Callable[[int], None]
) -> list[Skipped]:
    done, ray = work
    through = 0

    def more(number: int) -> None:
        nonlocal through
        through += number
        told(through)

    left = without(manifest, done)
    return embed_on_ray(left, encoder, sink_for(store), ray, more) if len(left) else []


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


def _start(home: str, about: About, manifest: Manifest, resume: bool) -> TableStore:
    """A store to fill: a new one, or on request the one that an earlier build left unfinished."""
    store = open_store(home)
    if exists(joined(home, FILE)) or exists(joined(home, DRAFT)) or store.exists:
        if not resume:
            raise InputError(f"{home} holds an index already; choose another --out, or go on with --resume")
        return _resumed(home, about, store, manifest)
    if not is_remote(home):
        _make_folder(local_path(home))
    if set(list_names(home)) - {SKIPPED}:
        raise InputError(f"{home} exists and is no index; choose another --out")
    about.write(joined(home, DRAFT))
    return create_store(home, schema_of(manifest.table.schema, about.dim))


def _make_folder(home: Path) -> None:
    if home.exists() and not home.is_dir():
        raise InputError(f"{home} exists and is no index; choose another --out")
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {home}: {error.strerror}; choose another --out") from error


def _resumed(home: str, about: About, store: TableStore, manifest: Manifest) -> TableStore:
    draft = joined(home, DRAFT)
    is_draft, is_finished = exists(draft), exists(joined(home, FILE))
    found = About.read(draft if is_draft else joined(home, FILE))
    if found.fingerprint.digest != about.fingerprint.digest:
        raise FingerprintError(f"{home} was begun with encoder {found.fingerprint.told}; resume with that one")
    if found.manifest_digest != about.manifest_digest:
        raise InputError(f"{home} was begun with another manifest; resume with that one, or choose another --out")
    if not is_finished:  # a finished index stays one while it is looked through again
        about.write(draft)
    if store.exists:
        return store
    return create_store(home, schema_of(manifest.table.schema, about.dim))
