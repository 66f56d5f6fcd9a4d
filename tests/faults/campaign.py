"""Kill writers at random moments, again and again, and see after each kill whether every promise was kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from histoseek.errors import HistoseekError
from histoseek.index import Index
from histoseek.items import Item, Manifest
from histoseek.stores import LanceStore
from tests.conftest import TinyEncoder, draw_square
from tests.faults.journal import Journal, Promises, State, marks_of_rows, rows_for
from tests.faults.worker import STOP

ROOT = Path(__file__).resolve().parents[2]
MOMENTS_S = (0.0, 0.6)
"""When a kill falls after the work began."""

SCENARIOS = {
    "build": ("build",),
    "live": ("live",),
    "store": ("store",),
    "two writers, a compactor, a reader": ("store", "store", "compact", "read"),
    "two indices open, a reader": ("live", "live", "read"),
}


@dataclass
class Outcome:
    """What a campaign saw."""

    kills: Counter[str] = field(default_factory=Counter)
    rows_added: int = 0
    rows_removed: int = 0
    lost: int = 0
    doubled: int = 0
    returned: int = 0
    halves: int = 0
    checks: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.doubled or self.returned or self.halves or self.problems)


class Workers:
    """A process that has imported everything and forks the workers: kills fall into work, not into imports."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.faults.worker"]
        self._parent = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._answer() == "ready"

    def start(self, role: str, home: Path, writer: str, seed: int) -> int:
        """The number of a new process that does a job."""
        return int(self._ask({"role": role, "home": str(home), "writer": writer, "seed": seed}))

    def wait(self, process: int) -> int:
        """The exit code of a process, minus the signal that ended it."""
        return int(self._ask({"wait": process}))

    def close(self) -> None:
        assert self._parent.stdin is not None
        self._parent.communicate()

    def _ask(self, line: dict[str, object]) -> str:
        assert self._parent.stdin is not None
        self._parent.stdin.write(json.dumps(line) + "\n")
        self._parent.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self._parent.stdout is not None
        return self._parent.stdout.readline().strip()


def run(n_kills: int, seed: int, folder: Path) -> Outcome:
    """Kill `n_kills` writers at moments drawn with `seed`; everything lies in `folder`."""
    rng = np.random.default_rng(seed)
    outcome, workers = Outcome(), Workers()
    homes = _Homes(folder)
    try:
        while outcome.kills.total() < n_kills:
            name = str(rng.choice(list(SCENARIOS)))
            _round(name, homes.of(name), workers, rng, outcome)
    finally:
        workers.close()
    for home in homes.used:
        _count(home, outcome)
    return outcome


def work_together(seconds: float, seed: int, folder: Path) -> Outcome:
    """Two writers, a compactor and two readers at one table for a while; nobody is killed."""
    outcome, workers = Outcome(), Workers()
    home = _Homes(folder).of("store")
    try:
        roles = ("store", "store", "compact", "read", "read")
        going = [(role, f"w{nth}", workers.start(role, home, f"w{nth}", seed + nth)) for nth, role in enumerate(roles)]
        time.sleep(seconds)
        _end("together", home, going, workers, outcome)
        _check("together", home, outcome)
    finally:
        workers.close()
    _count(home, outcome)
    return outcome


def _count(home: Path, outcome: Outcome) -> None:
    for path in home.parent.glob("journal-*.jsonl"):
        promises = Promises.read(path)
        outcome.rows_added += promises.rows_added
        outcome.rows_removed += promises.rows_removed


def _end(name: str, home: Path, going: list[tuple[str, str, int]], workers: Workers, outcome: Outcome) -> None:
    """Wait for processes that were killed or see the file that tells them to stop."""
    (home.parent / STOP).touch()
    for role, writer, process in going:
        code = workers.wait(process)
        if code == -signal.SIGKILL:
            outcome.kills[name if len(going) == 1 else f"{name}: {role}"] += 1
        elif code:
            told = (home.parent / f"said-{writer}.txt").read_text()
            outcome.problems.append(f"{name}: {role} died by itself: {told[-1500:]}")


