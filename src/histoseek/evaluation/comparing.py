"""Comparing reports over the same queries: figures side by side, differences tested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histoseek.errors import InputError
from histoseek.evaluation.bootstrap import holm, over_rounds, p_value, resampled_means
from histoseek.evaluation.report import Report
from histoseek.items import written_whole

N_ROUNDS = 10_000
METRICS = ("Acc@1", "mMV@5", "mAP@10")
MUST_MATCH = (
    "protocol", "label", "gallery items", "gallery groups", "gallery digest", "exclusion", "AP@k divides by", "ties",
)  # fmt: skip
MADE_WITH = ("fingerprint", "histoseek", "numpy", "pillow", "python", "machine")
_PER_QUERY = {"mAP": "AP", "mMV": "MV"}


@dataclass(frozen=True)
class Test:
    """A paired test: how much `second` is above `first` in `metric`, with interval and Holm-corrected p."""

    __test__ = False

    first: str
    second: str
    metric: str
    difference: float
    low: float
    high: float
    p: float
    p_holm: float


@dataclass(frozen=True)
class Comparison:
    """Reports over the same queries, by name, and the tests between every two of them."""

    reports: dict[str, Report]
    tests: tuple[Test, ...]
    metrics: tuple[str, ...]

    def markdown(self) -> str:
        """A Markdown table of the figures, one of the tests, and the protocol that they share."""
        return "\n".join([*self._figures(), "", *self._tested(), "", *self._shared(), ""])

    def write(self, path: str | Path) -> None:
        """Write the Markdown into a file."""
        with written_whole(path) as draft:
            draft.write_text(self.markdown(), encoding="utf-8")

    def _figures(self) -> list[str]:
        columns = [f"{metric}{part}" for part in ("", " macro") for metric in self.metrics]
        lines = [f"| encoder | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
        for name, report in self.reports.items():
            scores = [part[metric] for part in (report.scores, report.macro) for metric in self.metrics]
            cells = [f"{score.value:.3f} [{score.low:.3f}, {score.high:.3f}]" for score in scores]
            lines.append(f"| {_cell(name)} | {' | '.join(cells)} |")
        return lines

    def _tested(self) -> list[str]:
        if not self.tests:
            return []
        lines = ["| second − first | metric | difference [95 %] | p | p (Holm) |", "|---|---|---|---|---|"]
        for test in self.tests:
            spread = f"{test.difference:+.3f} [{test.low:+.3f}, {test.high:+.3f}]"
            pair = f"{_cell(test.second)} − {_cell(test.first)}"
            lines.append(f"| {pair} | {test.metric} | {spread} | {test.p:.4f} | {test.p_holm:.4f} |")
        return lines

    def _shared(self) -> list[str]:
        protocol = next(iter(self.reports.values())).protocol
        own = ("encoder", "precision", "view")
        shared = "; ".join(f"{name}: {value}" for name, value in protocol.items() if name not in own)
        lines = [f"Protocol: {shared}."]
        for name, report in self.reports.items():
            made = report.provenance
            figures = [f"{report.protocol[key]}" for key in ("precision", "view")]
            figures += [f"{key} {made[key]}" for key in MADE_WITH if key in made]
            lines += ["", f"{_cell(name)}: {'; '.join(figures)}."]
        return lines


def compare(reports: dict[str, Report], metrics: Sequence[str] = METRICS) -> Comparison:
    """Compare reports, given by name, with paired bootstrap tests over groups, Holm-corrected over all tests.

    Raises:
        InputError: fewer than one report, a metric that one lacks, or protocols or queries that differ.
    """
    if not reports:
        raise InputError("there is nothing to compare: give at least one report")
    _check_alike(reports)
    for name, report in reports.items():
        for metric in metrics:
            if metric not in report.scores:
                raise InputError(f"report {name!r} has no {metric!r}; it has {', '.join(report.scores)}")
    raw = [
        (first, second, metric, *_difference(reports[first], reports[second], metric))
        for first, second in combinations(reports, 2)
        for metric in metrics
    ]
    corrected = holm([test[-1] for test in raw])
    tests = tuple(Test(*test, p_holm=p) for test, p in zip(raw, corrected, strict=True))
    return Comparison(dict(reports), tests, tuple(metrics))


def named_reports(read: Sequence[tuple[Path, Report]]) -> dict[str, Report]:
    """Name reports by their encoder, and by their folder too where several share it."""
    encoders = [str(report.protocol["encoder"]) for _, report in read]
    names = [
        name if encoders.count(name) == 1 else f"{name} ({path.name})"
        for name, (path, _) in zip(encoders, read, strict=True)
    ]
    if len(set(names)) < len(names):
        names = [f"{name} ({path})" for name, (path, _) in zip(encoders, read, strict=True)]
    if len(set(names)) < len(names):
        raise InputError("one report is given twice; give each once")
    return dict(zip(names, (report for _, report in read), strict=True))


def _check_alike(reports: dict[str, Report]) -> None:
    (first, reference), *others = reports.items()
    for name, report in others:
        for key in MUST_MATCH:
            if report.protocol.get(key) != reference.protocol.get(key):
                raise InputError(
                    f"{name!r} and {first!r} cannot be compared: {key} is {report.protocol.get(key)!r} in one and "
                    f"{reference.protocol.get(key)!r} in the other; evaluate them alike"
                )
        if not all(report.per_query[key].equals(reference.per_query[key]) for key in ("id", "label", "n_relevant")):
            raise InputError(f"{name!r} and {first!r} cannot be compared: their queries differ; evaluate them alike")


def _difference(first: Report, second: Report, metric: str) -> tuple[float, float, float, float]:
    kind, _, k = metric.partition("@")
    column = f"{_PER_QUERY.get(kind, kind)}@{k}" if k else metric
    values = _column(second, column) - _column(first, column)
    answerable = _column(first, "n_relevant") > 0
    groups = np.array(first.per_query["group"].to_pylist(), dtype=object)[answerable]
    _, codes = np.unique(groups.astype(str), return_inverse=True)
    seed = int(first.protocol["seed"])
    kept = values[answerable, None]
    rounds = over_rounds(lambda draws: resampled_means(kept, codes, draws), int(codes.max()) + 1, N_ROUNDS, seed)[:, 0]
    low, high = np.quantile(rounds, [0.025, 0.975])
    return float(values[answerable].mean()), float(low), float(high), p_value(rounds)


def _column(report: Report, name: str) -> NDArray[np.float64]:
    return np.asarray(report.per_query[name].to_numpy(), dtype=float)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
