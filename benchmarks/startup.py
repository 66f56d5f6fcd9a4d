"""Import weight and cold search: whole processes, medians of several runs.

python benchmarks/startup.py [--items 10000] [--runs 7]
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
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

import histoseek as hs
from histoseek.index.build import build_index
from histoseek.phantom import KINDS, draw, make_patient

SEARCH = "from histoseek.cli import main; main()"
HEAVY = ("torch", "transformers", "openvino", "lancedb", "pandas", "pyarrow", "PIL", "numpy")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=7)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        index = make_index(home, given.items)
        query = str(home / "0.png")
        search = [sys.executable, "-c", SEARCH, "search", str(index), "--image", query, "--mpp", "0.5", "--json"]
        rows = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "import histoseek": [sys.executable, "-c", "import histoseek"],
            "histoseek --help": [sys.executable, "-c", SEARCH, "--help"],
            f"search, {given.items} items": search,
            f"search with --where, {given.items} items": [*search, "--where", f"label = '{KINDS[0]}'"],
        }
        print(
            f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
            f"histoseek {version('histoseek')}, pyarrow {version('pyarrow')}; seed 0; medians of {given.runs} runs\n"
        )
        print("| cold process | median s | min s | max s | heavy libraries loaded |\n|---|--:|--:|--:|---|")
        for name, command in rows.items():
            seconds = [timed(command) for _ in range(given.runs + 1)][1:]
            spread = " | ".join(f"{value:.2f}" for value in (statistics.median(seconds), min(seconds), max(seconds)))
            print(f"| {name} | {spread} | {loaded(command)} |")


def make_index(home: Path, n_items: int) -> Path:
    """An index of `n_items` different views cut from a few hundred drawn pictures."""
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
    build_index(hs.Manifest.from_items(items, home), hs.load_encoder("color"), home / "x.index")
    return home / "x.index"


def timed(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def loaded(command: list[str]) -> str:
    """Which heavy libraries a Python command line had loaded when it ended."""
    tell = f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    code = f"import sys, atexit\natexit.register(lambda: {tell})\n"
    asked = [command[0], "-c", code + command[2], *command[3:]]
    ended = subprocess.run(asked, check=True, capture_output=True, text=True)
    names = ended.stderr.strip().splitlines()[-1].strip("[]").replace("'", "")
    return names or "none"


if __name__ == "__main__":
    main()
