"""The fixed list of held-out cases of the atlas, and the filters that name them.

    python recipes/mini/split.py --data ../shared/data           checks recipes/mini/test_cases.txt
    python recipes/mini/split.py --data ../shared/data --write   writes it

Only cases with an H&E tile count. They are put in order by the SHA-256 of their names, organ by organ, so that nobody
chose them: an organ with three or more cases gives a quarter of them (rounded, at least one), one with two cases gives
one, one with a single case none, and of the cases without a title every fifth is held out.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
from collections import defaultdict
from pathlib import Path

LIST = Path(__file__).with_name("test_cases.txt")
HEAD = "# Cases of the atlas that mini never sees in training; written and checked by split.py."


def main() -> None:
    """Check the list, or write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder that holds atlas/")
    parser.add_argument("--write", action="store_true", help="write the list instead of checking it")
    parser.add_argument("--filter", action="store_true", help="print the filter that keeps the held-out cases")
    asked = parser.parse_args()
    if asked.filter:
        print('"group" IN (\'' + "', '".join(held_out()) + "')")
        return
    organs = organs_of(asked.data / "atlas" / "tiles.csv")
    chosen = choose(organs)
    if asked.write:
        LIST.write_text("\n".join([HEAD, *chosen]) + "\n", encoding="utf-8")
    elif held_out() != chosen:
        raise SystemExit(f"{LIST} is not what the rule gives for this table; did the table change?")
    print(f"{len(chosen)} of {len(organs)} H&E cases are held out ({len(chosen) / len(organs):.0%})")
    for organ, cases in by_organ(organs).items():
        print(f"  {organ or '(untitled)':20} {sum(case in chosen for case in cases)} of {len(cases)}")


def held_out() -> list[str]:
    """The held-out cases as the list has them."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def organs_of(table: Path) -> dict[str, str]:
    """Each case that has an H&E tile, with its organ ("" for none)."""
    with table.open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row["stain"] == "H&E"]
    organs: dict[str, str] = {}
    for row in rows:
        if organs.setdefault(row["case"], row["organ"]) != row["organ"]:
            raise SystemExit(f"{table}: case {row['case']} has two organs")
    return organs


def by_organ(organs: dict[str, str]) -> dict[str, list[str]]:
    """The cases of each organ, in the order of the digests of their names."""
    cases: dict[str, list[str]] = defaultdict(list)
    for case in sorted(organs, key=lambda case: hashlib.sha256(case.encode()).hexdigest()):
        cases[organs[case]].append(case)
    return dict(sorted(cases.items()))


def choose(organs: dict[str, str]) -> list[str]:
    """The cases to hold out, sorted by name."""
    chosen: list[str] = []
    for organ, cases in by_organ(organs).items():
        if not organ:
            chosen += cases[4::5]
        elif len(cases) >= 2:
            chosen += cases[: max(1, round(len(cases) / 4))]
    return sorted(chosen)


if __name__ == "__main__":
    main()
