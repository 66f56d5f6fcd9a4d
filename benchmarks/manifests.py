"""How much memory manifests take as they grow: read and filtered, looked through, joined from slides, evaluated.

    python benchmarks/manifests.py [--rows 100000,1000000,10000000] [--evaluated 100000,1000000] [--only read,items]

Every figure comes from a process of its own. Anonymous memory is sampled from /proc (RssAnon); the second figure is
the peak of all memory (VmHWM), in which pages of mapped files count that the system takes back when it needs them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import archives

STEPS = ("read", "items", "join", "evaluate")
TITLES = {
    "read": "read, and keep a tenth with --where",
    "items": "read, and look at every item, as index does",
    "join": "prepare slides: join the tiles, check, count, write",
    "evaluate": "evaluate 2 000 queries, leaving groups out",
}
DIM = 64
N_QUERIES = 2_000
SLIDE_TILES = 2_500
EVERY_S = 0.02


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", default="100000,1000000,10000000")
    parser.add_argument("--evaluated", default="100000,1000000")
    parser.add_argument("--only", default=",".join(STEPS))
    parser.add_argument("--step", help="run one step (used by this script)")
    parser.add_argument("--folder", type=Path, help="where its files lie (used by this script)")
    given = parser.parse_args()
    if given.step:
        print(json.dumps(measured(given.step, given.folder, int(given.rows))))
        return
    names = ("histoseek", "pyarrow", "numpy")
    told = ", ".join(f"{name} {version(name)}" for name in names)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {told}, seed 0\n")
    print(
        "| step | rows | s | peak anonymous, MB | of it before the step | peak of all, MB |\n|---|--:|--:|--:|--:|--:|"
    )
    for step in given.only.split(","):
        for rows in (given.evaluated if step == "evaluate" else given.rows).split(","):
            print(line(step, int(rows)), flush=True)


def line(step: str, n_rows: int) -> str:
    """One row of the table, from processes of its own: one that makes the files, one that is measured."""
    with tempfile.TemporaryDirectory(prefix="manifests-") as folder:
        for part in (f"make-{step}", step):
            command = [sys.executable, __file__, "--step", part, "--folder", folder, "--rows", str(n_rows)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                return f"| {TITLES[step]} | {n_rows:,} | failed: {done.stderr.strip().splitlines()[-1]} |"
    found = json.loads(done.stdout.splitlines()[-1])
    cells = [TITLES[step], f"{n_rows:,}", f"{found['s']:.1f}"]
    return f"| {' | '.join([*cells, *(f'{found[name]:.0f}' for name in ('anonymous', 'before', 'all'))])} |"


def measured(step: str, folder: Path, n_rows: int) -> dict[str, float]:
    """Run a step and watch the memory of this process, in MB."""
    works: dict[str, Callable[[Path, int], Any]] = {
        "make-read": write_manifest, "make-items": write_manifest, "make-join": write_slides,
        "make-evaluate": write_index, "read": read, "items": look_through, "join": join, "evaluate": evaluate,
    }  # fmt: skip
    import histoseek.datasets
    import histoseek.evaluation
    import histoseek.index  # noqa: F401  what is loaded before counts as that

    before, peak, stop = memory("RssAnon"), [0.0], threading.Event()

    def watch() -> None:
        while not stop.wait(EVERY_S):
            peak[0] = max(peak[0], memory("RssAnon"))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    started = time.monotonic()
    works[step](folder, n_rows)
    seconds = time.monotonic() - started
    stop.set()
    watcher.join()
    return {"s": seconds, "before": before, "anonymous": max(peak[0], before), "all": memory("VmHWM")}


def memory(name: str) -> float:
    """A figure of /proc/self/status in MB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(one.split()[1]) for one in lines if one.startswith(f"{name}:")) / 1024


def blocks(n_rows: int) -> Iterator[pa.Table]:
    """Invented tiles with digests of their slides, a block at a time."""
    for first in range(0, n_rows, archives.BLOCK):
        count = min(archives.BLOCK, n_rows - first)
        rows = archives.rows_of(first, np.zeros((count, 1), dtype=np.float32)).drop_columns(["vector"])
        yield rows.set_column(rows.schema.get_field_index("sha256"), "sha256", digests(rows["slide"]))


def digests(slides: pa.ChunkedArray) -> pa.Array:
    """Text of 64 letters for every slide."""
    return pa.array([name.removeprefix("slide").zfill(64) for name in slides.to_pylist()], pa.string())


