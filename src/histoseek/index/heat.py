"""How similar every part of a slide is to a query."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histoseek.errors import InputError, QuestionError
from histoseek.items import inside_root, item_of

if TYPE_CHECKING:
    from histoseek.index.index import Index


@dataclass(frozen=True)
class HeatMap:
    """Cosines `[T]` of a query with the tiles `[T, 4]` (level-0 pixels) of a slide.

    `path` is the slide's file, and `mpp` its µm per pixel at level 0 as the archive knows it.
    """

    slide: str
    path: Path
    boxes: NDArray[np.int64]
    scores: NDArray[np.float32]
    mpp: float | None = None


def heat_of(index: Index, vector: NDArray[np.float32], slide: str) -> HeatMap:
    """Compare a query's unit vector `[D]` with every tile of a slide, by the slide's name or its file's path or name.

    Raises:
        InputError: the index holds no tile of that slide, or several slides go by that name.
    """
    index.refresh()
    items = index.rows.items
    rows = _boxed(items, rows_of_slide(items, slide))
    if not len(rows):
        raise InputError(f"the index {index.address} holds no tiles of the slide {slide!r}{_hint(items, slide)}")
    paths = sorted(pc.unique(items["path"].take(pa.array(rows)).combine_chunks()).to_pylist())
    if len(paths) > 1:
        raise InputError(f"{slide!r} may be {' or '.join(paths[:3])}: give the path of one of these slides")
    return _heat(index, vector, rows)


def heat_of_file(index: Index, vector: NDArray[np.float32], path: str) -> HeatMap:
    """The same for the slide whose file the archive knows by this very path; what others write is not seen meanwhile.

    Raises:
        InputError: the index holds no tile of it.
    """
    items = index.rows.items
    rows = _boxed(items, np.flatnonzero(np.asarray(pc.equal(items["path"], path))))
    if not len(rows):
        raise QuestionError("the archive holds no tiles of this slide, only the whole picture, so there is no heat map")
    return _heat(index, vector, rows)


def _boxed(items: pa.Table, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    boxed: NDArray[np.int64] = rows[np.asarray(items["box_x"].take(pa.array(rows)).is_valid(), dtype=bool)]
    return boxed


def _heat(index: Index, vector: NDArray[np.float32], rows: NDArray[np.int64]) -> HeatMap:
    tiles = index.rows.items.take(pa.array(rows))
    boxes = np.column_stack([tiles[f"box_{side}"].to_numpy() for side in ("x", "y", "width", "height")])
    first = item_of(tiles.slice(0, 1).to_pylist()[0])
    scores = index.rows.checked(rows) @ vector
    path = inside_root(index.root, first)
    return HeatMap(first.slide or path.stem, path, boxes, scores.astype(np.float32), first.mpp)


def rows_of_slide(items: pa.Table, slide: str) -> NDArray[np.int64]:
    """Rows of a slide, by its name, else by the path or the file name of its picture."""
    by_name = pc.equal(items["slide"], slide).fill_null(False)
    if pc.any(by_name).as_py():
        return np.flatnonzero(np.asarray(by_name))
    ending = slide.replace("\\", "/")
    paths = pc.unique(items["path"].combine_chunks()).to_pylist()
    fits = [path for path in paths if ending == path or ending.endswith(f"/{path}") or path.endswith(f"/{ending}")]
    return np.flatnonzero(np.asarray(pc.is_in(items["path"], value_set=pa.array(fits, pa.string()))))


def _hint(items: pa.Table, slide: str) -> str:
    known = [name for name in pc.unique(items["slide"].combine_chunks()).to_pylist() if name is not None]
    close = get_close_matches(slide, known, n=3, cutoff=0.4) or sorted(known)[:3]
    return f"; it holds {', '.join(close)}, …" if close else "; none of its items names a slide"
