"""Feature files of TRIDENT and CLAM: one HDF5 file a slide, with a vector and a place for each tile.

Layouts as their writers leave them (`trident/wsi_objects/WSI.py`, CLAM's `create_patches_fp.py` and
`extract_features_fp.py`): `features` [N, D] (some converters write [1, N, D]) and `coords` [N, 2], the top left corners
in level-0 pixels. TRIDENT puts the size of the tiles on `coords` as attributes. CLAM's feature files have none; its
patch files, of the same names, have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histoseek.errors import InputError, needs_extra

with needs_extra("slides"):
    import h5py

SUFFIX = ".h5"
MAX_TILES = 10_000_000
MAX_DIM = 65_536
MAX_PX = 2**31
"""Places and sizes beyond this are nonsense: no slide is as wide."""

BLOCK_BYTES = 64 * 1024**2
MAX_CHUNK_BYTES = 1024**3
"""HDF5 unpacks a whole chunk to read a part of it."""

_TROUBLE = (OSError, KeyError, ValueError, TypeError, RuntimeError, OverflowError, AttributeError)
"""What h5py raises on broken files, by trying."""


@dataclass(frozen=True)
class TileFacts:
    """What a file says of its tiles; None where it says nothing.

    `side` is the side of a tile in level-0 pixels, `patch_px` that of the picture the encoder was given,
    `magnification` that of level 0, `target` that of the picture, and `size` the slide's (width, height).
    """

    side: int | None = None
    patch_px: int | None = None
    magnification: float | None = None
    target: float | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class FeatureFile:
    """One opened file: `corners` [N, 2] int64 in level-0 pixels, and vectors of length `dim` read in blocks."""

    name: str
    dim: int
    corners: NDArray[np.int64]
    facts: TileFacts
    _vectors: Any

    def blocks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """The number of the first row and the vectors `[n, D]` of one block of rows after the other.

        Raises:
            InputError: the file ends early or is damaged there.
        """
        step = max(1, BLOCK_BYTES // (4 * self.dim))
        for start in range(0, len(self.corners), step):
            rows = slice(start, start + step)
            try:
                block = self._vectors[0, rows] if self._vectors.ndim == 3 else self._vectors[rows]
            except _TROUBLE as error:
                raise InputError(f"the vectors from row {start} on cannot be read: {_line(error)}") from error
            with np.errstate(over="ignore"):  # a double that no float32 holds is found as infinite
                yield start, np.asarray(block, dtype=np.float32)


def find_feature_files(source: Path) -> list[Path]:
    """The feature files of a folder: those in it, else those in `h5_files`, where CLAM puts them.

    Raises:
        InputError: there are none; the message names folders below that hold some.
    """
    if not source.is_dir():
        raise InputError(f"there is no folder {source}; give the folder that holds the {SUFFIX} files of features")
    for folder in (source, source / "h5_files"):
        if found := sorted(path for path in folder.glob(f"*{SUFFIX}") if not path.name.startswith(".")):
            return found
    below = sorted({path.parent.relative_to(source).as_posix() for path in source.glob(f"*/**/*{SUFFIX}")})
    hint = f"; there are some in {', '.join(below[:4])}" if below else ""
    raise InputError(f"{source} holds no {SUFFIX} files{hint}")


@contextmanager
def open_features(path: Path, patches: Path | None = None) -> Iterator[FeatureFile]:
    """Open one feature file; `patches` is the folder of CLAM's patch files, which say how large the tiles are.

    Only what stands in the file itself is read: links, virtual datasets and external storage, which could lead to
    other files, are refused.

    Raises:
        InputError: it is no such file, or damaged.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(h5py.File(path, "r"))
            vectors, coords = _dataset(file, "features"), _dataset(file, "coords")
            dim = _dim(vectors)
            corners = _corners(coords, vectors.shape[-2])
            facts = _facts(coords.attrs)
            if facts.side is None and patches is not None:
                facts = _patch_facts(patches / path.name, corners)
        except _TROUBLE as error:
            raise InputError(f"it is no HDF5 file of features, or damaged: {_line(error)}") from error
        yield FeatureFile(path.stem, dim, corners, facts, vectors)


