"""The ranking behind an evaluation: who asks whom, who is shut out, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histoseek.errors import InputError
from histoseek.evaluation.settings import Settings
from histoseek.index import Index
from histoseek.index.embedding import embed_items
from histoseek.items import Manifest, Skipped
from histoseek.stores import Rows

QUERIES_A_BLOCK = 256


@dataclass(frozen=True)
class Queries:
    """The queries of an evaluation: item columns, unit vectors `[Q, D]`, and what was left out."""

    items: pa.Table
    vectors: NDArray[np.float32]
    skipped: tuple[Skipped, ...]
    n_unlabelled: int


@dataclass(frozen=True)
class Ranking:
    """Hits of every query, best first: gallery rows `[Q, K]` (−1: none), cosines, and label codes.

    `labels` [Q] and `hit_labels` [Q, K] are codes into `names`, −1 without a label; `n_relevant` [Q] counts the
    gallery items that carry the query's label and may be found; `groups` [Q] are codes of the queries' groups.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    hit_labels: NDArray[np.int64]
    n_relevant: NDArray[np.int64]
    groups: NDArray[np.int64]
    names: tuple[str, ...]

    @property
    def relevant(self) -> NDArray[np.bool_]:
        """Which hits carry their query's label, `[Q, K]`."""
        relevant: NDArray[np.bool_] = (self.hit_labels == self.labels[:, None]) & (self.rows >= 0)
        return relevant


def take_queries(index: Index, queries: Manifest | str | None, settings: Settings) -> Queries:
    """Find the queries' vectors: stored ones for items of the index, newly embedded ones for the others."""
    if isinstance(queries, Manifest):
        items, skipped, vectors = _from_manifest(index, queries)
    else:
        mask = index.allowed(queries)
        rows = np.arange(len(index)) if mask is None else np.flatnonzero(mask)
        items, skipped, vectors = index.rows.items.take(pa.array(rows)), (), index.rows.vectors(rows)
    if not items.num_rows:
        raise InputError("there is no query: the filter leaves no item")
    _has_column(items, settings.label, "queries")
    labelled = np.asarray(pc.is_valid(items[settings.label]).to_numpy(), dtype=bool)
    if not labelled.any():
        raise InputError(f"no query has a value in column {settings.label!r}; choose another with --label")
    return Queries(items.filter(pa.array(labelled)), vectors[labelled], tuple(skipped), int((~labelled).sum()))


def rank(index: Index, queries: Queries, settings: Settings) -> Ranking:
    """Rank the gallery for every query under the protocol.

    Raises:
        InputError: a group is on both sides of a split, or the gallery is empty.
    """
    rows = index.rows
    _has_column(rows.items, settings.label, "the index")
    gallery = index.allowed(settings.gallery)
    inside = np.ones(len(index), dtype=bool) if gallery is None else gallery
    if not inside.any():
        raise InputError(f"the gallery is empty: no item fulfils {settings.gallery!r}")
    groups, query_groups = _codes(rows.items["group"], queries.items["group"])[:2]
    if settings.protocol == "split":
        _no_overlap(queries, inside, groups, query_groups)
    labels, query_labels, names = _codes(rows.items[settings.label], queries.items[settings.label])
    own = settings.protocol == "leave-group-out"
    found = _rank_blocks(rows, queries.vectors, settings.depth, inside, (groups, query_groups) if own else None)
    hit_labels = np.where(found[0] >= 0, labels[found[0]], -1)
    n_relevant = _count_relevant(labels[inside], groups[inside], query_labels, query_groups if own else None)
    return Ranking(*found, query_labels, hit_labels, n_relevant, query_groups, tuple(names))


def _from_manifest(index: Index, queries: Manifest) -> tuple[pa.Table, tuple[Skipped, ...], NDArray[np.float32]]:
    rows = index.rows_of(queries.table["id"].to_pylist())
    vectors = np.zeros((len(queries), index.about.dim), dtype=np.float32)
    stored = rows >= 0
    vectors[stored] = index.rows.vectors(rows[stored])
    skipped: list[Skipped] = []
    kept = np.ones(len(queries), dtype=bool)
    if not stored.all():
        missing = np.flatnonzero(~stored)
        fresh = Manifest(queries.table.take(pa.array(missing)), queries.root, queries.facts)
        for at, one in zip(missing, embed_items(fresh, queries.path_of, index.encoder), strict=True):
            if one.vector is None:
                skipped.append(Skipped(one.item.id, one.reason))
                kept[at] = False
            else:
                vectors[at] = one.vector
    if not kept.any():
        raise InputError("there is no query that can be read; check the manifest's root and filter")
    return queries.table.filter(pa.array(kept)), tuple(skipped), vectors[kept]


def _rank_blocks(
    rows: Rows,
    vectors: NDArray[np.float32],
    k: int,
    inside: NDArray[np.bool_],
    groups: tuple[NDArray[np.int64], NDArray[np.int64]] | None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k nearest of each query, its own group shut out when `groups` (gallery's, queries') are given."""
    parts = []
    for start in range(0, len(vectors), QUERIES_A_BLOCK):
        block = slice(start, start + QUERIES_A_BLOCK)
        allowed = inside
        if groups is not None:
            allowed = inside & (groups[0][None, :] != groups[1][block, None])
        parts.append(rows.nearest(vectors[block], k, allowed))
    return np.concatenate([part.rows for part in parts]), np.concatenate([part.scores for part in parts])


def _count_relevant(
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    query_labels: NDArray[np.int64],
    query_groups: NDArray[np.int64] | None,
) -> NDArray[np.int64]:
    """Gallery items with each query's label, less those of its own group when that is shut out."""
    n_labels = max(labels.max(initial=-1), query_labels.max(initial=-1)) + 1
    all_of = np.bincount(labels[labels >= 0], minlength=n_labels)[query_labels]
    if query_groups is None:
        return np.asarray(all_of, dtype=np.int64)
    width = int(n_labels) + 1
    pairs, counts = np.unique(groups * width + labels + 1, return_counts=True)
    wanted = query_groups * width + query_labels + 1
    at = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
    return np.asarray(all_of - np.where(pairs[at] == wanted, counts[at], 0), dtype=np.int64)


def _no_overlap(
    queries: Queries, inside: NDArray[np.bool_], groups: NDArray[np.int64], query_groups: NDArray[np.int64]
) -> None:
    shared = np.isin(query_groups, np.unique(groups[inside]))
    if shared.any():
        names = sorted({str(queries.items["group"][int(at)]) for at in np.flatnonzero(shared)})
        raise InputError(
            f"{len(names)} groups are among the queries and in the gallery ({', '.join(names[:3])}), so patients would "
            "meet themselves; keep them apart, as in --gallery \"split = 'train'\", or use --protocol leave-group-out"
        )


def _has_column(items: pa.Table, column: str, where: str) -> None:
    if column not in items.schema.names:
        raise InputError(f"{where} have no column {column!r}; the columns are: {', '.join(items.schema.names)}")


def _codes(gallery: Any, queries: Any) -> tuple[NDArray[np.int64], NDArray[np.int64], list[str]]:
    """Common codes of two text columns, and what they stand for; −1 is NULL."""
    both = pa.chunked_array([*gallery.cast(pa.string()).chunks, *queries.cast(pa.string()).chunks], type=pa.string())
    names = sorted(value for value in pc.unique(both).to_pylist() if value is not None)
    code = pc.index_in(both, value_set=pa.array(names, pa.string())).fill_null(-1)
    flat = code.to_numpy().astype(np.int64)
    return flat[: len(gallery)], flat[len(gallery) :], names