class _Homes:
    """One index folder a scenario, made when first asked for; a build begins anew once it has ended."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._by_name, self.used = folder, dict[str, Path](), list[Path]()

    def of(self, name: str) -> Path:
        home = self._by_name.get(name)
        if home is None or (name == "build" and (home / "index.json").exists()):
            home = self._folder / f"{len(self.used)}" / "x.index"
            home.parent.mkdir(parents=True)
            self._by_name[name] = home
            self.used.append(home)
            _prepare(home, name)
        return home


def _prepare(home: Path, name: str) -> None:
    pictures = home.parent / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    for nth in range(24):
        draw_square(("red", "green", "blue")[nth % 3], rng).save(pictures / f"{nth:02d}.png")
    if "store" in SCENARIOS[name]:
        LanceStore.create(home, rows_for(["x"], ["y"]).schema)
    elif "live" in SCENARIOS[name]:
        first = Manifest.from_items([Item("first", "00.png", label="a", mpp=0.5)], pictures)
        Index.build(first, TinyEncoder(), home)


def _round(name: str, home: Path, workers: Workers, rng: np.random.Generator, outcome: Outcome) -> None:
    (home.parent / STOP).unlink(missing_ok=True)
    going = [
        (role, f"w{nth}", workers.start(role, home, f"w{nth}", int(rng.integers(2**31))))
        for nth, role in enumerate(SCENARIOS[name])
    ]
    time.sleep(float(rng.uniform(*MOMENTS_S)))
    for role, _, process in going:
        if role != "read":
            os.kill(process, signal.SIGKILL)
    _end(name, home, going, workers, outcome)
    _check(name, home, outcome)


def _check(name: str, home: Path, outcome: Outcome) -> None:
    """Every acknowledged row is there once, no acknowledged removal came back, nothing is done by half."""
    outcome.checks += 1
    store = LanceStore(home)
    if not store.exists:
        if any(Promises.read(path).state for path in home.parent.glob("journal-*.jsonl")):
            outcome.problems.append(f"{name}: the table is gone")
        return
    try:
        rows = store.rows()
        seen = marks_of_rows(rows)
        outcome.doubled += rows.items.num_rows - len(seen)
        if set(seen) != store.ids() or store.ledger.damaged():
            outcome.problems.append(f"{name}: the table is not what its fast copy says")
        for path in sorted(home.parent.glob("journal-*.jsonl")):
            _settle(path, seen, outcome)
        _search(name, home, store, outcome)
    except HistoseekError as error:
        outcome.problems.append(f"{name}: {type(error).__name__}: {error}")


def _settle(path: Path, seen: State, outcome: Outcome) -> None:
    """Hold one writer's promises against what is there, and note which way its unacknowledged change went."""
    promises = Promises.read(path)
    prefix = path.stem.removeprefix("journal-") + "/"
    mine = {name: mark for name, mark in seen.items() if name.startswith(prefix)}
    if mine not in (promises.state, promises.pending):
        open_ = set() if promises.pending is None else promises.touched[-1]
        outcome.lost += sum(mine.get(name) != mark for name, mark in promises.state.items() if name not in open_)
        outcome.returned += sum(name not in promises.state for name in mine if name not in open_)
        outcome.halves += 1
    Journal(path).write(what="seen", state=mine)


def _search(name: str, home: Path, store: LanceStore, outcome: Outcome) -> None:
    rows = store.rows()
    n_rows = rows.items.num_rows
    if (home / "index.json").is_file():
        index = Index.open(home, TinyEncoder())
        hits = index.search(image=np.zeros((16, 16, 3), dtype=np.uint8), k=n_rows + 1)
        if len(hits) != n_rows or len({hit.item.id for hit in hits}) != n_rows:
            outcome.problems.append(f"{name}: search finds {len(hits)} of {n_rows}")
    elif n_rows:
        query = np.ones((1, rows.vectors(np.array([0])).shape[1]), dtype=np.float32)
        if len(set(rows.nearest(query, n_rows).rows[0].tolist()) - {-1}) != n_rows:
            outcome.problems.append(f"{name}: search finds too few")
