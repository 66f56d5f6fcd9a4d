"""Evaluating an index: honest retrieval figures with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histoseek import metrics
from histoseek.errors import InputError
from histoseek.evaluation.bootstrap import macro_means, over_rounds, resampled_means, scores_of
from histoseek.evaluation.gallery import gallery_digest
from histoseek.evaluation.provenance import provenance_of
from histoseek.evaluation.ranking import Queries, Ranking, rank, take_queries
from histoseek.evaluation.report import Report, Score
from histoseek.evaluation.settings import KNN_K, SettingOptions, Settings
from histoseek.evaluation.words import evaluate_words
from histoseek.index import Index
from histoseek.index.about import About
from histoseek.items import Manifest
from histoseek.items.spool import rows_of

CONFUSION_K = 5
KNN = "kNN accuracy"
_SIDES = ("box_x", "box_y", "box_width", "box_height")
_MEAN_NAMES = {"AP": "mAP", "MV": "mMV"}


def evaluate(index: Index, queries: Manifest | str | None = None, **settings: Unpack[SettingOptions]) -> Report:
    """Measure how well an index finds items with the label of the query.

    `queries` is a manifest (its items are embedded unless the index holds them), a filter over the index's own
    items, or None for all of them. Without a stated protocol, a manifest means "split" and the others
    "leave-group-out". Queries without any relevant item in reach cannot be answered: they are counted and left out
    of every figure. See `Settings` for the rest.

    Raises:
        InputError: a group on both sides of a split, an empty side, or a column that is not there.
    """
    if "protocol" not in settings:
        settings["protocol"] = "split" if isinstance(queries, Manifest) else "leave-group-out"
    chosen = Settings(**settings)
    asked = take_queries(index, queries, chosen)
    ranking = rank(index, asked, chosen)
    gallery = index.allowed(chosen.gallery)
    inside = np.ones(len(index), dtype=bool) if gallery is None else gallery
    text = evaluate_words(index, asked, ranking, chosen) if index.about.has_text and _answerable(ranking).any() else {}
    return report_of(Pool(index.rows.items, inside, index.about), asked, ranking, chosen, text)


@dataclass(frozen=True)
class Pool:
    """What could be found: item columns, which of them are the gallery `[N]`, and what the index says of itself."""

    items: pa.Table
    inside: NDArray[np.bool_]
    about: About


def report_of(pool: Pool, asked: Queries, ranking: Ranking, settings: Settings, text: Mapping[str, Any]) -> Report:
    """Figures with intervals, per class and per query, of a ranking.

    Raises:
        InputError: no query can be answered.
    """
    answerable = _answerable(ranking)
    if not answerable.any():
        raise InputError(
            f"no query can be answered: no label in column {settings.label!r} occurs in two groups "
            f"({_n_distinct(asked.items['group'])} groups among the queries); where patients are unknown and "
            "count as one group, prepare with groups of your own, or choose another --label"
        )
    per_query = _per_query(ranking, settings)
    shown = [_mean_name(name) for name in per_query]
    values = np.column_stack(list(per_query.values()))[answerable]
    labels = ranking.labels[answerable]
    scores, macro = _averages(shown, values, ranking.groups[answerable], labels, settings)
    return Report(
        scores=scores,
        macro=macro,
        per_class=_per_class(shown, values, labels, ranking.names),
        confusion=_confusion(ranking, answerable),
        protocol=_protocol(pool, asked, ranking, settings),
        provenance=provenance_of(pool.about.fingerprint),
        text=text,
        per_query=_table(pool.items, asked, ranking, per_query),
        skipped=asked.skipped,
    )


def _answerable(ranking: Ranking) -> NDArray[np.bool_]:
    return np.asarray(ranking.n_relevant > 0)


def _averages(
    shown: list[str],
    values: NDArray[np.float64],
    groups: NDArray[np.int64],
    labels: NDArray[np.int64],
    settings: Settings,
) -> tuple[dict[str, Score], dict[str, Score]]:
    """Means over queries and over classes of `values` [Q, M], each with its interval."""
    _, codes = np.unique(groups, return_inverse=True)
    n_groups = int(codes.max()) + 1

    def figures(draws: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack([resampled_means(values, codes, draws), macro_means(values, codes, labels, draws)], axis=1)

    rounds = over_rounds(figures, n_groups, settings.n_bootstrap, settings.seed)
    whole = figures(np.ones((1, n_groups)))[0]
    return scores_of(shown, whole[0], rounds[:, 0]), scores_of(shown, whole[1], rounds[:, 1])


def _per_query(ranking: Ranking, settings: Settings) -> dict[str, NDArray[np.float64]]:
    relevant, n_relevant = ranking.relevant, ranking.n_relevant
    columns: dict[str, NDArray[np.float64]] = {}
    for k in settings.ks:
        columns[f"Acc@{k}"] = metrics.acc_at_k(relevant, k)
        columns[f"P@{k}"] = metrics.precision_at_k(relevant, k)
        columns[f"AP@{k}"] = metrics.ap_at_k(relevant, n_relevant, k)
        columns[f"MV@{k}"] = (metrics.majority_vote(ranking.hit_labels, k) == ranking.labels).astype(float)
        columns[f"nDCG@{k}"] = metrics.ndcg_at_k(relevant, n_relevant, k)
    nearest = metrics.weighted_vote(ranking.hit_labels, ranking.scores, KNN_K)
    columns[KNN] = (nearest == ranking.labels).astype(float)
    return columns


def _mean_name(name: str) -> str:
    kind, at, k = name.partition("@")
    return f"{_MEAN_NAMES.get(kind, kind)}{at}{k}"


def _per_class(
    shown: list[str], values: NDArray[np.float64], labels: NDArray[np.int64], names: tuple[str, ...]
) -> dict[str, dict[str, float]]:
    classes = {}
    for label in np.unique(labels):
        rows = values[labels == label]
        classes[names[label]] = {"queries": len(rows)} | dict(
            zip(shown, (float(value) for value in rows.mean(axis=0)), strict=True)
        )
    return classes


def _confusion(ranking: Ranking, answerable: NDArray[np.bool_]) -> dict[str, Any]:
    voted = metrics.majority_vote(ranking.hit_labels, CONFUSION_K)[answerable]
    true = ranking.labels[answerable]
    seen = np.unique(np.concatenate([true, voted[voted >= 0]]))
    counts = [[int(((true == row) & (voted == column)).sum()) for column in seen] for row in seen]
    return {"k": CONFUSION_K, "labels": [ranking.names[label] for label in seen], "counts": counts}


def _protocol(pool: Pool, asked: Queries, ranking: Ranking, settings: Settings) -> dict[str, Any]:
    held = _gallery(pool)
    marks = pool.about.fingerprint
    rule = "every item of the query's group" if settings.protocol == "leave-group-out" else "no group on both sides"
    excluded = f"{rule}; the query itself and identical pictures"
    return {
        "protocol": settings.protocol,
        "label": settings.label,
        "dataset": _named(held["dataset"]),
        "gallery filter": settings.gallery or "none",
        "gallery items": held.num_rows,
        "gallery groups": _n_distinct(held["group"]),
        "queries": asked.items.num_rows,
        "query groups": _n_distinct(asked.items["group"]),
        "classes": len(set(ranking.labels.tolist())),
        "unanswerable queries (left out)": int((ranking.n_relevant == 0).sum()),
        "queries without label (left out)": asked.n_unlabelled,
        "unreadable queries (left out)": len(asked.skipped),
        "identical pictures shut out": ranking.n_twins,
        "gallery digest": gallery_digest(held),
        "exclusion": excluded,
        "group stands for": _named(held["group_source"]),
        "AP@k divides by": "min(k, relevant items in reach)",
        "ties": "equal scores by row; equal votes to the label whose best hit ranks higher",
        "kNN": f"{KNN_K} hits weighted exp(cosine / 0.07)",
        "intervals": f"95 %, {settings.n_bootstrap} bootstrap rounds over groups",
        "seed": settings.seed,
        "encoder": pool.about.encoder,
        "precision": marks.precision,
        "view": marks.preprocessing.told,
    }


def _gallery(pool: Pool) -> pa.Table:
    """What the protocol tells of the items that could be found."""
    items = pool.items.select(["id", "dataset", "group", "group_source", "sha256"])
    return items if pool.inside.all() else items.filter(pa.array(pool.inside))


def _n_distinct(column: pa.ChunkedArray) -> int:
    return int(pc.count_distinct(column, mode="all").as_py())


def _named(column: pa.ChunkedArray) -> str:
    return ", ".join(sorted(name for name in pc.unique(column).to_pylist() if name))


def _table(items: pa.Table, asked: Queries, ranking: Ranking, per_query: dict[str, NDArray[np.float64]]) -> pa.Table:
    """One row a query; the lists hold the hits, best first."""
    columns: dict[str, Any] = {name: asked.items[name] for name in ("id", "path", "group")}
    columns["label"] = pa.array([ranking.names[label] for label in ranking.labels])
    columns["box"] = pa.array(_boxes(asked.items), pa.list_(pa.int64()))
    columns["n_relevant"] = pa.array(ranking.n_relevant)
    found = [row[row >= 0] for row in ranking.rows]
    hits = np.unique(np.concatenate(found))
    places = [np.searchsorted(hits, row) for row in found]
    shown = rows_of(items.select(["id", "path", *_SIDES]), hits)
    for name in ("id", "path"):
        held = np.array(shown[name].to_pylist(), dtype=object)
        columns[f"hit_{name}s"] = pa.array([list(held[row]) for row in places], pa.list_(pa.string()))
    boxes = _boxes(shown)
    columns["hit_boxes"] = pa.array([[boxes[at] for at in row] for row in places], pa.list_(pa.list_(pa.int64())))
    names = np.array([*ranking.names, None], dtype=object)
    columns["hit_labels"] = pa.array([list(names[row]) for row in ranking.hit_labels], pa.list_(pa.string()))
    columns["hit_scores"] = pa.array(
        [row[: len(kept)].tolist() for row, kept in zip(ranking.scores, found, strict=True)], pa.list_(pa.float32())
    )
    axes = _principal_axes(asked.vectors)
    columns |= {"map_x": axes[:, 0], "map_y": axes[:, 1]}
    for name in [name for name in per_query if name.startswith("MV@")]:
        voted = metrics.majority_vote(ranking.hit_labels, int(name[3:]))
        columns[f"vote@{name[3:]}"] = pa.array([None if code < 0 else ranking.names[code] for code in voted])
    return pa.table(columns | per_query)


def _boxes(items: pa.Table) -> list[list[int] | None]:
    rows = items.select(_SIDES).to_pylist()
    return [None if row["box_x"] is None else list(row.values()) for row in rows]


def _principal_axes(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Vectors `[Q, D]` on their two axes of greatest variance, `[Q, 2]`."""
    centred = vectors.astype(float) - vectors.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    flat: NDArray[np.float64] = centred @ axes[:, :-3:-1]
    return flat if flat.shape[1] == 2 else np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))
