"""A bit flipped in any file of an index: the answer stays the same, or the damage is told."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from histoseek.errors import HistoseekError
from histoseek.index import Index
from tests.conftest import TinyEncoder

QUERY = np.full((16, 16, 3), (190, 60, 40), dtype=np.uint8)
UNREAD = ("writer.lock", "skipped.csv", "latest_version_hint.json")
"""Files that no answer depends on."""


def answer(home: Path) -> object:
    """What an index says of itself, of every item, and to a query."""
    index = Index.open(home, TinyEncoder())
    hits = index.search(image=QUERY, k=len(index) + 1)
    return index.about, [(hit.item, hit.score) for hit in hits], index.rows.items.to_pylist()


def flipped(path: Path, most: int, rng: np.random.Generator) -> Iterator[int]:
    """One bit at a time flipped in a file and put back: in every byte, or in `most` of them."""
    whole = path.read_bytes()
    places = range(len(whole)) if len(whole) <= most else np.sort(rng.choice(len(whole), most, replace=False)).tolist()
    for place in places:
        harmed = bytearray(whole)
        harmed[place] ^= 1 << int(rng.integers(8))
        path.parent.mkdir(parents=True, exist_ok=True)  # a damaged copy may have been deleted
        path.write_bytes(harmed)
        yield place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(whole)


def flip_all(
    home: Path, most: int, seed: int, ask: Callable[[Path], object] = answer, *, derived: bool = False
) -> tuple[Counter[str], list[str]]:
    """Flip bits in the files of a folder, in those derived from the table or in the others; what came of it.

    The second of what is returned names what was answered wrongly in silence: it must be empty.
    """
    rng = np.random.default_rng(seed)
    truth = ask(home)
    sound = home.with_name(f"{home.name}.sound")
    shutil.copytree(home, sound)
    came, wrong = Counter[str](), list[str]()
    for path in sorted(path for path in sound.rglob("*") if path.is_file() and path.name not in UNREAD):
        inside = path.relative_to(sound)
        is_derived = inside.parts[0].startswith(("fast-", "representatives-"))
        if is_derived != derived:
            continue
        for place in flipped(home / inside, most, rng):
            if not derived:  # else it would answer
                for copy in home.glob("fast-*"):
                    shutil.rmtree(copy)
            came[outcome := _outcome(home, ask, truth)] += 1
            if outcome not in ("same answer", "damage told"):
                wrong.append(f"{inside} at {place}: {outcome}")
            if derived:
                shutil.rmtree(home)
                shutil.copytree(sound, home)
    shutil.rmtree(sound)
    return came, wrong


def _outcome(home: Path, ask: Callable[[Path], object], truth: object) -> str:
    try:
        return "same answer" if ask(home) == truth else "WRONG ANSWER"
    except HistoseekError:
        return "damage told"
    except Exception as error:  # noqa: BLE001 - what no one foresaw is what is looked for
        return f"unforeseen {type(error).__name__}: {error}"
