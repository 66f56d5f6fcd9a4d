"""How fast an archive is searched: ours, LanceDB alone, FAISS and hnswlib, on the same invented embeddings.

    python benchmarks/search.py [--rows 1000000] [--only ours,lancedb]

Every engine runs in a process of its own, one after the other. Recall@10 is against the exact answer.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import archives, engines

ENGINES = ("ours", "lancedb", "faiss-flat", "faiss-ivf", "faiss-hnsw", "hnswlib")
SLOW_TO_BUILD = {"faiss-hnsw", "hnswlib"}
MOST_GRAPH_ROWS = 200_000
N_QUERIES = 200


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", default=",".join(ENGINES))
    parser.add_argument("--engine", help="run one engine (used by this script)")
    parser.add_argument("--build", type=Path, help="only build our index (used by this script)")
    parser.add_argument("--folder", type=Path, help="where vectors lie (used by this script)")
    given = parser.parse_args()
    if given.build:
        engines.build_ours(given.build)
        return
    if given.engine:
        print(json.dumps(engines.measure(given.engine, given.folder)))
        return
    names = ("histoseek", "lancedb", "faiss-cpu", "hnswlib", "numpy", "pyarrow")
    told = ", ".join(f"{name} {version(name)}" for name in names)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {told}, seed 0\n")
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), given.rows, [name for name in given.only.split(",") if name in ENGINES])


def compare(folder: Path, n_rows: int, wanted: list[str]) -> None:
    header = (
        "engine, rows | write s | index s | open s | p50 / p95 ms | recall | 10 % filter | 1 % filter "
        "| own patient out | 1 000 at once /s | MB anonymous / all"
    )
    print(f"| {header} |\n|{'---|' * (header.count('|') + 1)}")
    for rows in sorted({min(n_rows, MOST_GRAPH_ROWS), n_rows}):
        place = folder / str(rows)
        prepare(place, rows)
        for engine in wanted:
            if engine in SLOW_TO_BUILD and rows > MOST_GRAPH_ROWS:
                continue
            command = [sys.executable, __file__, "--engine", engine, "--folder", str(place)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"| {engine}, {rows:,} | failed: {done.stderr.strip().splitlines()[-1]} |")
                continue
            print(line(engine, rows, json.loads(done.stdout.splitlines()[-1])), flush=True)
        shutil.rmtree(place)


def line(engine: str, rows: int, found: dict[str, Any]) -> str:
    def pair(name: str) -> str:
        one = found.get(name)
        return "–" if one is None else f"{one['p50']:.1f} / {one['recall']:.3f}"

    plain = found["plain"]
    cells = [
        f"{engine}, {rows:,}", f"{found['write']:.0f}", f"{found['index']:.0f}", f"{found['open']:.2f}",
        f"{plain['p50']:.1f} / {plain['p95']:.1f}", f"{plain['recall']:.4f}", pair("tenth"), pair("hundredth"),
        pair("patient"), f"{found['batch']:.0f}", f"{found['anonymous']} / {found['resident']}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def prepare(place: Path, n_rows: int) -> None:
    """The vectors, the columns that filters need, the questions, and their exact answers."""
    place.mkdir()
    matrix = np.lib.format.open_memmap(place / "vectors.npy", "w+", np.float32, (n_rows, archives.DIM))
    at = 0
    for block in archives.vectors_of(n_rows):
        matrix[at : at + len(block)] = block
        at += len(block)
    matrix.flush()
    columns = archives.columns_of(n_rows)
    np.savez(place / "columns.npz", **columns)
    asked = np.sort(np.random.default_rng(1).choice(n_rows, N_QUERIES, replace=False))
    masks: dict[str, Callable[[int], np.ndarray]] = {
        "plain": lambda _: np.ones(n_rows, dtype=bool),
        "tenth": lambda _: columns["tenth"],
        "hundredth": lambda _: columns["hundredth"],
        "patient": lambda row: columns["patient"] != columns["patient"][row],
    }
    answers = {name: np.zeros((N_QUERIES, 10), dtype=np.int64) for name in masks}
    for number, row in enumerate(asked.tolist()):
        scores = matrix @ matrix[row]
        for name, mask in masks.items():
            allowed = np.flatnonzero(mask(row) & (np.arange(n_rows) != row))
            best = allowed[np.argpartition(-scores[allowed], 10)[:10]]
            answers[name][number] = best
    np.savez(place / "questions.npz", asked=asked, **answers)


if __name__ == "__main__":
    started = time.monotonic()
    main()
    if not {"--engine", "--build"} & set(sys.argv):
        print(f"\n{time.monotonic() - started:.0f} s in all")
