"""Pushing an index to a Milvus server: the Lance table, streamed; then its answers held against the exact ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from histoseek.errors import InputError, StorageError
from histoseek.index.served import change_notes
from histoseek.stores import VECTOR
from histoseek.stores.milvus import MilvusStore
from histoseek.stores.milvus_address import MilvusAddress
from histoseek.stores.wanted import Wanted

if TYPE_CHECKING:
    from histoseek.index.index import Index

ROWS_AT_ONCE = 5_000
CHECKED = 1_000
"""Stored vectors that are asked before the collection counts as ready."""

WANTED_RECALL = 0.98
_SEED = 0


@dataclass(frozen=True)
class Pushed:
    """What a push did: items sent now, items taken out there, and the recall@10 that was measured afterwards."""

    n_sent: int
    n_removed: int
    n_checked: int
    recall: float


def push_index(index: Index, address: str, progress: Callable[[int, int], None] | None = None) -> Pushed:
    """Fill a collection with an index, or bring it up to date; see `Index.push`."""
    store = MilvusStore(MilvusAddress.parse(address))
    index.refresh()
    version, schema = index.rows.version, index.store.schema
    if not store.exists:
        store.drop()  # what is left of a collection whose making was cut short
        MilvusStore.create(store.address, schema)
    elif store.schema != index.rows.items.schema or store.dim != index.about.dim:
        raise InputError(f"{address} holds another archive, with other columns; choose another name")
    notes = store.notes()
    source = f"{index.about.fingerprint.digest}-{index.about.created}"
    if notes.get("source", source) != source:
        raise InputError(f"{address} was filled from another index; choose another name, or drop it first")
    begun = notes.get("state") == "filling" and notes.get("version") == version
    start = int(notes.get("n_sent", 0)) if begun else 0
    store.set_notes({"state": "filling", "source": source, "version": version, "n_sent": start, "about": {}})
    n_sent = _send(index, store, start, progress)
    gone = sorted(set(store.ids()) - set(index.rows.items["id"].to_pylist()))
    n_removed = store.remove(gone) if gone else 0
    change_notes(store, n_sent=0)  # what is found wanting now must be sent again
    if store.count() != len(index):
        raise StorageError(f"{address} holds {store.count()} items and the index {len(index)}; push again")
    recall, n_checked = _recall(index, store)
    if recall < WANTED_RECALL:
        raise StorageError(
            f"{address} finds {recall:.3f} of the ten nearest in {n_checked} questions, less than {WANTED_RECALL}; it "
            "is not opened for searching: push again, and if that does not help look at the server's index"
        )
    change_notes(store, state="ready", about=index.about.as_dict(), recall=recall, n_checked=n_checked)
    return Pushed(n_sent, n_removed, n_checked, recall)


def _send(index: Index, store: MilvusStore, start: int, progress: Callable[[int, int], None] | None) -> int:
    """Send the rows of the version that is searched from `start` on, noting how far it got."""
    rows, total = index.rows, len(index)
    for at in range(start, total, ROWS_AT_ONCE):
        part = np.arange(at, min(at + ROWS_AT_ONCE, total))
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.checked(part).ravel()), index.about.dim)
        items = rows.items.slice(at, len(part))
        store.add(items.append_column(pa.field(VECTOR, vectors.type), vectors))
        change_notes(store, n_sent=int(part[-1]) + 1)
        if progress is not None:
            progress(int(part[-1]) + 1, total)
    return total - start


def _recall(index: Index, store: MilvusStore) -> tuple[float, int]:
    """Recall@10 on stored vectors, each without its own group, against the exact answer; and how many were asked."""
    n_asked = min(CHECKED, len(index))
    asked = np.sort(np.random.default_rng(_SEED).choice(len(index), n_asked, replace=False))
    rows = index.rows
    groups = rows.items["group"].take(pa.array(asked)).to_pylist()
    hits = total = 0
    for first, last in pairwise([*range(0, n_asked, 64), n_asked]):
        part = asked[first:last]
        queries = rows.checked(part)
        masks = rows.groups[None] != rows.groups[part][:, None]
        truth = rows.nearest(queries, 10, masks)
        for at, (query, group) in enumerate(zip(queries, groups[first:last], strict=True)):
            exact = truth.scores[at][truth.rows[at] >= 0]
            found = store.nearest(query[None], 10, Wanted(not_groups=frozenset([group])))[0]
            held = index.rows_of(found.items["id"].to_pylist())
            true = rows.checked(held[held >= 0]) @ query  # what the index says of these items, whatever the server says
            hits += int((true >= exact.min() - 1e-6).sum()) if len(exact) else 0  # by score: twins are equally right
            total += len(exact)
    return (hits / total if total else 1.0), n_asked