def _dataset(file: Any, name: str) -> Any:
    """A dataset whose numbers stand in this very file."""
    link = file.get(name, getlink=True)
    if link is None:
        raise InputError(f"it has no dataset {name!r}; it has {', '.join(sorted(file)[:6]) or 'nothing'}")
    if not isinstance(link, h5py.HardLink):
        raise InputError(f"{name!r} is a link to another place, which is not followed")
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        raise InputError(f"{name!r} is no dataset")
    if found.is_virtual or found.external:
        raise InputError(f"{name!r} lies in other files, which are not opened")
    if found.chunks and np.prod(found.chunks, dtype=float) * found.dtype.itemsize > MAX_CHUNK_BYTES:
        raise InputError(f"{name!r} is stored in pieces of more than {MAX_CHUNK_BYTES // 1024**2} MB")
    if found.dtype.kind not in ("f" if name == "features" else "iuf"):
        raise InputError(f"{name!r} holds {found.dtype} instead of numbers")
    return found


def _dim(vectors: Any) -> int:
    shape = tuple(vectors.shape)
    if len(shape) == 1:
        raise InputError("it holds one vector for the whole slide; only vectors of tiles are imported")
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[0] != 1):
        raise InputError(f"'features' has the shape {list(shape)} instead of [tiles, numbers]")
    if shape[-2] > MAX_TILES or not 0 < shape[-1] <= MAX_DIM:
        raise InputError(f"'features' has the shape {list(shape)}, which no slide has")
    return int(shape[-1])


def _corners(coords: Any, n_tiles: int) -> NDArray[np.int64]:
    shape = tuple(coords.shape)
    if shape not in ((n_tiles, 2), (1, n_tiles, 2)):
        raise InputError(f"'coords' has the shape {list(shape)} instead of [{n_tiles}, 2]")
    found = np.asarray(coords[()], dtype=np.float64).reshape(-1, 2)
    if not (np.isfinite(found).all() and (np.abs(found) < MAX_PX).all()):
        raise InputError("'coords' holds places that no slide has")
    return np.floor(found).astype(np.int64)


def _facts(attrs: Mapping[str, Any]) -> TileFacts:
    """TRIDENT's attributes of `coords`."""
    patch_px, side = _number(attrs, "patch_size"), _number(attrs, "patch_size_level0")
    magnification, target = _number(attrs, "level0_magnification"), _number(attrs, "target_magnification")
    if side is None and patch_px and magnification and target:
        side = patch_px * magnification / target
    if side is None and patch_px and (downsample := _downsample(attrs)):  # CLAM's
        side = patch_px * downsample
    width, height = _number(attrs, "level0_width"), _number(attrs, "level0_height")
    size = (int(width), int(height)) if width and height else None
    return TileFacts(_pixels(side), _pixels(patch_px), magnification, target, size)


def _patch_facts(path: Path, corners: NDArray[np.int64]) -> TileFacts:
    """What CLAM's patch file says of the same tiles."""
    if not path.is_file():
        raise InputError(f"there is no patch file {path.name} in {path.parent}")
    with h5py.File(path, "r") as file:
        if "imgs" in file:
            raise InputError(f"{path} holds pictures, whose places are not those of level 0; state --tile-px-level0")
        coords = _dataset(file, "coords")
        if not np.array_equal(_corners(coords, coords.shape[0]), corners):
            raise InputError(f"{path} holds other places than the features")
        return _facts(coords.attrs)


def _downsample(attrs: Mapping[str, Any]) -> float | None:
    """Level-0 pixels a pixel of the level that CLAM cut from: a pair, of which the first counts."""
    value = np.asarray(attrs["downsample"]).ravel() if "downsample" in attrs else np.zeros(0)
    return float(value[0]) if value.size in (1, 2) and value.dtype.kind in "iuf" and value[0] > 0 else None


def _number(attrs: Mapping[str, Any], name: str) -> float | None:
    """A positive number among the attributes; anything else counts as unknown."""
    if name not in attrs:
        return None
    value = np.asarray(attrs[name])
    if value.size != 1 or value.dtype.kind not in "iuf":
        return None
    number = float(value.reshape(()))
    return number if 0 < number < MAX_PX else None


def _pixels(length: float | None) -> int | None:
    return None if length is None else max(1, round(length))


def _line(error: Exception) -> str:
    return str(error).split("\n")[0].strip("'\"") or type(error).__name__
