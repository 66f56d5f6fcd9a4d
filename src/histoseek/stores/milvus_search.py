"""Nearest items from Milvus, with scores and an order that do not depend on how Milvus divided the work.

Milvus' own scores are sums in float32 that differ in their last digits by segment and index. So it only finds the
candidates; each then gets its score by itself, in float64, as in `exact`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoseek.stores.fast import matrix_of
from histoseek.stores.milvus_codes import ID
from histoseek.stores.store import VECTOR
from histoseek.stores.wanted import Found

MAX_HITS = 16_384
"""Rows of one answer of Milvus, at most."""

SPARE = 32
"""Candidates beyond the hits asked for, among which those with equal scores are put in order."""

ANSWER_BYTES = 32 * 1024 * 1024
"""Size of one answer; a server sends 64 MiB at most."""

ITEM_BYTES = 2_000
"""Item columns of one hit, roughly."""


@dataclass(frozen=True)
class Search:
    """One collection, ready to be searched."""

    ask: Callable[[NDArray[np.float32], int, str, list[str]], Any]
    """Queries [Q, D], number of hits, condition and fields → hits of each query, as pymilvus gives them."""
    table: Callable[[list[dict[str, Any]]], pa.Table]
    get: Callable[[Sequence[str]], pa.Table]
    fields: list[str]
    dim: int

    def nearest(self, queries: NDArray[np.float32], k: int, condition: str) -> list[Found]:
        """The `k` items of highest cosine with each query [Q, D]; equal scores are ordered by id."""
        limit = min(MAX_HITS, k + SPARE)
        at_once = max(1, ANSWER_BYTES // (limit * self._hit_bytes))
        found: list[Found] = []
        for start in range(0, len(queries), at_once):
            part = np.ascontiguousarray(queries[start : start + at_once], dtype=np.float32)
            answers = self.ask(part, limit, condition, self._fields(limit))
            found += [self._best(query, hits, k, condition) for query, hits in zip(part, answers, strict=True)]
        return found

    @property
    def _hit_bytes(self) -> int:
        return self.dim * 4 + ITEM_BYTES

    def _fields(self, limit: int) -> list[str]:
        """What comes with the hits: everything, or, when that would be too large for one answer, their ids."""
        return [*self.fields, VECTOR] if limit * self._hit_bytes <= ANSWER_BYTES else [ID]

    def _best(self, query: NDArray[np.float32], hits: Any, k: int, condition: str) -> Found:
        limit = min(MAX_HITS, k + SPARE)
        margin = 4 * self.dim * 2.0**-24  # twice the error of each of two sums in float32
        while limit == len(hits) < MAX_HITS and hits[k - 1]["distance"] - hits[-1]["distance"] <= margin:
            limit = min(MAX_HITS, 4 * limit)  # more candidates are as near as the last hit: see them all
            hits = self.ask(query[np.newaxis], limit, condition, self._fields(limit))[0]
        if self._fields(limit) == [ID]:
            rows = self.get([hit["id"] for hit in hits])
        else:
            rows = self.table([hit["entity"] for hit in hits])
        exact = (matrix_of(rows[VECTOR]) * query.astype(np.float64)).sum(axis=1).astype(np.float32)
        ids = rows[ID].to_pylist()
        order = sorted(range(len(ids)), key=lambda at: (-exact[at], ids[at]))[:k]
        best = np.array(order, dtype=np.int64)
        return Found(rows.take(best).drop_columns([VECTOR]), exact[best])