def write_manifest(folder: Path, n_rows: int) -> None:
    about = {b"histoseek": json.dumps({"format": 1, "root": str(folder), "facts": {}}).encode()}
    first = next(blocks(1))
    with pq.ParquetWriter(folder / "m.parquet", first.schema.with_metadata(about), compression="zstd") as writer:
        for block in blocks(n_rows):
            writer.write_table(block.cast(first.schema))


def read(folder: Path, n_rows: int) -> None:
    from histoseek.items import Manifest

    kept = Manifest.read(folder / "m.parquet").where("tenth = true")
    assert abs(len(kept) / n_rows - 0.1) < 0.01


def look_through(folder: Path, n_rows: int) -> None:
    from histoseek.items import Manifest

    assert sum(1 for _ in Manifest.read(folder / "m.parquet")) == n_rows


def write_slides(folder: Path, n_rows: int) -> None:
    """What `prepare slides` keeps of every slide: here invented, so that no pixels need be read."""
    from histoseek.datasets.tile_work import SlideWork, _mark, _write_work
    from histoseek.datasets.tiling import TileSettings, _job

    settings = TileSettings(work_dir=folder / "work")
    for item, n_tiles in slides(n_rows):
        (folder / item.path).write_bytes(b"")
        at = np.arange(n_tiles)
        boxes = np.column_stack([at % 50 * 512, at // 50 * 512, np.full(n_tiles, 512), np.full(n_tiles, 512)])
        tissue = {"tissue": np.ones(n_tiles, dtype=np.float32)}
        work = SlideWork((30_000, 30_000), 3, 0.25, "file", item.id.zfill(64), True, boxes, tissue)
        job = _job(item, folder, settings, None)
        _write_work(job.kept, _mark(job), work)


def slides(n_rows: int) -> Iterator[tuple[Any, int]]:
    from histoseek.items import Item

    for number, first in enumerate(range(0, n_rows, SLIDE_TILES)):
        item = Item(
            f"slides/s{number}.tif", f"s{number}.tif", "slides", f"class {number % 8}", f"p{number // 2}", "table"
        )
        yield item, min(SLIDE_TILES, n_rows - first)


def join(folder: Path, n_rows: int) -> None:
    from histoseek.datasets import preparing, tiling
    from histoseek.datasets.dataset import Scan

    tiling.origin_of = lambda _: (0, 0)  # the slides have no pixels that could tell
    items = [item for item, _ in slides(n_rows)]
    found = Scan(items, root=folder, only_slides=True)
    preparing.find_dataset = lambda _: dataset_of(found)
    prepared = preparing.prepare_with_report("slides", folder, work_dir=folder / "work")
    assert len(prepared.manifest) == n_rows
    prepared.manifest.write(folder / "m.parquet")


def dataset_of(found: Any) -> Any:
    from histoseek.datasets.dataset import Dataset

    return Dataset("slides", "Invented slides", "", "", "", "", lambda _: found)


def write_index(folder: Path, n_rows: int) -> None:
    parts = zip(blocks(n_rows), archives.vectors_of(n_rows, DIM), strict=True)
    archives.write_tables(folder / "x.index", (with_vectors(rows, vectors, n_rows) for rows, vectors in parts), DIM)
    from histoseek.index import Index

    assert len(Index.open(folder / "x.index")) == n_rows  # makes the fast copy


def with_vectors(rows: pa.Table, vectors: np.ndarray, n_rows: int) -> pa.Table:
    """Rows of the index, of which as many as there are queries are marked in the column `hundredth`."""
    numbers = np.array([int(name.rpartition("#")[2]) for name in rows["id"].to_pylist()])
    at = rows.schema.get_field_index("hundredth")
    rows = rows.set_column(at, "hundredth", pa.array(numbers % (n_rows // N_QUERIES) == 0))
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    return rows.append_column("vector", flat).cast(archives.table_schema(vectors.shape[1]))


def evaluate(folder: Path, n_rows: int) -> None:
    from histoseek.evaluation import evaluate as evaluated
    from histoseek.index import Index

    index = Index.open(folder / "x.index")
    assert len(index) == n_rows
    report = evaluated(index, "hundredth = true", n_bootstrap=200)
    assert report.per_query.num_rows == N_QUERIES


if __name__ == "__main__":
    main()
