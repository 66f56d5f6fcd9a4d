"""How seconds and memory grow with the number of items, from a thousand to a million: a table and a plot.

    python benchmarks/growth.py [--rows 1000,10000,100000,1000000] [--embedded 1000,10000] [--out growth.svg]

"embed" is the whole of `index` with `mini`: drawn tiles are read, embedded, and stored. The other steps are of archives
of invented vectors of 512 numbers: "store" writes the table, 50 000 rows at a time, and makes what is derived from it
(fast copy, and codes where there are 50 000 items), "search" is the median of 200 stored vectors asked one by one, and
"evaluate" ranks 1 000 queries against all items, their own patients shut out, with all metrics and 1 000 bootstrap
rounds. Each is a process of its own, whose peak of anonymous memory is sampled from /proc, 50 times a second. Powers of
ten have 1 000 queries, sizes between them up to ten times as many.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import archives, manifests
from histoseek.figures import plots
from histoseek.figures.plots import Curve, Panel

N_SEARCHES, N_QUERIES, STORED_AT_ONCE = 200, 1_000, 50_000
STEPS = {
    "embed": "embed with mini, and store",
    "store": "store vectors, make fast copy and codes",
    "search": "search, median of one",
    "evaluate": f"evaluate {N_QUERIES:,} queries",
}
BEFORE = {"embed": "draw", "store": "invent"}
"""What a process of its own makes first, and is not measured."""
KINDS = dict(zip(STEPS, "abcd", strict=True))
TILES_A_SLIDE = 25
"""Few, so that in a thousand items, too, classes are shared by patients."""
SIDE, GAP, HEAD, LEGEND = 24, 40, 34, 58


@dataclass(frozen=True)
class Measured:
    """One step at one size: seconds, and MB of memory at its peak, anonymous and of all."""

    step: str
    rows: int
    s: float
    anonymous: float
    all: float


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", default="1000,10000,100000,1000000")
    parser.add_argument("--embedded", default="1000,10000")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs/images/growth.svg")
    parser.add_argument("--step", help="run one step (used by this script)")
    parser.add_argument("--folder", type=Path, help="where its files lie (used by this script)")
    given = parser.parse_args()
    if given.step:
        print(json.dumps(measured(given.step, given.folder, int(given.rows))))
        return
    told = ", ".join(f"{name} {version(name)}" for name in ("histoseek", "lancedb", "openvino", "numpy", "pyarrow"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {told}, seed 0\n")
    print("| step | items | s | s a 1 000 items | peak anonymous, MB | peak of all, MB |\n|---|--:|--:|--:|--:|--:|")
    found = []
    for rows in map(int, filter(None, given.embedded.split(","))):
        with tempfile.TemporaryDirectory() as folder:
            found.append(run("embed", rows, folder))
    for rows in map(int, given.rows.split(",")):
        with tempfile.TemporaryDirectory() as folder:  # what "store" wrote is what the others open
            found += [run(step, rows, folder) for step in ("store", "search", "evaluate")]
    given.out.write_text(drawn(found), encoding="utf-8")


def run(step: str, rows: int, folder: str) -> Measured:
    """Measure a step in a process of its own, and print its line."""
    if step in BEFORE:
        subprocess.run(_command(BEFORE[step], rows, folder), check=True, stdout=subprocess.DEVNULL)
    ended = subprocess.run(_command(step, rows, folder), check=True, stdout=subprocess.PIPE, text=True)
    one = Measured(step, rows, **json.loads(ended.stdout.splitlines()[-1]))
    a_thousand = "" if step == "search" else f"{one.s / rows * 1000:.2f}"
    seconds = f"{one.s:.4f}" if step == "search" else f"{one.s:.1f}"
    print(f"| {STEPS[step]} | {rows:,} | {seconds} | {a_thousand} | {one.anonymous:.0f} | {one.all:.0f} |", flush=True)
    return one


def _command(step: str, rows: int, folder: str) -> list[str]:
    return [sys.executable, __file__, "--step", step, "--rows", str(rows), "--folder", folder]


def measured(step: str, folder: Path, n_rows: int) -> dict[str, float]:
    """Run a step and watch the memory of this process."""
    archives.TILES_A_SLIDE = TILES_A_SLIDE
    peak, stop = [manifests.memory("RssAnon")], threading.Event()

    def watch() -> None:
        while not stop.wait(manifests.EVERY_S):
            peak[0] = max(peak[0], manifests.memory("RssAnon"))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    seconds = WORKS[step](folder, n_rows)
    stop.set()
    watcher.join()
    return {"s": seconds, "anonymous": peak[0], "all": manifests.memory("VmHWM")}


def draw_tiles(folder: Path, n_rows: int) -> float:
    """A manifest of different views that are cut from a few drawn pictures."""
    from benchmarks.startup import views_of

    views_of(folder, n_rows).write(folder / "m.parquet")
    return 0.0


def invent(folder: Path, n_rows: int) -> float:
    """The vectors of an archive, in a file."""
    matrix = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, (n_rows, archives.DIM))
    at = 0
    for block in archives.vectors_of(n_rows):
        matrix[at : at + len(block)] = block
        at += len(block)
    matrix.flush()
    return 0.0


def embed(folder: Path, n_rows: int) -> float:
    import histoseek as hs

    encoder, manifest = hs.load_encoder("mini"), hs.Manifest.read(folder / "m.parquet")
    encoder.embed_images([np.zeros((encoder.fingerprint.preprocessing.view_px,) * 2 + (3,), np.uint8)])
    return _seconds(lambda: hs.Index.build(manifest, encoder, folder / "x.index"))


def store(folder: Path, n_rows: int) -> float:
    from histoseek.index import Index
    from histoseek.index.upkeep import make_quick

    home, matrix = folder / "x.index", np.load(folder / "vectors.npy", mmap_mode="r")
    inventing = 0.0

    def tables() -> Iterator[pa.Table]:
        nonlocal inventing
        for first in range(0, n_rows, STORED_AT_ONCE):
            since = time.perf_counter()
            made = archives.rows_of(first, np.array(matrix[first : first + STORED_AT_ONCE]))
            inventing += time.perf_counter() - since
            yield made

    whole = _seconds(lambda: archives.write_tables(home, tables())) + _seconds(lambda: make_quick(Index.open(home)))
    return whole - inventing


def search(folder: Path, n_rows: int) -> float:
    from histoseek.index import Example, Index

    index = Index.open(folder / "x.index")
    rows = np.sort(np.random.default_rng(1).choice(n_rows, min(N_SEARCHES, n_rows), replace=False))
    vectors = np.array(index.rows.vectors(rows))
    index.search([Example("vector", vectors[0])])
    return float(np.median([_seconds(lambda one=one: index.search([Example("vector", one)])) for one in vectors]))


def evaluate(folder: Path, n_rows: int) -> float:
    from histoseek.evaluation import evaluate as evaluated
    from histoseek.index import Index

    index = Index.open(folder / "x.index")
    zeros = "0" * max(0, int(math.log10(n_rows / N_QUERIES)))  # every tenth, hundredth, thousandth item asks
    return _seconds(lambda: evaluated(index, f"id LIKE '%{zeros}'" if zeros else None))


def _seconds(work: Callable[[], object]) -> float:
    since = time.perf_counter()
    work()
    return time.perf_counter() - since


WORKS: dict[str, Callable[[Path, int], float]] = {
    "draw": draw_tiles,
    "invent": invent,
    "embed": embed,
    "store": store,
    "search": search,
    "evaluate": evaluate,
}


def drawn(found: Sequence[Measured]) -> str:
    """The plot as an SVG file: seconds and memory over items, all axes logarithmic."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.FileSystemLoader(Path(__file__).parent), jinja2.PackageLoader("histoseek.figures")]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    panels = [
        panel("seconds", found, [one.s for one in found], _time_named),
        panel("peak anonymous memory", found, [one.anonymous for one in found], _memory_named),
    ]
    size = {"width": 2 * (plots.WIDTH + SIDE) + GAP, "height": HEAD + plots.HEIGHT + LEGEND}
    size |= {"side": SIDE, "head": HEAD, "gap": GAP}
    legend = [(STEPS[step], kind) for step, kind in KINDS.items() if any(one.step == step for one in found)]
    return environment.get_template("growth.svg.j2").render(panels=panels, legend=legend, plot=plots, **size)


