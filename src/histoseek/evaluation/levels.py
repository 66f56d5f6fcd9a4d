"""Measuring the search for slides and for patients: each asks the others, never one of its own patient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoseek.errors import InputError
from histoseek.evaluation.evaluating import Pool, report_of
from histoseek.evaluation.ranking import Queries, Ranking
from histoseek.evaluation.report import Report
from histoseek.evaluation.settings import Settings
from histoseek.index import Index, Level, WholeRules, label_column, labels_of, open_bags
from histoseek.index.matching import METHODS, Bags, Method, similarities
from histoseek.index.representatives import Choice
from histoseek.index.wholes import Whole

KS = (1, 3, 5, 10)
_COLUMNS = ("path", "box_x", "box_y", "box_width", "box_height", "dataset", "group_source")


@dataclass(frozen=True)
class LevelSettings:
    """What is measured: `label` is the column with the labels of wholes, `where` a filter for their tiles."""

    label: str | None = None
    where: str | None = None
    representatives: Choice = "mosaic"
    n_bootstrap: int = 1000
    seed: int = 0


def evaluate_level(
    index: Index,
    level: Level,
    settings: LevelSettings | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[Method, Report]:
    """Measure each way to compare slides or cases by leaving the query's patient out: a report by method.

    A report's queries and hits are slides or cases, and `MV@k` is whether the majority of the first k carries the
    query's label. Prefilters play no part: every whole is compared with every other.

    Raises:
        InputError: fewer than two labels, or no label occurs in two patients.
        MissingExtraError: the extra `slides` is not installed.
    """
    chosen = settings or LevelSettings()
    rules = WholeRules(representatives=chosen.representatives, where=chosen.where)
    wholes, bags = open_bags(index, level, rules)
    items = index.rows.items
    column = label_column(items, chosen.label)
    labels, n_mixed = labels_of(items, wholes, column)
    known = [at for at, label in enumerate(labels) if label is not None]
    if not known:
        raise InputError(f"no {level} has one label in column {column!r}; choose another with --label")
    table = _as_items(items, wholes, bags, labels).take(pa.array(known))
    pool = Pool(table, np.ones(len(known), dtype=bool), index.about)
    asked = Queries(table, bags.means[known], np.arange(len(known)), (), len(wholes) - len(known))
    eval_settings = Settings(label="label", ks=KS, n_bootstrap=chosen.n_bootstrap, seed=chosen.seed)
    scored = _all_similarities(bags, np.array(known), progress)
    reports = {}
    for method in METHODS:
        ranking = _ranking(scored[method], table, [wholes[at] for at in known], eval_settings.depth)
        report = report_of(pool, asked, ranking, eval_settings, {})
        facts = _facts(level, method, column, n_mixed, rules)
        reports[method] = replace(report, protocol={**report.protocol, **facts})
    return reports


def write_levels(reports: dict[Method, Report], folder: str | Path, root: Path) -> None:
    """Write one report a method into `folder`, to be compared with `histoseek compare`."""
    for method, report in reports.items():
        report.write(Path(folder) / method, root)


def _all_similarities(
    bags: Bags, known: NDArray[np.int64], progress: Callable[[int, int], None] | None
) -> dict[Method, NDArray[np.float64]]:
    """Similarity of every known whole with every other, `[W, W]`, by method."""
    found = {method: np.zeros((len(known), len(known))) for method in METHODS}
    for at, whole in enumerate(known):
        for method in METHODS:
            found[method][at] = similarities(bags, int(whole), method, known)
        if progress is not None:
            progress(at + 1, len(known))
    return found


def _as_items(items: pa.Table, wholes: list[Whole], bags: Bags, labels: list[str | None]) -> pa.Table:
    """One row a whole, in the form of an item: its picture is its first representative."""
    first = items.select(_COLUMNS).take(pa.array(bags.rows[bags.starts]))
    names = pa.array([whole.name for whole in wholes], pa.string())
    groups = pa.array([whole.group for whole in wholes], pa.string())
    nothing = pa.nulls(len(wholes), pa.string())
    added = {"id": names, "group": groups, "label": pa.array(labels, pa.string()), "sha256": nothing}
    return pa.table({**{name: first[name] for name in _COLUMNS}, **added})


def _ranking(scores: NDArray[np.float64], table: pa.Table, wholes: list[Whole], depth: int) -> Ranking:
    """The wholes ranked for each, with all of its own patient shut out; equal scores by name."""
    _, groups = np.unique(np.array([whole.group for whole in wholes]), return_inverse=True)
    shut = groups[:, None] == groups[None, :]
    values = table["label"].to_pylist()
    names = sorted(set(values))
    codes = np.array([names.index(value) for value in values])
    masked = np.where(shut, -np.inf, scores)
    order = np.argsort(-masked, axis=1, kind="stable")[:, :depth]
    sorted_scores = np.take_along_axis(masked, order, axis=1)
    rows = np.where(np.isfinite(sorted_scores), order, -1)
    hit_labels = np.where(rows >= 0, codes[rows], -1)
    n_relevant = ((codes[:, None] == codes[None, :]) & ~shut).sum(axis=1)
    return Ranking(rows, sorted_scores.astype(np.float32), codes, hit_labels, n_relevant, groups, tuple(names), 0)


def _facts(level: Level, method: Method, column: str, n_mixed: int, rules: WholeRules) -> dict[str, Any]:
    return {
        "level": level,
        "method": method,
        "representatives": rules.representatives,
        "label": column,
        f"{level}s with several labels (the most frequent counts)": n_mixed,
        "tile filter": rules.where or "none",
        "exclusion": f"every {level} that shares a patient with the query",
    }
