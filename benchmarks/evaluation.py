"""How close the ranking behind an evaluation comes to one pass of matrix products over the same vectors.

    python benchmarks/evaluation.py [--rows 20000] [--rounds 3]

Every item of an archive of invented embeddings asks, its own patient shut out (leave-group-out). The bare pass
multiplies the same queries with the same vectors in blocks, and keeps nothing. Both are timed in turns; medians.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import archives
from histoseek.evaluation import evaluate
from histoseek.evaluation.ranking import QUERIES_A_BLOCK, rank, take_queries
from histoseek.evaluation.settings import Settings
from histoseek.index import Index


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", default="20000")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    told = ", ".join(f"{name} {version(name)}" for name in ("histoseek", "numpy", "pyarrow"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {told}, seed 0\n")
    print("| queries and items | bare product s | ranking s | ranking / product | whole evaluation s |")
    print("|--:|--:|--:|--:|--:|")
    for n_rows in map(int, given.rows.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            print(measured(Path(folder) / "x.index", n_rows, given.rounds), flush=True)


def measured(home: Path, n_rows: int, rounds: int) -> str:
    blocks = enumerate(archives.vectors_of(n_rows))
    archives.write_tables(home, (archives.rows_of(at * archives.BLOCK, block) for at, block in blocks))
    index, settings = Index.open(home), Settings()
    queries = take_queries(index, None, settings)
    vectors = index.rows.vectors(np.arange(n_rows))
    times: dict[str, list[float]] = {"bare": [], "rank": [], "whole": []}
    for _ in range(rounds):
        times["bare"].append(timed(lambda: bare_pass(queries.vectors, vectors)))
        times["rank"].append(timed(lambda: rank(index, queries, settings)))
        times["whole"].append(timed(lambda: evaluate(index)))
    bare, ranking, whole = (float(np.median(times[name])) for name in ("bare", "rank", "whole"))
    return f"| {n_rows:,} | {bare:.1f} | {ranking:.1f} | {ranking / bare:.1f} | {whole:.1f} |"


def bare_pass(queries: np.ndarray, vectors: np.ndarray) -> None:
    room = np.empty((QUERIES_A_BLOCK, len(vectors)), dtype=np.float32)
    for start in range(0, len(queries), QUERIES_A_BLOCK):
        block = queries[start : start + QUERIES_A_BLOCK]
        np.matmul(block, vectors.T, out=room[: len(block)])


def timed(work: Callable[[], object]) -> float:
    since = time.perf_counter()
    work()
    return time.perf_counter() - since


if __name__ == "__main__":
    main()
