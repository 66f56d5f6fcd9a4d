"""Dividing items into splits, whole groups at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histoseek.errors import InputError


def assign_splits(
    table: pa.Table, fractions: Mapping[str, float], *, by: str, stratify: str | None, seed: int
) -> pa.Array:
    """Name a split for every row, so that no value of column `by` is in two and labels are balanced.

    Groups are dealt from the largest to the smallest, each to the split that then stands nearest to its share of
    every label; `seed` decides between groups of equal size.

    Raises:
        InputError: fractions that do not add up to 1, no such column, or fewer groups than splits.
    """
    names = list(fractions)
    shares = np.array([fractions[name] for name in names], dtype=float)
    if not names or (shares <= 0).any() or not math.isclose(shares.sum(), 1.0, abs_tol=1e-6):
        raise InputError(f"split fractions must be positive and add up to 1, as in train=0.7 test=0.3; got {fractions}")
    groups, n_groups = _codes(table, by)
    labels, n_labels = _codes(table, stratify) if stratify else (np.zeros(table.num_rows, dtype=np.int64), 1)
    if n_groups < len(names):
        raise InputError(f"{n_groups} groups in column {by!r} cannot fill {len(names)} splits; use fewer splits")
    counts = np.zeros((n_groups, n_labels))
    np.add.at(counts, (groups, labels), 1)
    chosen = _deal(counts, shares, seed)
    return pa.array(np.array(names, dtype=object)[chosen[groups]], pa.string())


def _deal(counts: NDArray[np.float64], shares: NDArray[np.float64], seed: int) -> NDArray[np.int64]:
    """Give each row of `counts` [G, L] one of the splits [S]; every split gets at least one group."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    totals = np.maximum(counts.sum(axis=0), 1)
    target = shares[:, None] * totals
    filled = np.zeros((len(shares), counts.shape[1]))
    n_in = np.zeros(len(shares), dtype=np.int64)
    chosen = np.zeros(len(counts), dtype=np.int64)
    for left, group in zip(range(len(order), 0, -1), order, strict=True):
        gap = (target - filled) / totals
        after = (target - filled - counts[group]) / totals
        cost = (after**2 - gap**2).sum(axis=1) + ((after.sum(axis=1)) ** 2 - gap.sum(axis=1) ** 2) / len(totals)
        empty = n_in == 0
        if empty.sum() >= left:  # the groups that remain are just enough to leave no split empty
            cost = np.where(empty, cost, np.inf)
        best = int(np.argmin(cost))
        filled[best] += counts[group]
        n_in[best] += 1
        chosen[group] = best
    return chosen


def _codes(table: pa.Table, column: str) -> tuple[NDArray[np.int64], int]:
    if column not in table.schema.names:
        raise InputError(f"there is no column {column!r} to split by; the columns are: {', '.join(table.schema.names)}")
    encoded = pc.dictionary_encode(table[column].combine_chunks(), null_encoding="encode")
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), len(encoded.dictionary)
