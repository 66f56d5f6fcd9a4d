"""Hits that show all but the same: identical pictures, boxes that overlap on one file, vectors that nearly agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoseek.items import Box
from histoseek.stores import rows_at

SAME = 0.995
"""Cosine of two stored vectors above which two pictures count as one."""

HALF = 0.5
"""Part of the smaller of two boxes on one file that the other one covers at most."""

AT_ONCE = 64
_COLUMNS = ("sha256", "path", "box_x", "box_y", "box_width", "box_height")

Vectors = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""The unit vectors of some rows."""


class NearDuplicates:
    """Tells of hits, which come best first, whether one that was kept before shows all but the same.

    `hits` [H] are rows of `items`. Without `vectors`, as where they lie on a server, only files and boxes are compared.
    """

    def __init__(self, items: pa.Table, hits: NDArray[np.int64], vectors: Vectors | None) -> None:
        self._hits, self._vectors = hits, vectors
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
        return bool((self._kept[: self._n_kept] @ self._vector(at) > SAME).any()) if self._n_kept else False

    def keep(self, at: int) -> None:
        """Keep a hit."""
        row, box = self._rows[at], _box_of(self._rows[at])
        if row["sha256"] is not None:
            self._pictures.add((row["sha256"], box))
        if box is not None:
            self._boxes.setdefault(_file_of(row), []).append(box)
        if self._vectors is None:
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
        assert self._vectors is not None  # noqa: S101 - without them none is kept to be compared with
        block = at // AT_ONCE
        if self._read[0] != block:
            self._read = block, self._vectors(self._hits[block * AT_ONCE : (block + 1) * AT_ONCE])
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
