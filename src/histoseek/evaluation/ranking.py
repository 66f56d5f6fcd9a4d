"""The ranking behind an evaluation: who asks whom, who is shut out, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histoseek.errors import InputError
from histoseek.evaluation.excluding import Exclusion, contents, find_twins
from histoseek.evaluation.settings import Settings
from histoseek.index import Index
from histoseek.index.embedding import embed_items
from histoseek.items import Manifest, Skipped
from histoseek.stores import Rows

QUERIES_A_BLOCK = 256
BLOCK_BYTES = 64 * 1024**2
"""So many queries are ranked at once, fewer where a byte for each of them and each item would take more than this."""


@dataclass(frozen=True)
class Queries:
    """The queries of an evaluation: item columns, unit vectors `[Q, D]`, and what was left out.

    `rows` [Q] says which item of the index each one is, −1 for none.
    """

    items: pa.Table
    vectors: NDArray[np.float32]
    rows: NDArray[np.int64]
    skipped: tuple[Skipped, ...]
    n_unlabelled: int


@dataclass(frozen=True)
class Ranking:
    """Hits of every query, best first: gallery rows `[Q, K]` (−1: none), cosines, and label codes.

    `labels` [Q] and `hit_labels` [Q, K] are codes into `names`, −1 without a label; `n_relevant` [Q] counts the
    gallery items that carry the query's label and may be found; `groups` [Q] are codes of the queries' groups;
    `n_twins` counts the identical pictures that were shut out beside the protocol's own rule.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    hit_labels: NDArray[np.int64]
    n_relevant: NDArray[np.int64]
    groups: NDArray[np.int64]
    names: tuple[str, ...]
    n_twins: int

    @property
    def relevant(self) -> NDArray[np.bool_]:
        """Which hits carry their query's label, `[Q, K]`."""
        relevant: NDArray[np.bool_] = (self.hit_labels == self.labels[:, None]) & (self.rows >= 0)
        return relevant


def take_queries(index: Index, queries: Manifest | str | None, settings: Settings) -> Queries:
    """Find the queries' vectors: stored ones for items of the index, newly embedded ones for the others."""
    if isinstance(queries, Manifest):
        found = _from_manifest(index, queries)
    else:
        mask = index.allowed(queries)
        rows: NDArray[np.int64] = np.arange(len(index)) if mask is None else np.flatnonzero(mask)
        found = Queries(index.rows.items.take(pa.array(rows)), index.rows.checked(rows), rows, (), 0)
    if not found.items.num_rows:
        raise InputError("there is no query: the filter leaves no item, or none of them can be read")
    _has_column(found.items, settings.label, "queries")
    labelled = np.asarray(pc.is_valid(found.items[settings.label]).to_numpy(), dtype=bool)
    if not labelled.any():
        raise InputError(f"no query has a value in column {settings.label!r}; choose another with --label")
    items = found.items.filter(pa.array(labelled))
    return Queries(items, found.vectors[labelled], found.rows[labelled], found.skipped, int((~labelled).sum()))


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
    groups, query_groups, _ = _codes(rows.items["group"], queries.items["group"])
    held = queries.rows >= 0
    query_groups[held] = groups[queries.rows[held]]  # the index knows its own items' groups
    if settings.protocol == "split":
        _no_overlap(queries, inside, groups, query_groups)
    labels, query_labels, names = _codes(rows.items[settings.label], queries.items[settings.label])
    twins = find_twins(rows.items, queries.items, queries.rows)
    exclusion = Exclusion(inside, twins, groups, query_groups, settings.protocol == "leave-group-out")
    found = _rank_blocks(rows, queries.vectors, settings.depth, exclusion)
    hit_labels = np.where(found[0] >= 0, labels[found[0]], -1).astype(np.int64)
    n_twins = sum(len(exclusion.twins_of(at)) for at in range(len(twins)))
    n_relevant = exclusion.count_relevant(labels, query_labels)
    return Ranking(*found, query_labels, hit_labels, n_relevant, query_groups, tuple(names), n_twins)


def _from_manifest(index: Index, queries: Manifest) -> Queries:
    """Stored vectors for items that the index holds with the same content, new ones for all others.

    An id alone proves nothing: two folders laid out alike give the same ids to different pictures.
    """
    rows, stored = _same_items(index, queries.table)
    vectors = np.zeros((len(queries), index.about.dim), dtype=np.float32)
    vectors[stored] = index.rows.checked(rows[stored])
    skipped: list[Skipped] = []
    kept = np.ones(len(queries), dtype=bool)
    missing = np.flatnonzero(~stored)
    if len(missing):
        fresh = Manifest(queries.table.take(pa.array(missing)), queries.root, queries.facts)
        for at, one in zip(missing, embed_items(fresh, queries.path_of, index.encoder), strict=True):
            if one.vector is None:
                skipped.append(Skipped(one.item.id, one.reason))
                kept[at] = False
            else:
                vectors[at] = one.vector
    return Queries(queries.table.filter(pa.array(kept)), vectors[kept], rows[kept], tuple(skipped), 0)


def _same_items(index: Index, queries: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Rows of the index that hold the queries, −1 for none, and for which of them the stored vector will do.

    A row is the query's own unless both contents are known and differ; its vector will do when both are known to be
    equal, and the scales are.
    """
    rows = index.rows_of(queries["id"].to_pylist())
    stored = np.zeros(len(rows), dtype=bool)
    named = np.flatnonzero(rows >= 0)
    held, asked = index.rows.items.take(pa.array(rows[named])), queries.take(pa.array(named))
    scales = zip(held["mpp"].to_pylist(), asked["mpp"].to_pylist(), strict=True)
    for at, one, two, scale in zip(named, contents(held), contents(asked), scales, strict=True):
        if one is None or two is None:
            continue
        stored[at] = one == two and scale[0] == scale[1]
        if one != two:
            rows[at] = -1
    return rows, stored


def _rank_blocks(
    rows: Rows, vectors: NDArray[np.float32], k: int, exclusion: Exclusion
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k nearest of each query among those that may answer it."""
    parts = []
    step = max(1, min(QUERIES_A_BLOCK, BLOCK_BYTES // max(1, len(exclusion.inside))))
    for start in range(0, len(vectors), step):
        block = slice(start, start + step)
        parts.append(rows.nearest(vectors[block], k, exclusion.allowed(block)))
    return np.concatenate([part.rows for part in parts]), np.concatenate([part.scores for part in parts])


def _no_overlap(
    queries: Queries, inside: NDArray[np.bool_], groups: NDArray[np.int32], query_groups: NDArray[np.int64]
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


def _codes(gallery: Any, queries: Any) -> tuple[NDArray[np.int32], NDArray[np.int64], list[str]]:
    """Common codes of two text columns, and what they stand for; −1 is NULL."""
    both = pa.chunked_array([*gallery.cast(pa.string()).chunks, *queries.cast(pa.string()).chunks], type=pa.string())
    names = sorted(value for value in pc.unique(both).to_pylist() if value is not None)
    codes: NDArray[np.int32] = pc.index_in(both, value_set=pa.array(names, pa.string())).fill_null(-1).to_numpy()
    return codes[: len(gallery)], codes[len(gallery) :].astype(np.int64), names
