"""Which rows are learnt from together: classes as often as each other, positives from different patients."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histoseek.errors import InputError

Rows = NDArray[np.int64]

UNLABELLED = "(no label)"
"""Stands for the rows without a class in a table."""


@dataclass(frozen=True)
class BatchPlan:
    """How rows are dealt into batches, given the label (None: unlabelled) and the group of each row.

    Every batch has `batch` rows, `per_class` of each class drawn; what does not divide goes to these classes one by
    one, and where there are too few classes each gets more. A batch too small for two classes of `per_class` rows still
    holds two. Rows without label have their share of every batch.

    Raises:
        InputError: there are no rows, or a number makes no sense.
    """

    labels: Sequence[str | None]
    groups: Sequence[str]
    batch: int
    per_class: int
    seed: int

    def __post_init__(self) -> None:
        if not len(self.labels):
            raise InputError("there are no items to make batches of; check --where and the manifest's splits")
        if len(self.labels) != len(self.groups):
            raise InputError(
                f"{len(self.labels)} labels stand beside {len(self.groups)} groups; give one of each per row"
            )
        for name, least in (("batch", 1), ("per_class", 1), ("seed", 0)):
            if getattr(self, name) < least:
                flag = "--" + name.replace("_", "-")
                raise InputError(f"{flag} is {getattr(self, name)}; give a number of at least {least}")

    def epoch(self, number: int) -> list[Rows]:
        """The batches `[B]` of an epoch, decided by seed and number alone.

        There are as many as cover all rows once, rounded up, and the last is as full as the others: rows of rare
        classes, and a few where the number does not divide, come again.
        """
        rng = np.random.default_rng((self.seed, number))
        bare, classes = self._decks(rng)
        n_bare = 0 if bare is None else bare.n_rows
        drawn = np.zeros(len(classes), np.int64)
        batches = []
        for at in range(math.ceil(len(self.labels) / self.batch)):
            # Shares are rounded over the whole epoch, so that few unlabelled rows still get their places.
            before, after = ((step * self.batch * n_bare) // len(self.labels) for step in (at, at + 1))
            rows = [] if bare is None else bare.take(after - before, rng)
            quota = _quotas(drawn, self.batch - len(rows), self.per_class, rng)
            drawn += quota
            for which in np.flatnonzero(quota):
                rows += classes[which].take(int(quota[which]), rng)
            batches.append(rng.permutation(np.array(rows, np.int64)))
        return batches

    def _decks(self, rng: np.random.Generator) -> tuple[_Deck | None, list[_Deck]]:
        """The rows without label as one deck, and a deck for each class."""
        bare: list[int] = []
        classes: dict[str, dict[str, list[int]]] = {}
        for row, (label, group) in enumerate(zip(self.labels, self.groups, strict=True)):
            if label is None:
                bare.append(row)
            else:
                classes.setdefault(label, {}).setdefault(group, []).append(row)
        decks = [_Deck(list(classes[name].values()), rng) for name in sorted(classes)]
        return (_Deck([bare], rng) if bare else None), decks


class _Deck:
    """Rows of one class, dealt in turn from its groups."""

    def __init__(self, groups: list[list[int]], rng: np.random.Generator) -> None:
        self._groups = [rng.permutation(rows).tolist() for rows in groups]
        self._next = [0] * len(groups)
        self._dealt = np.zeros(len(groups))
        self.n_rows = sum(map(len, groups))

    def take(self, n: int, rng: np.random.Generator) -> list[int]:
        """`n` rows, from the groups dealt from least: no group twice before all, no row twice before all."""
        turn = self._dealt + rng.random(len(self._groups))
        first = np.argpartition(turn, n)[:n] if n < len(turn) else np.arange(len(turn))
        order = first[np.argsort(turn[first])].tolist()
        deepest = max(map(len, self._groups))
        rows: list[int] = []
        depth = 0
        while len(rows) < n:
            for group in order:
                if len(self._groups[group]) > depth % deepest and len(rows) < n:
                    rows.append(self._deal(group))
            depth += 1
        return rows

    def _deal(self, group: int) -> int:
        rows: list[int] = self._groups[group]
        at = self._next[group]
        self._next[group] = (at + 1) % len(rows)
        self._dealt[group] += 1
        return rows[at]


def _quotas(drawn: Rows, n: int, per_class: int, rng: np.random.Generator) -> Rows:
    """How many of `n` rows each class gives `[C]`: classes that came least so far come first."""
    quota = np.zeros(len(drawn), np.int64)
    if n and len(drawn):
        n_classes = min(len(drawn), max(n // per_class, 2 if n >= 4 else 1))
        order = np.lexsort((rng.random(len(drawn)), drawn))[:n_classes]
        quota[order] = n // n_classes
        quota[order[: n % n_classes]] += 1
    return quota


def shard(rows: Rows, rank: int, world: int) -> Rows:
    """The part of a batch `[B]` that process `rank` of `world` works on: `[B / world]`.

    Raises:
        InputError: the batch cannot be divided evenly.
    """
    if len(rows) % world:
        fitting = max(world, len(rows) - len(rows) % world)
        raise InputError(
            f"a batch of {len(rows)} items cannot be divided evenly among {world} processes; give --batch a multiple "
            f"of {world}, such as {fitting}"
        )
    size = len(rows) // world
    return rows[rank * size : (rank + 1) * size]


def class_group_table(labels: Sequence[str | None], groups: Sequence[str]) -> list[dict[str, Any]]:
    """Items, groups and the share of the largest group, a row for each class; unlabelled items come last."""
    counts: dict[str | None, Counter[str]] = {}
    for label, group in zip(labels, groups, strict=True):
        counts.setdefault(label, Counter())[group] += 1
    return [
        {
            "class": UNLABELLED if label is None else label,
            "items": counts[label].total(),
            "groups": len(counts[label]),
            "largest group": round(max(counts[label].values()) / counts[label].total(), 3),
        }
        for label in sorted(counts, key=lambda name: (name is None, name or ""))
    ]
