"""Who may not answer a query: itself, the same picture under any name, and, leaving groups out, its own group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoseek.items.digests import among, content_digests
from histoseek.items.spool import rows_of as some_rows

CONTENT = ("sha256", "box_x", "box_y", "box_width", "box_height")


@dataclass(frozen=True)
class Exclusion:
    """The rows shut out for each query.

    `twins` holds for each query the gallery rows of its own item and of identical pictures; `groups` [N] and
    `query_groups` [Q] are group codes, of which equal ones are shut out where `leaves_groups_out`.
    """

    inside: NDArray[np.bool_]
    twins: Sequence[NDArray[np.int64]]
    groups: NDArray[np.int32]
    query_groups: NDArray[np.int64]
    leaves_groups_out: bool

    def allowed(self, queries: slice) -> NDArray[np.bool_]:
        """Which rows may answer some queries, `[q, N]`."""
        n_queries = len(self.query_groups[queries])
        mask: NDArray[np.bool_] = np.broadcast_to(self.inside, (n_queries, len(self.inside))).copy()
        if self.leaves_groups_out:
            mask &= self.groups[None, :] != self.query_groups[queries, None].astype(self.groups.dtype)
        for at, twins in enumerate(self.twins[queries]):
            mask[at, twins] = False
        return mask

    def twins_of(self, query: int) -> NDArray[np.int64]:
        """Rows that are shut out only because they are the query's picture."""
        twins = self.twins[query]
        twins = twins[self.inside[twins]]
        if self.leaves_groups_out:
            twins = twins[self.groups[twins] != self.query_groups[query]]
        return twins

    def count_relevant(self, labels: NDArray[np.int32], query_labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many rows with the query's label may answer it, `[Q]`; `labels` [N] and `query_labels` [Q] are codes."""
        counts = _with_label(labels[self.inside], query_labels)
        if self.leaves_groups_out:
            counts = counts - self._own_group_with_label(labels, query_labels)
        shut = [int((labels[self.twins_of(at)] == label).sum()) for at, label in enumerate(query_labels)]
        return counts - np.array(shut, dtype=np.int64)

    def _own_group_with_label(self, labels: NDArray[np.int32], query_labels: NDArray[np.int64]) -> NDArray[np.int64]:
        width = int(max(labels.max(initial=-1), query_labels.max(initial=-1))) + 2
        held = self.groups[self.inside].astype(np.int64) * width + labels[self.inside] + 1
        pairs, counts = np.unique(held, return_counts=True)
        wanted = self.query_groups * width + query_labels + 1
        at = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
        return np.asarray(np.where(pairs[at] == wanted, counts[at], 0), dtype=np.int64)


def find_twins(items: pa.Table, queries: pa.Table, own_rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """For each query the rows of `items` with its content, and its own row where that is known (else −1)."""
    rows_of: dict[Any, list[int]] = defaultdict(list)
    likely = np.flatnonzero(among(content_digests(items), np.unique(content_digests(queries))))
    for row, content in zip(likely.tolist(), contents(some_rows(items.select(CONTENT), likely)), strict=True):
        if content is not None:
            rows_of[content].append(row)
    found = []
    for own, content in zip(own_rows, contents(queries), strict=True):
        rows = set(rows_of.get(content, ())) if content is not None else set()
        found.append(np.array(sorted(rows | {int(own)} - {-1}), dtype=np.int64))
    return found


def contents(items: pa.Table) -> list[tuple[Any, ...] | None]:
    """What tells a picture from others: the digest of its file and its box; None where the digest is unknown."""
    columns = [items[name].to_pylist() for name in CONTENT]
    return [row if row[0] is not None else None for row in zip(*columns, strict=True)]


def _with_label(labels: NDArray[np.int32], query_labels: NDArray[np.int64]) -> NDArray[np.int64]:
    n_labels = int(max(labels.max(initial=-1), query_labels.max(initial=-1))) + 1
    counts: NDArray[np.int64] = np.bincount(labels[labels >= 0], minlength=n_labels)[query_labels]
    return counts
