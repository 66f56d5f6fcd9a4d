"""What an encoder finds: organs by tiles, organs by cases, tissue by words, the BACH sample."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from atlas import HELD_OUT, TEN_ORGANS, both, opened, scale
from figures import Figure
from numpy.typing import NDArray

import histoseek as hs
from histoseek import metrics
from histoseek.encoders.encoder import Encoder, unit_rows
from histoseek.errors import InputError
from histoseek.evaluation.bootstrap import macro_means, over_rounds
from histoseek.evaluation.words import class_prompts
from histoseek.index import Example, Hits
from histoseek.items import Item

SHOWN = ("Acc@1", "mMV@5", "mAP@10")
SCALES = ("20x", "5x")
N_ROUNDS, SEED = 1000, 0


def organs(index: hs.Index, reports: Path | None = None) -> Iterator[Figure]:
    """Organ retrieval by tiles at both scales: held-out queries, held-out gallery, and all 41 cases."""
    for name in SCALES:
        every = both(TEN_ORGANS, scale(name))
        test = both(every, HELD_OUT)
        yield from _organ(index, f"organ, {name}, held-out cases", test, every, reports)
        yield from _organ(index, f"organ, {name}, held-out cases among themselves", test, test, reports)
        yield from _organ(index, f"organ, {name}, all cases (includes training cases of mini)", every, every, reports)


def _organ(index: hs.Index, what: str, queries: str, gallery: str, reports: Path | None) -> Iterator[Figure]:
    try:
        report = hs.evaluate(
            index, queries, gallery=gallery, protocol="leave-group-out", n_bootstrap=N_ROUNDS, seed=SEED
        )
    except InputError:  # no organ has two cases here
        return
    if reports is not None:
        report.write(reports / re.sub(r"\W+", "_", what).strip("_"))
    told = report.protocol
    protocol = (
        f"{what}: H&E tiles of the organs with three or more cases, label = organ (that of the slide), "
        f"{told['queries']} queries of {told['query groups']} cases, {told['unanswerable queries (left out)']} of them "
        f"unanswerable and left out; gallery {told['gallery items']} tiles of {told['gallery groups']} cases at the "
        f"same scale; every tile of the query's case shut out; macro over {organs_in(report)}; AP@k divides by "
        f"{told['AP@k divides by']}; 95 % intervals from {N_ROUNDS} bootstrap rounds over cases, seed {SEED}"
    )
    details = {label: {name: values[name] for name in SHOWN} for label, values in report.per_class.items()}
    yield Figure(what, "macro P@1 by chance", _chance(index, report, gallery), protocol)
    for name in SHOWN:
        score = report.macro[name]
        yield Figure(
            what,
            f"macro {name}",
            score.value,
            protocol,
            score.low,
            score.high,
            {label: values[name] for label, values in details.items()},
        )


def organs_in(report: hs.Report) -> str:
    """How many organs a figure stands for, with their names where they are few."""
    names = list(report.per_class)
    return f"{len(names)} organs" if len(names) > 3 else f"only {', '.join(names)}"


def _chance(index: hs.Index, report: hs.Report, gallery: str) -> float:
    """The share of relevant tiles among those in reach, macro over organs: what a blind draw gets at rank 1."""
    held = index.manifest.where(gallery).table["group"].to_pylist()
    reach = {group: len(held) - held.count(group) for group in set(report.per_query["group"].to_pylist())}
    shares: dict[str, list[float]] = {}
    for row in report.per_query.select(["label", "group", "n_relevant"]).to_pylist():
        if row["n_relevant"]:
            shares.setdefault(row["label"], []).append(row["n_relevant"] / reach[row["group"]])
    return float(np.mean([np.mean(values) for values in shares.values()]))


def pooled(index: hs.Index) -> Iterator[Figure]:
    """Cases among cases: each is the mean of its tiles at one scale; held-out cases ask, and all cases."""
    for name in SCALES:
        cases, vectors = _case_vectors(index, both(TEN_ORGANS, scale(name)))
        labels = np.unique([case.label for case in cases], return_inverse=True)[1]
        test = set(index.manifest.where(HELD_OUT).table["group"].to_pylist())
        asking = np.array([case.group in test for case in cases])
        yield from _pooled(f"cases pooled, {name}, held-out cases", vectors, labels, asking)
        every = np.ones(len(cases), dtype=bool)
        yield from _pooled(f"cases pooled, {name}, all cases (includes training cases of mini)", vectors, labels, every)


def _case_vectors(index: hs.Index, where: str) -> tuple[list[Item], NDArray[np.float32]]:
    """One item and the mean unit vector `[C, D]` of each case."""
    rows_of: dict[str, list[int]] = {}
    first: dict[str, Item] = {}
    kept = index.manifest.where(where)
    for item, row in zip(kept, index.rows_of(kept.table["id"].to_pylist()), strict=True):
        rows_of.setdefault(item.group, []).append(int(row))
        first.setdefault(item.group, item)
    means = [index.rows.vectors(np.array(rows)).mean(axis=0, dtype=np.float64) for rows in rows_of.values()]
    return list(first.values()), unit_rows(np.stack(means))


def _pooled(
    what: str, vectors: NDArray[np.float32], labels: NDArray[np.int64], asking: NDArray[np.bool_]
) -> Iterator[Figure]:
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    hits = labels[np.argsort(-cosines, axis=1, kind="stable")[:, :-1]][asking]
    own = labels[asking]
    values = np.column_stack(
        [metrics.acc_at_k(hits == own[:, None], 1), (metrics.majority_vote(hits, 3) == own).astype(float)]
    )
    groups = np.arange(len(own))
    rounds = over_rounds(lambda draws: macro_means(values, groups, own, draws), len(own), N_ROUNDS, SEED)
    low, high = np.nanquantile(rounds, [0.025, 0.975], axis=0)
    whole = macro_means(values, groups, own, np.ones((1, len(own))))[0]
    protocol = (
        f"{what}: a case is the mean of its tiles' unit vectors at that scale, back at length one; {len(own)} cases "
        f"ask the {len(labels) - 1} other cases; macro over {len(np.unique(own))} organs; 95 % intervals from "
        f"{N_ROUNDS} bootstrap rounds over cases, seed {SEED}"
    )
    for at, name in enumerate(("macro Acc@1", "macro MV@3")):
        yield Figure(what, name, float(whole[at]), protocol, float(low[at]), float(high[at]))


def words(index: hs.Index) -> Iterator[Figure]:
    """Text → image among the held-out tiles: every organ and every diagnosis that occurs."""
    if not index.about.has_text:
        return
    gallery = both(HELD_OUT, scale("20x"), "label IS NOT NULL")
    for column in ("label", "diagnosis"):
        what = f"text → image, {'organ' if column == 'label' else column}, 20x, held-out cases"
        found = asked_by_words(index, gallery, column)
        precision = float(np.mean([share for share, _, _ in found.values()]))
        chance = float(np.mean([expected for _, expected, _ in found.values()]))
        protocol = (
            f"{what}: a class's prompt is the mean of its name in the general templates of `histoseek evaluate`; "
            f"gallery {len(index.manifest.where(gallery))} labelled H&E tiles at 20x of held-out cases; {len(found)} "
            "classes, each counting once; chance is the share of the class in the gallery"
        )
        details = {name: {"P@10": share, "chance": expected} for name, (share, expected, _) in found.items()}
        yield Figure(what, "macro P@10", precision, protocol, details=details)
        yield Figure(what, "macro P@10 by chance", chance, protocol)
        yield Figure(what, "ratio to chance", precision / chance, protocol)


def asked_by_words(index: hs.Index, gallery: str, column: str) -> dict[str, tuple[float, float, Hits]]:
    """For each value of a column that the gallery holds: P@10 of its prompt, its share of the gallery, the hits."""
    held = [value for value in index.manifest.where(gallery).table[column].to_pylist() if value]
    names = sorted(set(held))
    _, prompts = class_prompts(names, set())
    found = {}
    for name in names:
        vector = index.encoder.embed_texts(prompts[name]).mean(axis=0)
        hits = index.search([Example("vector", vector)], k=10, where=gallery)
        right = sum(value_of(hit.item, column) == name for hit in hits)
        found[name] = (right / 10, held.count(name) / len(index.manifest.where(gallery)), hits)
    return found


def value_of(item: Item, column: str) -> object:
    """What an item has in a column, be it a field or one of its own."""
    return item.label if column == "label" else item.extra.get(column)


def breast(data: Path, encoder: Encoder, folder: Path, reports: Path) -> Iterator[Figure]:
    """The BACH sample, photo by photo; only a sample, and no patients are known."""
    photos = hs.prepare("folder", data / "bach_sample" / "Photos", mpp=0.42)
    report = hs.evaluate(opened(photos, encoder, folder), n_bootstrap=N_ROUNDS, seed=SEED)
    report.write(reports / "BACH_sample")
    view = encoder.fingerprint.preprocessing
    what = "BACH sample (24 photos)"
    protocol = (
        f"{what}: leave one photo out, four classes, patients unknown; 1536 × 1536 px at 0.42 µm/px, the mean of views "
        f"at the encoder's scale; macro over classes; 95 % intervals from {N_ROUNDS} bootstrap rounds over photos, "
        f"seed {SEED}; not the EVA protocol of BACH, which needs all 400 photos"
    )
    for name in ("mMV@5", "Acc@1"):
        score = report.macro[name]
        yield Figure(what, f"macro {name}", score.value, protocol, score.low, score.high, {"view_px": view.view_px})
