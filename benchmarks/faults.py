"""Kills, flipped bits and many rounds: the figures of docs/reliability.md.

python benchmarks/faults.py --kills 240 --rounds 1000 --seed 20261125
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the campaign is shared with the tests

from histoseek.index import Index, Removal
from tests.conftest import TinyEncoder, write_archive
from tests.faults.campaign import Outcome, run, work_together
from tests.faults.flips import flip_all
from tests.faults.rounds import add_and_remove


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--kills", type=int, default=240)
    asked.add_argument("--seconds", type=float, default=20.0, help="for writers, readers and a compactor together")
    asked.add_argument("--rounds", type=int, default=1000)
    asked.add_argument("--flips", type=int, default=150, help="bits flipped in every file, at most")
    asked.add_argument("--seed", type=int, default=20_261_125)
    given = asked.parse_args()
    print(_machine(), "\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clean = [_kills(given.kills, given.seed, _made(folder / "kills"))]
        clean.append(_together(given.seconds, given.seed, _made(folder / "together")))
        clean.append(_flips(given.flips, given.seed, _made(folder / "flips")))
        clean.append(_rounds(given.rounds, _made(folder / "rounds")))
    sys.exit(0 if all(clean) else 1)


def _kills(n_kills: int, seed: int, folder: Path) -> bool:
    began = time.monotonic()
    outcome = run(n_kills, seed, folder)
    print(f"Seed {seed}, {time.monotonic() - began:.0f} s.\n")
    print("| what was killed | kills |\n|---|--:|")
    for what, n in sorted(outcome.kills.items()):
        print(f"| {what} | {n} |")
    print(f"| **in all** | **{outcome.kills.total()}** |\n")
    return _told(outcome)


def _together(seconds: float, seed: int, folder: Path) -> bool:
    outcome = work_together(seconds, seed, folder)
    print(f"\nTwo writers, a compactor and two readers for {seconds:g} s, seed {seed}:\n")
    return _told(outcome)


def _told(outcome: Outcome) -> bool:
    print("| what | n |\n|---|--:|")
    for what, n in (
        ("times that everything was looked through", outcome.checks),
        ("rows added or changed, acknowledged", outcome.rows_added),
        ("rows removed, acknowledged", outcome.rows_removed),
        ("acknowledged rows lost", outcome.lost),
        ("rows there twice", outcome.doubled),
        ("removed rows that came back", outcome.returned),
        ("changes done by half", outcome.halves),
        ("other failures", len(outcome.problems)),
    ):
        print(f"| {what} | {n} |")
    for problem in outcome.problems:
        print(problem, file=sys.stderr)
    return outcome.is_clean


def _flips(most: int, seed: int, folder: Path) -> bool:
    (folder / "pictures").mkdir()
    manifest = write_archive(folder / "pictures")
    index = Index.build(manifest.where("split = 'train'"), TinyEncoder(), folder / "x.index")
    index.add(manifest)
    index.remove(Removal(patients=["p1"]))
    total = Counter[str]()
    print(f"\nOne bit at a time in every file, {most} bytes of a file at most, seed {seed}:\n")
    print("| files | same answer | damage told | wrong answer |\n|---|--:|--:|--:|")
    for derived, name in ((False, "the table, its ledger, index.json"), (True, "the fast copy")):
        came, wrong = flip_all(index.path, most, seed, derived=derived)
        total += came
        print(f"| {name} | {came['same answer']} | {came['damage told']} | {len(wrong)} |")
        for one in wrong:
            print(one, file=sys.stderr)
    return total.keys() <= {"same answer", "damage told"}


def _rounds(n_rounds: int, folder: Path) -> bool:
    sizes, index = add_and_remove(n_rounds, folder)
    kb = [round(size / 1000) for size in sizes]
    print(f"\nAn archive of 36 items; in each of {n_rounds} rounds a patient's 4 items are removed and added again:\n")
    print("| the folder | kB |\n|---|--:|")
    print(f"| compacted, before | {kb[0]} |\n| largest in the first 100 rounds | {max(kb[1:101])} |")
    print(f"| largest in all rounds | {max(kb)} |\n| compacted, after | {kb[-1]} |")
    return not index.verify().damage and sizes[-1] < 1.5 * sizes[0]


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _machine() -> str:
    names = ("histoseek", "lancedb", "pyarrow", "numpy", "filelock")
    kinds = ", ".join(f"{name} {version(name)}" for name in names)
    where = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    return f"{where}, Python {platform.python_version()}, {kinds}."


if __name__ == "__main__":
    main()
