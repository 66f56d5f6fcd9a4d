"""Which rows of an archive come from a query's own file, so that its patient is known."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histoseek.items import Box, sha256_of


def rows_of_file(items: pa.Table, root: Path, file: Path) -> list[int]:
    """Rows that are cut from a file: by its path, and by the digest of its bytes under any name."""
    paths = pc.unique(items["path"].combine_chunks())
    target = file.resolve()
    same = [path for path in paths.to_pylist() if PurePosixPath(path).name == target.name]
    same = [path for path in same if (root / path).resolve() == target]
    mask = np.asarray(pc.is_in(items["path"], value_set=pa.array(same, pa.string())))
    if not same and pc.any(pc.is_valid(items["sha256"])).as_py():
        mask = np.asarray(pc.equal(items["sha256"], sha256_of(target)).fill_null(False))
    return [int(row) for row in np.flatnonzero(mask)]


def rows_of_region(items: pa.Table, root: Path, slide: Path, box: Box | None) -> list[int]:
    """Rows that are cut from a slide, or only those that overlap `box` on it."""
    rows = np.array(rows_of_file(items, root, slide), dtype=np.int64)
    if box is None or not len(rows):
        return [int(row) for row in rows]
    own = items.take(pa.array(rows))
    x, y, width, height = (_numbers(own, name) for name in ("box_x", "box_y", "box_width", "box_height"))
    apart = (x >= box.x + box.width) | (x + width <= box.x) | (y >= box.y + box.height) | (y + height <= box.y)
    return [int(row) for row in rows[~apart]]  # an item without a box is the whole file: NaN is never apart


def _numbers(items: pa.Table, name: str) -> NDArray[np.float64]:
    return np.asarray(items[name].cast(pa.float64()).to_numpy(), dtype=np.float64)
