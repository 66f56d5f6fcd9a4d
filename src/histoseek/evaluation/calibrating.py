"""What scores and votes are worth, measured on the held-out queries of a report.

**From which score a hit is worth showing as similar.** Every hit of every answerable query of the report has a score,
and carries the query's label or does not. Isotonic regression of the second on the first (pool adjacent violators;
Zadrozny and Elkan, KDD 2002) tells how often a hit is right at a score. Chance is how often a hit drawn at random would
be. The part of the way from chance to certainty is Cohen's kappa, (right − chance) / (1 − chance), and its steps are
those of Landis and Koch (Biometrics 1977). Up to 0.20 agreement is at most slight, so the *floor* is the lowest score
at which kappa is above that; from 0.61 on it is substantial, and hits are called *close*. Below the lowest score that
any hit had, nothing was measured, so no floor lies below it.

**How far a label can be trusted.** Of the queries whose hits among the best `k`, as far as they are not below the
floor, voted for a label, the share that carries it. Queries whose first labels have equally many hits voted for none.
The interval is that of Wilson (JASA 1927) at 95 %, as if each patient had asked once, for queries of one patient are
not independent.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histoseek.errors import InputError
from histoseek.evaluation.report import Report
from histoseek.index.about import About

SLIGHT, SUBSTANTIAL = 0.20, 0.61
"""Kappa above which agreement is more than slight, and from which it is substantial (Landis and Koch 1977)."""

FEWEST = 30
"""With fewer queries no score is called weak or close."""

OUT_OF_REACH = 2.0
"""A floor that no cosine reaches: nothing that was measured is better than slight agreement."""


@dataclass(frozen=True)
class Reliability:
    """Of `n_queries` held-out queries of `n_groups` patients whose hits voted for a label, the share that carries it.

    `low` and `high` are the ends of its interval.
    """

    precision: float
    n_queries: int
    n_groups: int

    @property
    def low(self) -> float:
        """The lower end of the interval."""
        return _wilson(self.precision, self.n_groups)[0]

    @property
    def high(self) -> float:
        """The upper end of the interval."""
        return _wilson(self.precision, self.n_groups)[1]


@dataclass(frozen=True)
class Calibration:
    """What a report says of scores and votes.

    Hits below `floor` are weak, those from `close` on are close; None where too few queries were measured. `votes` maps
    k to the reliability of every label that k hits voted for.
    """

    floor: float | None
    close: float | None
    votes: Mapping[int, Mapping[str, Reliability]]

    def word(self, score: float) -> str | None:
        """What a score is called: close, related or weak; None where that was not measured."""
        if self.floor is None or self.close is None:
            return None
        return "close" if score >= self.close else "related" if score >= self.floor else "weak"

    def reliability(self, k: int) -> Mapping[str, Reliability]:
        """Reliability of labels by the measured vote whose number of hits is nearest to `k`."""
        if not self.votes:
            return {}
        return self.votes[min(self.votes, key=lambda measured: (abs(measured - k), measured))]


def calibrate(report: Report, about: About) -> Calibration:
    """Work out what a report says of the scores and votes of the index that it was made on.

    Raises:
        InputError: the report is of another encoder, of whole slides or cases, or of another column than the label.
    """
    _check_report(report, about)
    table = report.per_query
    answerable = table.filter(np.asarray(table["n_relevant"]) > 0)
    n_queries = answerable.num_rows
    queries = [
        _Query(label, group, tuple((score, hit) for score, hit in zip(scores, hits, strict=False)))  # labels are padded
        for label, group, hits, scores in _columns(table)
    ]
    pairs = [
        (score, hit == query.label)
        for query, n_relevant in zip(queries, table["n_relevant"].to_pylist(), strict=True)
        for score, hit in query.hits
        if n_relevant > 0 and hit is not None
    ]
    ks = [int(name.removeprefix("vote@")) for name in table.schema.names if name.startswith("vote@")]
    if n_queries < FEWEST or not pairs:
        return Calibration(None, None, _votes(queries, ks, None))
    scores = np.array([score for score, _ in pairs], dtype=np.float64)
    right = np.array([is_right for _, is_right in pairs], dtype=np.float64)
    n_gallery = max(1, int(report.protocol["gallery items"]))
    chance = float(np.mean(np.asarray(answerable["n_relevant"]) / n_gallery))
    floor, close = (_score_from(scores, right, chance, kappa) for kappa in (SLIGHT, SUBSTANTIAL))
    return Calibration(floor, close, _votes(queries, ks, floor))


@dataclass(frozen=True)
class _Query:
    """A query of a report: its label, its group, and scores and labels of its hits, best first."""

    label: str
    group: str
    hits: tuple[tuple[float, str | None], ...]


def _columns(table: Any) -> Any:
    return zip(*(table[name].to_pylist() for name in ("label", "group", "hit_labels", "hit_scores")), strict=True)


def isotonic(
    scores: NDArray[np.float64], right: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distinct scores, and at each the non-decreasing fit of `right` [Q] over `scores` [Q] by least squares."""
    values, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    sums = np.bincount(places, weights=right)
    blocks: list[list[float]] = []  # sum, weight, number of scores
    for total, weight in zip(sums.tolist(), counts.tolist(), strict=True):
        blocks.append([total, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] > blocks[-1][0] * blocks[-2][1]:
            last = blocks.pop()
            blocks[-1] = [one + two for one, two in zip(blocks[-1], last, strict=True)]
    fit = np.concatenate([np.full(int(n), total / weight) for total, weight, n in blocks]) if blocks else values
    return values, fit


def _score_from(scores: NDArray[np.float64], right: NDArray[np.float64], chance: float, kappa: float) -> float:
    """The lowest score from which hits agree with the query beyond `kappa`."""
    values, fit = isotonic(scores, right)
    reached = np.flatnonzero(fit > chance + kappa * (1 - chance))
    return float(values[reached[0]]) if len(reached) else OUT_OF_REACH


def _votes(queries: Sequence[_Query], ks: Sequence[int], floor: float | None) -> dict[int, dict[str, Reliability]]:
    found: dict[int, dict[str, Reliability]] = {}
    for k in ks:
        by_label: dict[str, list[_Query]] = defaultdict(list)
        for query in queries:
            voted = _vote(query.hits[:k], floor)
            if voted is not None:
                by_label[voted].append(query)
        found[k] = {label: _reliability(label, by_label[label]) for label in sorted(by_label)}
    return found


def _vote(hits: Sequence[tuple[float, str | None]], floor: float | None) -> str | None:
    """The label of most hits that are not below the floor; None where there is none, or two are even."""
    strong = Counter(hit for score, hit in hits if hit is not None and (floor is None or score >= floor))
    first = strong.most_common(2)
    if not first or (len(first) > 1 and first[0][1] == first[1][1]):
        return None
    return first[0][0]


def _reliability(label: str, queries: Sequence[_Query]) -> Reliability:
    right = sum(query.label == label for query in queries)
    return Reliability(right / len(queries), len(queries), len({query.group for query in queries}))


def _wilson(share: float, n: int) -> tuple[float, float]:
    """The ends of Wilson's score interval of a share among `n` at 95 %."""
    z = 1.959964
    middle = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, (middle - half) / (1 + z * z / n)), min(1.0, (middle + half) / (1 + z * z / n))


def _check_report(report: Report, about: About) -> None:
    facts = report.protocol
    if "level" in facts:
        raise InputError(
            "the report is of whole slides or cases; give one of single items: histoseek evaluate INDEX --out"
        )
    if facts.get("label") != "label":
        raise InputError(f"the report is of the column {facts.get('label')!r}, and hits vote by their column 'label'")
    if report.provenance.get("fingerprint") != about.fingerprint.digest:
        raise InputError(
            f"the report was made with the encoder {facts.get('encoder')!r}, and the index with {about.encoder!r}, "
            "or with other weights; evaluate this index: histoseek evaluate INDEX --out REPORT"
        )
