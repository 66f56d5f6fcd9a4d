"""How the hits of a question vote on a label, and when no vote should be taken for an answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from histoseek.evaluation import Calibration
from histoseek.index import Hit, Hits
from histoseek.web.schemas import VoteLabel, VoteOut

ENOUGH_QUERIES = 10
"""From so many held-out queries on, a low reliability is reason enough to abstain."""

HALF = 0.5


def vote_of(hits: Sequence[Hit], k: int, calibration: Calibration | None, n_weak: int) -> VoteOut | None:
    """The vote of hits that are no weak ones, of which `n_weak` more were left out; None where none has a label.

    It abstains, with a reason, when nothing was similar enough, two labels have equally many hits, all hits of the
    winner are of one patient, or held-out queries with this vote were wrong half of the time or more.
    """
    labelled = [hit for hit in hits if hit.item.label is not None]
    if not labelled:
        reason = "nothing in the archive is similar enough" if n_weak else None
        return None if reason is None else _abstained(reason)
    counted = Hits(tuple(labelled), Path()).vote()
    n_patients = len({hit.item.group for hit in labelled})
    told = calibration.reliability(k).get(str(counted.label)) if calibration is not None else None
    labels = [
        VoteLabel(label=label, count=n, share=n / len(labelled), n_patients=counted.groups[label])
        for label, n in counted.counts.items()
    ]
    reason = _why_abstain(labels)
    if reason is None and told is not None and told.n_queries >= ENOUGH_QUERIES and told.precision <= HALF:
        reason = f"of held-out queries that voted like this, only {told.precision:.0%} carry the label"
    return VoteOut(
        labels=labels,
        n_patients=n_patients,
        winner=counted.label,
        reliability=told.precision if told is not None else None,
        n_queries=told.n_queries if told is not None else None,
        abstain=reason is not None,
        reason=reason,
    )


def _why_abstain(labels: Sequence[VoteLabel]) -> str | None:
    first = labels[0]
    if len(labels) > 1 and labels[1].count == first.count:
        return f"{first.label} and {labels[1].label} have equally many hits"
    if first.n_patients < 2:
        return f"all hits with the label {first.label} come from one patient"
    return None


def _abstained(reason: str) -> VoteOut:
    return VoteOut(labels=[], n_patients=0, winner=None, reliability=None, n_queries=None, abstain=True, reason=reason)
