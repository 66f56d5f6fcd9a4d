"""Import weight and cold search: whole processes, medians of several runs.

    python benchmarks/startup.py [--items 10000] [--large 100000] [--runs 5]

The small archive holds pictures that `color` embedded. The large one holds invented vectors under the name of `mini`,
which embeds the query: with its compiled model kept from an earlier process, and compiled anew. Then where the time of
one such search went, as --timing tells it, in medians.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
import histoseek as hs
from benchmarks import archives
from histoseek.encoders.compiled import SWITCH
from histoseek.index.build import build_index
from histoseek.index.upkeep import make_quick
from histoseek.phantom import KINDS, draw, make_patient

SEARCH = "from histoseek.cli import main; main()"
HEAVY = ("torch", "transformers", "openvino", "lancedb", "pandas", "pyarrow", "PIL", "numpy")
TABLE = "| cold process | median s | min s | max s | heavy libraries loaded |\n|---|--:|--:|--:|---|"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    told = ", ".join(f"{name} {version(name)}" for name in ("histoseek", "pyarrow", "openvino"))
    where = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{where}, {told}; seed 0; medians of {given.runs} runs\n\n{TABLE}")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        os.environ["HISTOSEEK_CACHE"] = str(home / "cache")  # empty: this machine's own is left alone
        small, large = make_index(home, given.items), make_large(home / "large.index", given.large)
        query = ["--image", str(home / "0.png"), "--mpp", "0.5", "--json"]
        search, mini = ([sys.executable, "-c", SEARCH, "search", str(one), *query] for one in (small, large))
        rows: dict[str, tuple[list[str], Mapping[str, str]]] = {
            "python -c pass": ([sys.executable, "-c", "pass"], {}),
            "import histoseek": ([sys.executable, "-c", "import histoseek"], {}),
            "histoseek --help": ([sys.executable, "-c", SEARCH, "--help"], {}),
            f"search, color, {given.items:,} items": (search, {}),
            f"search with --where, color, {given.items:,} items": ([*search, "--where", f"label = '{KINDS[0]}'"], {}),
            f"search, mini, {given.large:,} items, compiled model kept": (mini, {}),
            f"search, mini, {given.large:,} items, compiled anew": (mini, {SWITCH: "off"}),
        }
        taken: dict[str, list[float]] = {name: [] for name in rows}
        for _ in range(given.runs + 1):  # in turns: whatever else runs meets all of them
            for name, (command, extra) in rows.items():
                taken[name].append(timed(command, extra))
        for name, (command, extra) in rows.items():
            seconds = taken[name][1:]
            spread = " | ".join(f"{value:.2f}" for value in (statistics.median(seconds), min(seconds), max(seconds)))
            print(f"| {name} | {spread} | {loaded(command, extra)} |")
        kept, anew = (statistics.median(taken[name][1:]) for name in list(rows)[-2:])
        print(f"\nkept / compiled anew: {kept / anew:.2f}\n")
        print_steps([*mini, "--timing"], given.runs)


def make_large(home: Path, n_items: int) -> Path:
    """An archive of invented vectors that says `mini` made them, ready to be searched."""
    encoder = hs.load_encoder("mini")
    blocks = enumerate(archives.vectors_of(n_items, encoder.card.dim))
    tables = (archives.rows_of(at * archives.BLOCK, block) for at, block in blocks)
    archives.write_tables(home, tables, encoder.card.dim, encoder)
    make_quick(hs.Index.open(home))
    return home


def print_steps(command: list[str], runs: int) -> None:
    """The table of --timing, in medians over several processes."""
    seen: dict[str, list[list[float]]] = {}
    for _ in range(runs):
        told = subprocess.run(command, check=True, capture_output=True, text=True).stderr
        for line in told.split("step ", 1)[1].splitlines()[1:]:
            seen.setdefault(line[:34].strip(), []).append([float(one) for one in line[34:].split()])
    print("| step | s | of it importing other packages |\n|---|--:|--:|")
    for name, rows in seen.items():
        cells = [f"{statistics.median(column):.2f}" for column in zip(*rows, strict=True)]
        print(f"| {name} | {' | '.join([*cells, ''][:2])} |")


def make_index(home: Path, n_items: int) -> Path:
    """An index of `color` of as many views."""
    build_index(views_of(home, n_items), hs.load_encoder("color"), home / "x.index")
    return home / "x.index"


def views_of(home: Path, n_items: int) -> hs.Manifest:
    """A manifest of `n_items` different views cut from a few drawn pictures."""
    items = []
    for number in range(min(n_items, 160)):
        kind = KINDS[number % len(KINDS)]
        Image.fromarray(draw(kind, 512, 512, 0.5, make_patient(number), number)).save(home / f"{number}.png")
    rng = np.random.default_rng(0)
    for number in range(n_items):
        picture = number % min(n_items, 160)
        x, y = (int(at) for at in rng.integers(0, 256, 2))
        items.append(
            hs.Item(
                f"{number}",
                f"{picture}.png",
                label=KINDS[picture % len(KINDS)],
                group=f"P{picture}",
                mpp=0.5,
                width=256,
                height=256,
                box=(x, y, 256, 256),
            )
        )
    return hs.Manifest.from_items(items, home)


def timed(command: list[str], extra: Mapping[str, str]) -> float:
    start = time.perf_counter()
    environment = {**os.environ, **extra}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - start


def loaded(command: list[str], extra: Mapping[str, str]) -> str:
    """Which heavy libraries a Python command line had loaded when it ended."""
    tell = f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    code = f"import sys, atexit\natexit.register(lambda: {tell})\n"
    asked = [command[0], "-c", code + command[2], *command[3:]]
    ended = subprocess.run(asked, check=True, capture_output=True, text=True, env={**os.environ, **extra})
    names = ended.stderr.strip().splitlines()[-1].strip("[]").replace("'", "")
    return names or "none"


if __name__ == "__main__":
    main()
