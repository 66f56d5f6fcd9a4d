"""The metrics of an evaluation, from its rankings to its figures: ours, ranx, trec_eval and torchmetrics.

    python benchmarks/metric_libraries.py [--rows 20000] [--only ours,ranx]

Every item of an archive of invented embeddings asks, its own patient shut out, and the 20 nearest are ranked once, by
Histoseek. Each library then takes these rankings, in a process of its own, and gives Acc, P, AP and nDCG at 1, 3, 5, 10
and 20 for every query. They are told of at most 20 relevant items a query, which is all that these depths need: with
all of them the dictionaries of 20 000 queries would hold ten million entries.

Figures must agree to 1e-6. AP differs by definition and is brought to ours (over min(k, relevant items)) by its
denominator: ranx and trec_eval divide by all relevant items that they know, torchmetrics by those among the first k.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))
from histoseek import metrics

KS = (1, 3, 5, 10, 20)
DEPTH = max(KS)
ROUNDS = 1000
LIBRARIES = {
    "ours": "histoseek",
    "ours, with intervals": "histoseek",
    "ranx": "ranx",
    "trec_eval": "pytrec_eval-terrier",
    "torchmetrics": "torchmetrics",
}
Figures = dict[str, NDArray[np.float64]]
Task = dict[str, NDArray[Any]]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--only", default=";".join(LIBRARIES), help="names, with semicolons between them")
    parser.add_argument("--library", help="measure one (used by this script)")
    parser.add_argument("--folder", type=Path, help="where the rankings lie (used by this script)")
    given = parser.parse_args()
    if given.library:
        print(json.dumps(measured(given.library, given.folder)))
        return
    where = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{where}, numpy {version('numpy')}, seed 0; {given.rows:,} queries\n")
    print("| library | version | hand over s | figures s | against ours | peak memory MB | largest difference |")
    print("|---|---|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        write_task(Path(folder), given.rows)
        ours = 0.0
        for name in given.only.split(";"):
            try:
                told = version(LIBRARIES[name])
            except PackageNotFoundError:
                print(f"| {name} | not installed | | | | | |")
                continue
            command = [sys.executable, __file__, "--library", name, "--folder", folder]
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            if ended.returncode:
                print(f"| {name} | {told} | failed: {ended.stderr.strip().splitlines()[-1]} |")
                continue
            found = json.loads(ended.stdout.splitlines()[-1])
            whole = found["hand over"] + found["figures"]
            ours = ours or whole
            cells = f"{found['hand over']:.2f} | {found['figures']:.2f} | {whole / ours:.0f} | {found['memory']}"
            print(f"| {name} | {told} | {cells} | {found['difference']:.0e} |", flush=True)


def write_task(folder: Path, n_rows: int) -> None:
    """The rankings of all queries, made in a process of its own so that none of its memory counts."""
    code = f"from benchmarks.metric_libraries import make_task; make_task({str(folder)!r}, {n_rows})"
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def make_task(folder: str, n_rows: int) -> None:
    from benchmarks import archives
    from histoseek.evaluation.ranking import rank, take_queries
    from histoseek.evaluation.settings import Settings
    from histoseek.index import Index

    home = Path(folder, "x.index")
    blocks = enumerate(archives.vectors_of(n_rows))
    archives.write_tables(home, (archives.rows_of(at * archives.BLOCK, block) for at, block in blocks))
    index = Index.open(home)
    ranking = rank(index, take_queries(index, None, Settings()), Settings())
    can = ranking.n_relevant > 0
    arrays = {"relevant": ranking.relevant, "n_relevant": ranking.n_relevant, "groups": ranking.groups}
    np.savez(Path(folder, "task.npz"), **{name: array[can] for name, array in arrays.items()})


def measured(name: str, folder: Path) -> dict[str, Any]:
    """Seconds to hand the rankings over and to compute the figures, after a few queries that are not counted."""
    with np.load(folder / "task.npz") as kept:
        task = dict(kept)
    hand_over, figures = WAYS[name]
    figures(hand_over({key: array[:20] for key, array in task.items()}))
    since = time.perf_counter()
    handed = hand_over(task)
    between = time.perf_counter()
    found = figures(handed)
    ended = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform != "darwin" else 1024**2)
    ours = _ours(task)
    worst = max(float(np.abs(ours[key] - as_ours(name, key, values, task)).max()) for key, values in found.items())
    if worst > 1e-6 or set(found) != set(ours):
        raise SystemExit(f"{name} gives other figures: {worst}")
    return {"hand over": between - since, "figures": ended - between, "memory": peak, "difference": worst}


def as_ours(name: str, figure: str, values: NDArray[np.float64], task: Task) -> NDArray[np.float64]:
    """Average precision brought to our denominator; every other figure as it is."""
    kind, _, depth = figure.partition("@")
    if kind != "AP" or name.startswith("ours"):
        return values
    k = int(depth)
    theirs = task["relevant"][:, :k].sum(axis=1) if name == "torchmetrics" else np.minimum(DEPTH, task["n_relevant"])
    return values * theirs / np.minimum(k, task["n_relevant"])


def _ours(task: Task) -> Figures:
    relevant, n_relevant = task["relevant"], task["n_relevant"]
    found = {}
    for k in KS:
        found[f"Acc@{k}"] = metrics.acc_at_k(relevant, k)
        found[f"P@{k}"] = metrics.precision_at_k(relevant, k)
        found[f"AP@{k}"] = metrics.ap_at_k(relevant, n_relevant, k)
        found[f"nDCG@{k}"] = metrics.ndcg_at_k(relevant, n_relevant, k)
    return found


def _ours_with_intervals(task: Task) -> Figures:
    from histoseek.evaluation.bootstrap import over_rounds, resampled_means

    found = _ours(task)
    values = np.column_stack(list(found.values()))
    _, codes = np.unique(task["groups"], return_inverse=True)
    over_rounds(lambda draws: resampled_means(values, codes, draws), int(codes.max()) + 1, ROUNDS, 0)
    return found


def _dictionaries(task: Task) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, float]]]:
    """Judgements and rankings as the family of trec_eval takes them; items that were not found have other names."""
    judged, ranked = {}, {}
    for query, (row, n) in enumerate(zip(task["relevant"], task["n_relevant"].tolist(), strict=True)):
        found = {f"d{hit}": 1 for hit in np.flatnonzero(row).tolist()}
        missed = {f"m{number}": 1 for number in range(min(DEPTH, n) - len(found))}
        judged[f"q{query:07}"] = found | missed
        ranked[f"q{query:07}"] = {f"d{hit}": float(DEPTH - hit) for hit in range(len(row))}
    return judged, ranked


def _to_ranx(task: Task) -> Any:
    import ranx

    judged, ranked = _dictionaries(task)
    return ranx.Qrels.from_dict(judged), ranx.Run.from_dict(ranked)


def _by_ranx(handed: Any) -> Figures:
    import ranx

    names = {"Acc": "hit_rate", "P": "precision", "AP": "map", "nDCG": "ndcg"}
    asked = {f"{ours}@{k}": f"{theirs}@{k}" for ours, theirs in names.items() for k in KS}
    found: Any = ranx.evaluate(*handed, list(asked.values()), return_mean=False)
    return {ours: np.asarray(found[theirs]) for ours, theirs in asked.items()}


def _by_trec_eval(handed: Any) -> Figures:
    import pytrec_eval

    judged, ranked = handed
    names = {"Acc": "success", "P": "P", "AP": "map_cut", "nDCG": "ndcg_cut"}
    measures = {f"{theirs}.{','.join(map(str, KS))}" for theirs in names.values()}
    found = pytrec_eval.RelevanceEvaluator(judged, measures).evaluate(ranked)
    return {
        f"{ours}@{k}": np.array([found[query][f"{theirs}_{k}"] for query in judged])
        for ours, theirs in names.items()
        for k in KS
    }


def _to_torchmetrics(task: Task) -> Any:
    """One long list of (query, score, relevant): the hits, then the relevant items that were not found, below them."""
    import torch

    relevant = task["relevant"]
    missed = np.minimum(DEPTH, task["n_relevant"]) - relevant.sum(axis=1)
    below = np.arange(DEPTH)[None] < missed[:, None]
    scores = np.broadcast_to(np.arange(2 * DEPTH, 0, -1, dtype=np.float32) / (2 * DEPTH), (len(relevant), 2 * DEPTH))
    kept = np.concatenate([np.ones_like(relevant), below], axis=1)
    target = np.concatenate([relevant, below], axis=1)
    queries = np.broadcast_to(np.arange(len(relevant))[:, None], kept.shape)
    return tuple(torch.from_numpy(np.ascontiguousarray(one[kept])) for one in (scores, target, queries))


def _by_torchmetrics(handed: Any) -> Figures:
    from torchmetrics import retrieval

    kinds: dict[str, Any] = {
        "Acc": retrieval.RetrievalHitRate,
        "P": retrieval.RetrievalPrecision,
        "AP": retrieval.RetrievalMAP,
        "nDCG": retrieval.RetrievalNormalizedDCG,
    }
    found = {}
    for kind, measure in kinds.items():
        for k in KS:
            one = measure(top_k=k, aggregation=lambda values, dim: values)
            one.update(handed[0], handed[1], indexes=handed[2])
            found[f"{kind}@{k}"] = one.compute().double().numpy()
    return found


WAYS: dict[str, tuple[Callable[[Task], Any], Callable[[Any], Figures]]] = {
    "ours": (lambda task: task, _ours),
    "ours, with intervals": (lambda task: task, _ours_with_intervals),
    "ranx": (_to_ranx, _by_ranx),
    "trec_eval": (_dictionaries, _by_trec_eval),
    "torchmetrics": (_to_torchmetrics, _by_torchmetrics),
}


if __name__ == "__main__":
    main()
