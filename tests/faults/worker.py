"""Processes to be killed: each works until it dies.

Started as: python -m tests.faults.worker
"""

from __future__ import annotations

import json
import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import lancedb  # noqa: F401 - now, so that the moment of a kill falls into the work
import numpy as np

from histoseek.index import Index, Removal
from histoseek.index import filling as filling_module
from histoseek.items import Item, Manifest
from histoseek.stores import LanceStore
from tests.conftest import TinyEncoder
from tests.faults.journal import Journal, Promises, journaled, marks_of_rows, rows_for

N_ITEMS = 60
STOP = "stop"
LABELS = ("a", "b", "c", "d")


def manifest_of(pictures: Path, writer: str, rng: np.random.Generator, n: int) -> Manifest:
    """Some of the items of one writer, with labels drawn anew."""
    files = sorted(pictures.glob("*.png"))
    items = [
        Item(
            f"{writer}/{nth}",
            files[nth % len(files)].name,
            label=str(rng.choice(LABELS)),
            group=f"{writer}-{nth % 7}",
            slide=f"{writer}-{nth % 14}",
            mpp=0.5,
        )
        for nth in sorted(rng.choice(N_ITEMS, n, replace=False))
    ]
    return Manifest.from_items(items, pictures)


def build(home: Path, writer: str, rng: np.random.Generator) -> None:
    """Build an index, or go on with one; the same items each time."""
    filling_module.ROWS_A_COMMIT = 3
    whole = manifest_of(home.parent / "pictures", writer, np.random.default_rng(0), N_ITEMS)
    Index.build(whole, TinyEncoder(), home, resume=home.exists())


def live(home: Path, writer: str, rng: np.random.Generator) -> None:
    """Add, change, remove and compact through the index, until it is told to stop."""
    index = Index.open(home, TinyEncoder())
    pictures = home.parent / "pictures"
    while not (home.parent / STOP).exists():
        act = rng.random()
        index.refresh()
        mine = [name for name in index.rows.items["id"].to_pylist() if name.startswith(f"{writer}/")]
        if act < 0.55 or len(mine) < 10:
            index.add(manifest_of(pictures, writer, rng, int(rng.integers(1, 12))))
        elif act < 0.85:
            index.remove(
                Removal(items=[str(name) for name in rng.choice(mine, int(rng.integers(1, 8)), replace=False)])
            )
        else:
            index.compact()


def store(home: Path, writer: str, rng: np.random.Generator) -> None:
    """The same with the store alone, faster; many rows at a time."""
    table = LanceStore(home)
    while not (home.parent / STOP).exists():
        act = rng.random()
        names = [f"{writer}/{nth}" for nth in rng.choice(4 * N_ITEMS, int(rng.integers(1, 60)), replace=False)]
        if act < 0.6:
            table.add(rows_for(names, [str(label) for label in rng.choice(LABELS, len(names))]))
        elif act < 0.9:
            table.remove(names)
        else:
            table.compact()
        if act > 0.5:
            table.rows()


def compact(home: Path, writer: str, rng: np.random.Generator) -> None:
    """Nothing but compaction."""
    while not (home.parent / STOP).exists():
        LanceStore(home).compact()


def read(home: Path, writer: str, rng: np.random.Generator) -> None:
    """Look again and again whether what was acknowledged is there, until it is told to stop."""
    table = LanceStore(home)
    while not (home.parent / STOP).exists():
        journals = sorted(home.parent.glob("journal-*.jsonl"))
        before = [Promises.read(path) for path in journals]
        rows = table.rows()
        seen = marks_of_rows(rows)
        assert len(seen) == rows.items.num_rows, "an id is there twice"
        for path, then in zip(journals, before, strict=True):
            broken = then.broken(seen, Promises.read(path))
            assert not broken, f"{len(broken)} rows are not as they were acknowledged, the first {broken[0]}"
        if seen:
            vectors = rows.vectors(np.arange(len(seen)))
            best = rows.nearest(vectors[:1], 1)
            assert best.scores[0, 0] > 0.999


JOBS = {job.__name__: job for job in (build, live, store, compact, read)}


def work(job: dict[str, Any]) -> None:
    """Do one job in this process, which the campaign kills; what it says goes to a file."""
    home, writer = Path(job["home"]), job["writer"]
    said = os.open(home.parent / f"said-{writer}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    if job["role"] in ("build", "live", "store"):
        journaled(Journal(home.parent / f"journal-{writer}.jsonl"))
    try:
        JOBS[job["role"]](home, writer, np.random.default_rng(job["seed"]))
    except BaseException:  # noqa: BLE001 - whatever it is, the campaign is to read it
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def main() -> None:
    """Import everything once, then fork a process for every job: a line in, a process number or exit code out."""
    warnings.simplefilter("ignore")  # LanceDB warns of forks, which it supports
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if "wait" in asked:
            print(os.waitstatus_to_exitcode(os.waitpid(asked["wait"], 0)[1]), flush=True)
        elif (child := os.fork()) == 0:
            work(asked)
        else:
            print(child, flush=True)


if __name__ == "__main__":
    main()