def panel(title: str, found: Sequence[Measured], values: Sequence[float], named: Callable[[float], str]) -> Panel:
    """One figure of every step over the number of items."""
    across = _decades([one.rows for one in found])
    up = _decades(values)

    def place(rows: float, value: float) -> tuple[float, float]:
        x = _share(rows, across) * (plots.WIDTH - plots.LEFT - plots.RIGHT - 12) + plots.LEFT + 6
        y = (1 - _share(value, up)) * (plots.HEIGHT - plots.TOP - plots.BOTTOM) + plots.TOP
        return round(x, 1), round(y, 1)

    curves = []
    for step, kind in KINDS.items():
        points = [
            (*place(one.rows, value), f"{STEPS[step]}, {one.rows:,} items: {value:.3g}")
            for one, value in zip(found, values, strict=True)
            if one.step == step
        ]
        line = " ".join(f"{x},{y}" for x, y, _ in points)
        curves.append(Curve(STEPS[step], kind, line, "", tuple(points)))
    ticks_x = tuple((place(ten, up[0])[0], f"{ten:,.0f}".replace(",", " ")) for ten in across)
    ticks_y = tuple((place(across[0], ten)[1], named(ten)) for ten in up)
    return Panel(title, tuple(curves), ticks_x, ticks_y)


def _decades(values: Sequence[float]) -> list[float]:
    """Powers of ten from below the least to above the greatest."""
    low, high = math.floor(math.log10(min(values)) + 1e-9), math.ceil(math.log10(max(values)) - 1e-9)
    return [10.0**power for power in range(low, max(high, low + 1) + 1)]


def _share(value: float, decades: Sequence[float]) -> float:
    return math.log(value / decades[0]) / math.log(decades[-1] / decades[0])


def _time_named(seconds: float) -> str:
    return f"{seconds * 1000:g} ms" if seconds < 0.1 else f"{seconds:,g} s".replace(",", " ")


def _memory_named(megabytes: float) -> str:
    return f"{megabytes:g} MB" if megabytes < 1000 else f"{megabytes / 1000:g} GB"


if __name__ == "__main__":
    main()
