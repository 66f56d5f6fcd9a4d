"""An index that was pushed to a Milvus server: what a search there asks, and how items come and go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoseek.errors import InputError
from histoseek.index.about import About
from histoseek.index.query import Rules
from histoseek.index.selecting import within_quotas
from histoseek.items import sha256_of
from histoseek.items.filters import text_literal
from histoseek.stores import VECTOR
from histoseek.stores.milvus import MilvusStore
from histoseek.stores.milvus_address import MilvusAddress
from histoseek.stores.milvus_search import MAX_HITS
from histoseek.stores.wanted import Wanted


@dataclass(frozen=True)
class Served:
    """A collection that `push` filled, as a search asks it."""

    store: MilvusStore

    def find(
        self, vector: NDArray[np.float32], rules: Rules, named: pa.Table | None
    ) -> tuple[pa.Table, NDArray[np.float32]]:
        """Items and scores of the hits, best first; `named` are the items that the query itself consists of."""
        return _find(self.store, vector, rules, named)

    def named(self, names: Sequence[str]) -> pa.Table:
        """Columns and vectors of some items; raises `InputError` for one that is not there."""
        found = self.store.get(names)
        missing = set(names) - set(found["id"].to_pylist())
        if missing:
            raise InputError(f"{self.store.address} has no item {sorted(missing)[0]!r}")
        return found

    def of_file(self, root: Path, file: Path) -> pa.Table:
        """Items that are cut from a file or from a copy of it, known by the same marks as in an index folder."""
        target = file.resolve()
        terms = [f"(sha256 IS NULL AND slide = {text_literal(target.stem)})"]
        if target.is_relative_to(root):
            terms.append(f"path = {text_literal(target.relative_to(root).as_posix())}")
            if target.suffix.lower() == ".dcm":
                terms.append(f"path LIKE {text_literal(target.parent.relative_to(root).as_posix() + '/%')}")
        if target.is_file():
            terms.append(f"sha256 = {text_literal(sha256_of(target))}")
        return self.store.get(self.store.ids(" OR ".join(terms))).drop_columns([VECTOR])


def open_served(address: str) -> tuple[Served, About]:
    """Open what `push` filled, and what its index said of itself.

    Raises:
        InputError: nothing answers there, or the collection is not filled to its end.
    """
    store = MilvusStore(MilvusAddress.parse(address))
    if not store.exists:
        raise InputError(f"there is no archive at {address}; fill it with: histoseek index push INDEX {address}")
    notes = store.notes()
    if notes.get("state") != "ready":
        raise InputError(f"{address} is not filled to its end; go on with: histoseek index push INDEX {address}")
    return Served(store), About.of(notes["about"], address)


def _find(
    store: MilvusStore, vector: NDArray[np.float32], rules: Rules, named: pa.Table | None
) -> tuple[pa.Table, NDArray[np.float32]]:
    if rules.only is not None:
        raise InputError("an archive on a server is not searched among single items; use a filter, or the index folder")
    groups: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()
    if named is not None:
        ids = frozenset(named["id"].to_pylist())
        if rules.exclude_group is None or rules.exclude_group:
            groups = frozenset(named["group"].to_pylist())
    asked = rules.k
    while True:
        found = store.nearest(vector[None], asked, Wanted(rules.where, groups, ids))[0]
        keep = np.arange(len(found.scores))
        if rules.min_score is not None:
            keep = keep[found.scores >= rules.min_score]
        kept = keep[within_quotas(found.items, keep, rules)][: rules.k]
        if len(kept) >= rules.k or len(found.scores) < asked or len(keep) < asked:
            return found.items.take(pa.array(kept)), found.scores[kept]
        if asked == MAX_HITS:
            raise InputError(
                f"the {MAX_HITS} nearest items, all that Milvus gives, hold {len(kept)} of the {rules.k} hits that the "
                "limits per patient or slide allow; ask for fewer, or narrow it by a filter"
            )
        asked = min(asked * 4, MAX_HITS)


def change_notes(store: MilvusStore, **changes: Any) -> None:
    """Write some of the notes anew."""
    store.set_notes({**store.notes(), **changes})
