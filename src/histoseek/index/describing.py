"""What an index is, in words and numbers: in its folder, on object storage, or on a server."""

from __future__ import annotations

from typing import Any, NamedTuple

from histoseek.index.about import About
from histoseek.index.index import Index
from histoseek.stores.codes import WORTHWHILE
from histoseek.stores.milvus import MilvusStore
from histoseek.stores.places import is_remote


class _Held(NamedTuple):
    """What the newest version holds."""

    n_items: int
    columns: list[str]
    first_id: str
    version: int


def describe_index(index: Index) -> dict[str, Any]:
    """All that is worth knowing of an index, by name; wherever it lies, without fetching its vectors."""
    about, server = index.about, index.server
    held = _held(index)
    return {
        "kind": "index",
        "items": held.n_items,
        "skipped": about.n_skipped,
        "encoder": about.encoder,
        "text": "yes" if about.has_text else "no",
        "dim": about.dim,
        "precision": about.fingerprint.precision,
        "fingerprint": about.fingerprint.digest,
        "view": about.fingerprint.preprocessing.told,
        "scales": dict(about.scales),
        "search": _search(about) if server is None else _served_search(server),
        "images": about.root,
        "columns": ", ".join(held.columns),
        "first id": held.first_id,
        "version": held.version,
        "created": about.created,
        **{name: about.facts[name] for name in ("title", "licence", "source") if name in about.facts},
    }


def _held(index: Index) -> _Held:
    server = index.server
    if server is not None:
        return _Held(server.count(), server.schema.names, server.first_id(), server.version)
    if is_remote(index.address):  # its rows would fetch a copy of all vectors
        store = index.store
        first = next((batch["id"][0].as_py() for batch in store.batches() if batch.num_rows), "")
        return _Held(store.count(), store.schema.names[:-1], first, store.version)
    items = index.rows.items
    return _Held(len(index), items.schema.names, items["id"][0].as_py() if len(index) else "", index.rows.version)


def _search(about: About) -> str:
    """How an index is searched that is no server's copy."""
    tuned = about.search
    if tuned:
        return (
            f"by codes of {tuned['bits']} bit, recall@10 {tuned['recall']:.4f} measured on {tuned['n_rows']} items "
            f"({tuned['recall_filtered']:.4f} under a filter that leaves a tenth)"
        )
    if about.n_items < WORTHWHILE:
        return "exact"
    return "exact; quicker with: pip install 'histoseek[scale]', then histoseek index compact"


def _served_search(server: MilvusStore) -> str:
    notes = server.notes()
    return (
        f"by Milvus, recall@10 {notes['recall']:.4f} measured on {notes['n_checked']} items when version "
        f"{notes['version']} of the index was pushed"
    )
