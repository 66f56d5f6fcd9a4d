"""Hits that show all but the same: identical pictures, boxes that overlap on one file, vectors that nearly agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoseek.items import Box
from histoseek.stores import Rows, rows_at

SAME = 0.995
"""Cosine of two stored vectors above which two pictures count as one, unless the archive asks for more."""

SAMPLE, FEWEST = 512, 20
"""Items that are looked at for how close different patients come, and with how few nothing is said of that."""

CLOSE, MARGIN = 95, 4
"""Two pictures count as one when they are so many times closer than this percentile of what different patients are."""

HALF = 0.5
"""Part of the smaller of two boxes on one file that the other one covers at most."""

AT_ONCE = 64
_COLUMNS = ("sha256", "path", "box_x", "box_y", "box_width", "box_height")

Vectors = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""The unit vectors of some rows."""


@dataclass(frozen=True)
class Closeness:
    """How vectors are compared: where they are read, and above which cosine two of them count as one."""

    vectors: Vectors
    above: float = SAME


def closeness_of(rows: Rows) -> Closeness:
    """The closeness of an archive, from a sample of its items (drawn by lot, seed 0).

    Some encoders, `color` above all, put different tissue closer together than others put copies. So each item of the
    sample is held against those of other groups: copies have to be much closer than they come.
    """
    n_rows = rows.items.num_rows
    chosen = np.sort(np.random.default_rng(0).choice(n_rows, min(n_rows, SAMPLE), replace=False)).astype(np.int64)
    vectors, groups = rows.vectors(chosen), rows.groups[chosen]
    cosines = np.where(groups[:, None] == groups, -1.0, vectors @ vectors.T)
    return Closeness(rows.checked, line_of(cosines.max(axis=1, initial=-1.0)))


def line_of(nearest: NDArray[np.float32]) -> float:
    """The cosine above which two pictures count as one; `nearest` [N] is how close other groups come, −1 for none."""
    known = nearest[nearest > -1]
    if len(known) < FEWEST:
        return SAME
    return max(SAME, 1 - (1 - float(np.percentile(known, CLOSE))) / MARGIN)


class NearDuplicates:
    """Tells of hits, which come best first, whether one that was kept before shows all but the same.

    `hits` [H] are rows of `items`. Without a closeness, as where vectors lie on a server, only files and boxes are
    compared.
    """

    def __init__(self, items: pa.Table, hits: NDArray[np.int64], closeness: Closeness | None) -> None:
        self._hits, self._closeness = hits, closeness
        self._rows: list[dict[str, Any]] = rows_at(items.select(list(_COLUMNS)), hits).to_pylist()
        self._pictures: set[tuple[str, Box | None]] = set()
        self._boxes: dict[str, list[Box]] = {}
        self._read: tuple[int, NDArray[np.float32]] = (-1, np.empty((0, 0), dtype=np.float32))
        self._kept = np.empty((0, 0), dtype=np.float32)
        self._n_kept = 0

    def has_twin(self, at: int) -> bool:
        """Whether one of the kept hits shows all but the same as the hit at a place."""
        row, box = self._rows[at], _box_of(self._rows[at])
        if row["sha256"] is not None and (row["sha256"], box) in self._pictures:
            return True
        if box is not None and any(overlaps(box, other) for other in self._boxes.get(_file_of(row), ())):
            return True
        if self._closeness is None or not self._n_kept:
            return False
        return bool((self._kept[: self._n_kept] @ self._vector(at) > self._closeness.above).any())

    def keep(self, at: int) -> None:
        """Keep a hit."""
        row, box = self._rows[at], _box_of(self._rows[at])
        if row["sha256"] is not None:
            self._pictures.add((row["sha256"], box))
        if box is not None:
            self._boxes.setdefault(_file_of(row), []).append(box)
        if self._closeness is None:
            return
        vector = self._vector(at)
        if self._n_kept == len(self._kept):
            room = np.empty((max(AT_ONCE, 2 * len(self._kept)), len(vector)), dtype=np.float32)
            room[: self._n_kept] = self._kept[: self._n_kept].reshape(-1, len(vector))
            self._kept = room
        self._kept[self._n_kept] = vector
        self._n_kept += 1

    def _vector(self, at: int) -> NDArray[np.float32]:
        """The vector of a hit; those of its neighbours in rank are read with it."""
        assert self._closeness is not None  # noqa: S101 - without them none is kept to be compared with
        block = at // AT_ONCE
        if self._read[0] != block:
            self._read = block, self._closeness.vectors(self._hits[block * AT_ONCE : (block + 1) * AT_ONCE])
        vector: NDArray[np.float32] = self._read[1][at % AT_ONCE]
        return vector


def overlaps(one: Box, two: Box) -> bool:
    """Whether two boxes share more than half of the smaller one."""
    across = min(one.x + one.width, two.x + two.width) - max(one.x, two.x)
    down = min(one.y + one.height, two.y + two.height) - max(one.y, two.y)
    smaller = min(one.width * one.height, two.width * two.height)
    return across > 0 and down > 0 and across * down > HALF * smaller


def _box_of(row: dict[str, Any]) -> Box | None:
    sides = [row[name] for name in _COLUMNS[2:]]
    return None if sides[0] is None else Box(*sides)


def _file_of(row: dict[str, Any]) -> str:
    """What tells files apart; copies of one have the same digest."""
    return str(row["sha256"] if row["sha256"] is not None else row["path"])
