"""Keeping an index in order: what `index.json` says of its contents, compaction, and codes that make search quick."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoseek.errors import MissingExtraError
from histoseek.index.about import FILE, FORMAT, About
from histoseek.index.bagging import forget_kept
from histoseek.index.filling import scales_of
from histoseek.index.skipping import join_list
from histoseek.items import Skipped
from histoseek.stores.codes import WORTHWHILE, Tuned
from histoseek.stores.places import joined

if TYPE_CHECKING:
    from histoseek.index.index import Index

OLD_S = 3600.0
"""A small file that was begun so long ago is not being written any more."""

_DRAFTS = tuple(f".{name}" for name in (FILE, "skipped.csv", "building.json", "representatives-"))

COMMITS_LEFT = 64
"""After so many commits since the last compaction an index is compacted by whoever writes next."""


def compact_index(index: Index) -> bool:
    """Take what was removed from the disk and make search quick again; False where nothing had to be done."""
    changed = index.store.compact()
    if changed:
        forget_kept(index.path)
    _forget_drafts(index.path)
    index.refresh()
    make_quick(index)
    return changed


def _forget_drafts(home: Path) -> None:
    """Delete what writers left that died while they wrote a small file."""
    for draft in home.glob(".*"):
        if draft.is_file() and draft.name.startswith(_DRAFTS) and time.time() - draft.stat().st_mtime > OLD_S:
            draft.unlink(missing_ok=True)


def note_contents(index: Index, skipped: Sequence[Skipped] | None = None, **changes: Any) -> None:
    """Bring `index.json` up to what the table holds now, and the list of what was skipped where more was."""
    place = joined(index.address, FILE)
    with index.store.locked():  # what is read here to be changed must not be changed by others meanwhile
        about = About.read(place)
        items = index.store.rows().items
        scales = scales_of(items["mpp"], about.fingerprint.preprocessing.mpp)
        if skipped is not None:
            changes["n_skipped"] = join_list(index.address, skipped, items["id"])
        index.about = replace(about, n_items=items.num_rows, scales=scales, **changes)
        index.about.write(place)


def keep_in_order(index: Index) -> None:
    """Compact the index when many commits have left small files behind; make codes that a large change left out."""
    if index.store.n_commits > COMMITS_LEFT:
        compact_index(index)
    elif len(index) >= WORTHWHILE and index.rows.codes is None:
        make_quick(index)


def make_quick(index: Index) -> None:
    """Make the codes of a large archive, where the package for them is installed, and note their recall."""
    tuned: Tuned | None = None
    if len(index) >= WORTHWHILE:
        with suppress(MissingExtraError):  # search stays exact, and `info` says how it gets faster
            tuned = index.store.make_codes()
        index.forget_rows()
    search = {} if tuned is None else asdict(tuned)
    if index.about.search != search or index.about.format < FORMAT:
        note_contents(index, search=search)
