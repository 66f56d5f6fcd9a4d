"""The representatives of every slide or case of an archive, kept beside the index for the version they are of."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoseek.index.matching import Bags, unit_mean
from histoseek.index.representatives import CLUSTERS, MOST, PERCENTILE, SEED, SHARE, Choice, choose
from histoseek.index.wholes import Level, Whole
from histoseek.items import written_whole
from histoseek.stores import Rows

_PREFIX = "representatives-"
_SETTINGS = f"{CLUSTERS}-{SHARE}-{MOST}-{PERCENTILE}-{SEED}"


def bags_of(rows: Rows, wholes: Sequence[Whole], level: Level, how: Choice, kept: Path | None) -> Bags:
    """Representatives and mean embeddings of wholes; those of a case are those of its slides together.

    `kept` is where they are kept for all wholes of the archive: read when the file is there and sound, else written
    when the folder can be. None works them out anew, as for tiles that a filter left.
    """
    chosen = _read(kept, wholes) if kept is not None else None
    if chosen is None:
        chosen = [_representatives(rows, whole, level, how) for whole in wholes]
        if kept is not None and os.access(kept.parent, os.W_OK):
            _write(kept, chosen)
    starts = np.cumsum([0, *(len(part) for part in chosen)])[:-1].astype(np.int64)
    flat = np.concatenate(chosen)
    means = np.stack([unit_mean(rows.checked(whole.rows)) for whole in wholes])
    return Bags(rows.checked(flat), flat, starts, means)


def kept_at(home: Path, version: int, level: Level, how: Choice) -> Path:
    """Where representatives are kept for one version of an index; those of older versions are deleted."""
    for old in home.glob(f"{_PREFIX}*"):
        if not old.name.startswith(f"{_PREFIX}{version}-") and os.access(home, os.W_OK):
            old.unlink(missing_ok=True)
    return home / f"{_PREFIX}{version}-{level}-{how}-{_SETTINGS}.npz"


def forget_kept(home: Path) -> None:
    """Delete all representatives that are kept beside an index."""
    for old in home.glob(f"{_PREFIX}*"):
        old.unlink(missing_ok=True)


def _representatives(rows: Rows, whole: Whole, level: Level, how: Choice) -> NDArray[np.int64]:
    if level == "slide":
        parts = [whole.rows]
    else:  # places of different slides cannot be compared
        slides = rows.items["slide"].take(pa.array(whole.rows)).fill_null("").to_pylist()
        names = np.array(slides, dtype=object)
        parts = [whole.rows[names == name] for name in dict.fromkeys(slides)]
    return np.concatenate([part[choose(rows.checked(part), _places(rows.items, part), how)] for part in parts])


def _places(items: pa.Table, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Middles of tiles in level-0 pixels, `[T, 2]`; where none is known all lie at one place."""
    tiles = items.select(["box_x", "box_y", "box_width", "box_height"]).take(pa.array(rows))
    x, y, width, height = (np.nan_to_num(column.cast(pa.float64()).to_numpy()) for column in tiles.columns)
    return np.column_stack([x + width / 2, y + height / 2])


def _write(path: Path, chosen: Sequence[NDArray[np.int64]]) -> None:
    """One column a representative: the number of its whole, and its row."""
    numbers = np.repeat(np.arange(len(chosen)), [len(part) for part in chosen])
    with written_whole(path) as draft, draft.open("wb") as stream:
        np.savez(stream, chosen=np.stack([numbers, np.concatenate(chosen)]))  # a zip, which carries checksums


def _read(path: Path, wholes: Sequence[Whole]) -> list[NDArray[np.int64]] | None:
    """What was kept; None when it is missing, damaged or not of these wholes, and so to be made anew."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as kept:
            numbers, rows = kept["chosen"]
    except (OSError, ValueError, EOFError, KeyError, AttributeError, TypeError, RuntimeError, MemoryError, BadZipFile):
        return None
    chosen = [rows[numbers == number] for number in range(len(wholes))]
    fits = all(len(part) and np.isin(part, whole.rows).all() for part, whole in zip(chosen, wholes, strict=True))
    return chosen if fits and sum(map(len, chosen)) == len(rows) else None
