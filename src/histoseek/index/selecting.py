"""From scores to hits: who may be found, and how many of a kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoseek.index.near_duplicates import Closeness, NearDuplicates
from histoseek.index.query import Rules
from histoseek.index.view import View
from histoseek.stores import Rows, rows_at


def select_rows(
    view: View, vector: NDArray[np.float32], rules: Rules, allowed: NDArray[np.bool_] | None, named: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rows and scores of the hits, best first; `named` are the rows that the query itself consists of.

    Rules that look at the hits before (so many of a group, near-duplicates once) are kept by asking for more until
    enough are left, so the answer is what going through the whole ranking would give.
    """
    rows = view.rows
    closeness = view.closeness if rules.collapse else None
    mask = _without_query(rows, rules, allowed, named)
    n_allowed = rows.items.num_rows if mask is None else int(mask.sum())
    asked = rules.k
    while True:
        found = rows.find(vector[None], asked, mask)
        keep = found.rows[0] >= 0
        hits, scores = found.rows[0][keep], found.scores[0][keep]
        if rules.min_score is not None:
            hits, scores = hits[scores >= rules.min_score], scores[scores >= rules.min_score]
        kept = within_quotas(rows.items, hits, rules, closeness)
        enough = len(kept) >= rules.k or asked >= n_allowed or len(hits) < asked
        if enough:
            return hits[kept][: rules.k], scores[kept][: rules.k]
        asked = min(n_allowed, asked * 4)


def select_many(
    view: View,
    vectors: NDArray[np.float32],
    rules: Rules,
    allowed: NDArray[np.bool_] | None,
    named: Sequence[int] | None,
) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Rows and scores of the hits of each of `vectors` [Q, D]; `named` are the rows that they belong to."""
    if named is not None or rules.min_score is not None or rules.collapse or _quotas(rules):
        own: list[list[int]] = [[] for _ in vectors] if named is None else [[row] for row in named]
        return [select_rows(view, vector, rules, allowed, mine) for vector, mine in zip(vectors, own, strict=True)]
    found = view.rows.find(vectors, min(rules.k, view.rows.items.num_rows), allowed)
    return [(hit[hit >= 0], scores[hit >= 0]) for hit, scores in zip(found.rows, found.scores, strict=True)]


def other_groups(groups: NDArray[np.int32], named: Sequence[int]) -> NDArray[np.bool_]:
    """Which rows share a group with none of the `named` rows, `[N]`; `groups` [N] are numbers of groups."""
    theirs = np.unique(groups[list(named)])
    if len(theirs) == 1:
        others: NDArray[np.bool_] = groups != theirs[0]
        return others
    return np.isin(groups, theirs, invert=True)


def _without_query(
    rows: Rows, rules: Rules, allowed: NDArray[np.bool_] | None, named: Sequence[int]
) -> NDArray[np.bool_] | None:
    if not named:
        return allowed
    if rules.exclude_group is None or rules.exclude_group:
        mask = other_groups(rows.groups, named)
    else:
        mask = np.ones(rows.items.num_rows, dtype=bool)
    if allowed is not None:
        mask &= allowed
    mask[list(named)] = False  # an item never answers itself
    return mask


def within_quotas(
    items: pa.Table, hits: NDArray[np.int64], rules: Rules, closeness: Closeness | None = None
) -> NDArray[np.int64]:
    """Positions in `hits` that are left when each group and slide has used up its share, near-duplicates once.

    Near-duplicates are told by files and boxes, and with a closeness by vectors too.
    """
    quotas = _quotas(rules)
    if not quotas and not rules.collapse:
        return np.arange(len(hits))
    columns = {name: rows_at(items.select([name]), hits)[name].to_pylist() for name, _ in quotas}
    twins = NearDuplicates(items, hits, closeness) if rules.collapse else None
    used: dict[str, Counter[Any]] = {name: Counter() for name, _ in quotas}
    kept = []
    for at in range(len(hits)):
        keys = {name: columns[name][at] for name, _ in quotas}
        if any(keys[name] is not None and used[name][keys[name]] >= most for name, most in quotas):
            continue
        if twins is not None:
            if twins.has_twin(at):
                continue
            twins.keep(at)
        for name, key in keys.items():
            used[name][key] += 1
        kept.append(at)
        if len(kept) == rules.k:
            break
    return np.array(kept, dtype=np.int64)


def _quotas(rules: Rules) -> list[tuple[str, int]]:
    """What may be found so many times only, and how many."""
    asked = [("group", rules.per_group), ("slide", rules.per_slide)]
    return [(name, most) for name, most in asked if most is not None]
