"""Which rows of an archive come from a query's own file, so that its patient is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histoseek.items import Box, sha256_of


def rows_of_file(items: pa.Table, root: Path, file: Path) -> list[int]:
    """Rows that are cut from a file or from a copy of it: by path, by the digest of its bytes, and by name.

    A name counts for rows without a digest, as features have that were imported without their slides. All .dcm files of
    a folder count as one slide.
    """
    target = file.resolve()
    paths = [path for path in pc.unique(items["path"].combine_chunks()).to_pylist() if _is_same(root / path, target)]
    same = np.asarray(pc.is_in(items["path"], value_set=pa.array(paths, pa.string())))
    digests = set(pc.unique(items["sha256"].filter(pa.array(same))).to_pylist()) - {None}
    if not digests and target.is_file() and items["sha256"].null_count < items.num_rows:
        digests = {sha256_of(target)}
    twins = np.asarray(pc.is_in(items["sha256"], value_set=pa.array(sorted(digests), pa.string())))
    named = pc.and_(pc.is_null(items["sha256"]), pc.equal(items["slide"], target.stem).fill_null(False))
    return [int(row) for row in np.flatnonzero(same | twins | np.asarray(named))]


def _is_same(path: Path, target: Path) -> bool:
    if path.name != target.name and (path.suffix.lower(), target.suffix.lower()) != (".dcm", ".dcm"):
        return False
    found = path.resolve()
    return found == target or (found.suffix.lower() == ".dcm" and found.parent == target.parent)


def overlapping(items: pa.Table, box: Box) -> pa.Table:
    """Those of a slide's items that overlap `box` on it."""
    x, y, width, height = (_numbers(items, name) for name in ("box_x", "box_y", "box_width", "box_height"))
    apart = (x >= box.x + box.width) | (x + width <= box.x) | (y >= box.y + box.height) | (y + height <= box.y)
    return items.filter(pa.array(~apart))  # an item without a box is the whole file: NaN is never apart


def _numbers(items: pa.Table, name: str) -> NDArray[np.float64]:
    return np.asarray(items[name].cast(pa.float64()).to_numpy(), dtype=np.float64)
