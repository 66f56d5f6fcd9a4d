"""What scores and votes are worth, measured on the held-out queries of a report.

**From which score a hit is worth showing as similar.** Every hit of every answerable query of the report has a score,
and carries the query's label or does not. Isotonic regression of the second on the first (pool adjacent violators;
Zadrozny and Elkan, KDD 2002) tells how often a hit is right at a score. Chance is how often a hit drawn at random would
be. The part of the way from chance to certainty is Cohen's kappa, (right − chance) / (1 − chance), and its steps are
those of Landis and Koch (Biometrics 1977). Up to 0.20 agreement is at most slight, so the *floor* is the lowest score
at which kappa is above that; from 0.61 on it is substantial, and hits are called *close*. Below the lowest score that
any hit had, nothing was measured, so no floor lies below it.

**How far a label can be trusted.** Of the queries whose `k` best hits voted for a label, the share that carries it.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    """Of `n_queries` held-out queries whose hits voted for a label, the share `precision` that carries it."""

    precision: float
    n_queries: int


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
    told = [answerable[name].to_pylist() for name in ("label", "hit_labels", "hit_scores")]
    pairs = [
        (score, hit == label)
        for label, hits, scores in zip(*told, strict=True)
        for hit, score in zip(hits, scores, strict=False)  # labels are padded to the depth of the report
        if hit is not None
    ]
    scores = np.array([score for score, _ in pairs], dtype=np.float64)
    right = np.array([is_right for _, is_right in pairs], dtype=np.float64)
    n_gallery = max(1, int(report.protocol["gallery items"]))
    chance = float(np.mean(np.asarray(answerable["n_relevant"]) / n_gallery)) if n_queries else 0.0
    votes = _votes(table, table["label"].to_pylist())
    if n_queries < FEWEST or not pairs:
        return Calibration(None, None, votes)
    floor, close = (_score_from(scores, right, chance, kappa) for kappa in (SLIGHT, SUBSTANTIAL))
    return Calibration(floor, close, votes)


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


def _votes(table: Any, labels: list[str]) -> dict[int, dict[str, Reliability]]:
    found = {}
    for name in [name for name in table.schema.names if name.startswith("vote@")]:
        voted = table[name].to_pylist()
        found[int(name.removeprefix("vote@"))] = {
            label: Reliability(
                sum(true == label for true, vote in zip(labels, voted, strict=True) if vote == label)
                / (n_queries := voted.count(label)),
                n_queries,
            )
            for label in sorted({vote for vote in voted if vote is not None})
        }
    return found


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
