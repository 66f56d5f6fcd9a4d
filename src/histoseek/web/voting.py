"""How the hits of a question vote on a label, and when no vote should be taken for an answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from histoseek.evaluation import Calibration, Reliability
from histoseek.index import Hit, Hits
from histoseek.web.pseudonyms import is_patient_known
from histoseek.web.schemas import VoteLabel, VoteOut

if TYPE_CHECKING:
    from histoseek.web.archive import Answer

ENOUGH_QUERIES = 10
"""With fewer held-out queries nothing is said of how reliable a vote is."""

HALF = 0.5


def is_as_measured(answer: Answer) -> bool:
    """Whether a question was asked as the queries of a report are: one picture, among all items but its own patient's.

    Filters, chosen items, a lowest score and the own patient change who votes, and words, counter-examples and several
    examples what is asked: what a report says of votes says nothing of those.
    """
    asked = answer.asked
    n_examples = len(asked.examples) + (answer.file is not None)
    is_among_all = not asked.filters and asked.only is None and asked.min_score is None
    return answer.is_comparable and n_examples == 1 and is_among_all and asked.exclude_group


def vote_of(hits: Sequence[Hit], k: int, calibration: Calibration | None, n_weak: int) -> VoteOut | None:
    """The vote of hits that are no weak ones, of which `n_weak` more were left out; None where there is no label.

    It abstains, with a reason, when nothing was similar enough or nothing of that has a label, two labels have equally
    many hits, all hits of the winner are of one patient (or one slide), or held-out queries with this vote were wrong
    half of the time or more. `calibration` is None where votes like this were not measured. Of hits whose patient
    nobody knows none counts as a patient.
    """
    labelled = [hit for hit in hits if hit.item.label is not None]
    if not labelled:
        if not n_weak:
            return None
        far, bare = "nothing in the archive is similar enough", "none of the hits that are similar enough has a label"
        return _abstained(bare if hits else far)
    winner, labels = _counted(labelled)
    told = reliability_of(calibration, k).get(str(winner))
    reason = _why_abstain(labels, labelled)
    if reason is None and told is not None and told.precision <= HALF:
        reason = f"of held-out queries that voted like this, only {told.precision:.0%} carry the label"
    return VoteOut(
        labels=labels,
        n_patients=len({hit.item.group for hit in labelled if is_patient_known(hit.item)}),
        n_unknown=sum(one.n_unknown for one in labels),
        winner=winner,
        reliability=told.precision if told is not None else None,
        reliability_low=told.low if told is not None else None,
        reliability_high=told.high if told is not None else None,
        n_queries=told.n_queries if told is not None else None,
        n_query_groups=told.n_groups if told is not None else None,
        abstain=reason is not None,
        reason=reason,
    )


def reliability_of(calibration: Calibration | None, k: int) -> dict[str, Reliability]:
    """Labels whose votes were measured on enough queries, by the measured number of hits nearest to `k`."""
    told = calibration.reliability(k) if calibration is not None else {}
    return {label: one for label, one in told.items() if one.n_queries >= ENOUGH_QUERIES}


def _counted(labelled: Sequence[Hit]) -> tuple[str | None, list[VoteLabel]]:
    """The label of most hits, and every label with its hits and patients."""
    counted = Hits(tuple(labelled), Path()).vote()
    known = {(hit.item.label, hit.item.group) for hit in labelled if is_patient_known(hit.item)}
    n_patients = Counter(label for label, _ in known)
    n_unknown = Counter(hit.item.label for hit in labelled if not is_patient_known(hit.item))
    labels = [
        VoteLabel(
            label=label,
            count=n,
            share=n / len(labelled),
            n_patients=n_patients[label],
            n_unknown=n_unknown[label],
        )
        for label, n in counted.counts.items()
    ]
    return counted.label, labels


def _why_abstain(labels: Sequence[VoteLabel], labelled: Sequence[Hit]) -> str | None:
    first = labels[0]
    if len(labels) > 1 and labels[1].count == first.count:
        return f"{first.label} and {labels[1].label} have equally many hits"
    groups = {(hit.item.group, hit.item.group_source) for hit in labelled if hit.item.label == first.label}
    whose = {source for _, source in groups}
    if len(groups) == 1 and whose != {"unknown"}:  # of those nobody knows whether they are one
        return f"all hits with the label {first.label} come from one {_whose(whose.pop())}"
    return None


def _whose(source: str) -> str:
    return {"slide": "slide", "image": "picture"}.get(source, "patient")


def _abstained(reason: str) -> VoteOut:
    return VoteOut(
        labels=[],
        n_patients=0,
        n_unknown=0,
        winner=None,
        reliability=None,
        reliability_low=None,
        reliability_high=None,
        n_queries=None,
        n_query_groups=None,
        abstain=True,
        reason=reason,
    )
