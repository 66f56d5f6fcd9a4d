"""Groups that stand in more than one official split: found, told, and repaired when asked."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import Literal

from histoseek.items import Item

Repair = Literal["no", "majority", "held-out"]
ORDER = ("train", "val", "test")


def split_overlap(items: list[Item]) -> dict[str, Counter[str]]:
    """Groups in more than one split, with their number of items in each."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for item in items:
        if item.split is not None:
            counts[item.group][item.split] += 1
    return {group: found for group, found in sorted(counts.items()) if len(found) > 1}


def repair_splits(items: list[Item], repair: Repair) -> tuple[list[Item], list[str]]:
    """Tell of every torn group and, unless `repair` is "no", move it whole into one split.

    "majority" is the split with most of its items (the earlier of train, val, test on a tie), "held-out" the last
    of them that it is in.
    """
    home: dict[str, str] = {}
    notes = []
    for group, found in split_overlap(items).items():
        places = " and ".join(f"{name} ({found[name]})" for name in sorted(found, key=_rank))
        note = f"official splits overlap: {group} is in {places}"
        if repair == "no":
            notes.append(f"{note}; left as published, repair with -o repair=majority or repair=held-out")
            continue
        home[group] = _home(found, repair)
        notes.append(f"{note}; repaired: all of it is now in {home[group]}")
    moved = [item if item.group not in home else replace(item, split=home[item.group]) for item in items]
    return moved, notes


def _home(found: Counter[str], repair: Repair) -> str:
    if repair == "held-out":
        return max(found, key=_rank)
    return min(found, key=lambda name: (-found[name], _rank(name)))


def _rank(split: str) -> int:
    return ORDER.index(split) if split in ORDER else len(ORDER)
