"""Pictures of items for figures: small, never an exception, with what a caption must say about them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from histoseek.errors import HistoseekError
from histoseek.items import Box

if TYPE_CHECKING:
    from PIL import Image

    from histoseek.imaging import OpenReaders, Reader

RESEARCH_ONLY = "Research use only, not for diagnosis"
SYNTHETIC = "Synthetic tissue"
_HEAD_BYTES = 65_536
_MARK = b"Synthetic"


@dataclass(frozen=True)
class Picture:
    """Where a picture comes from: a file or an image in memory, the box in it, and its scale if known.

    `width` and `height` are those of the box in level-0 pixels, 0 when the picture cannot be shown; `trouble` then
    says why, in a few words.
    """

    source: Path | Image.Image
    box: Box | None = None
    mpp: float | None = None
    width: int = 0
    height: int = 0
    trouble: str = ""
    synthetic: bool = False
    readers: OpenReaders | None = None

    @property
    def extent_um(self) -> float | None:
        """The longer side in µm, None when the scale is unknown."""
        return max(self.width, self.height) * self.mpp if self.mpp and self.width else None

    def read(self, out: tuple[int, int]) -> Image.Image | None:
        """The picture at the size `out` (width, height); None when it cannot be read."""
        from PIL import Image

        if self.trouble:
            return None
        try:
            with _opened(self.source, self.readers) as flat:
                box = self.box or Box(0, 0, *flat.size)
                return Image.fromarray(flat.read(box, out))
        except (HistoseekError, OSError, ValueError, MemoryError):
            return None


def measure(
    source: Path | Image.Image,
    box: Box | None = None,
    mpp: float | None = None,
    own_mpp: bool = False,
    readers: OpenReaders | None = None,
) -> Picture:
    """Read the header of a picture: its size, and whether it says that it is synthetic; pixels are read later.

    With `own_mpp` the scale written in the file counts when `mpp` is None; an item's unknown scale stays unknown.
    `readers` keep slides open that many pictures come from.
    """
    try:
        with _opened(source, readers) as flat:
            width, height = (box.width, box.height) if box else flat.size
            known = flat.mpp if own_mpp and mpp is None else mpp
    except (HistoseekError, OSError, ValueError) as error:
        missing = isinstance(source, Path) and not source.is_file()
        return Picture(source, box, mpp, trouble="file is missing" if missing else _short(error))
    return Picture(source, box, known, width, height, "", _says_synthetic(source), readers)


def inside(root: Path, path: str) -> Path | None:
    """Where `path` lies under `root`; None for a path that would leave it."""
    parts = PurePosixPath(path)
    if not path or parts.is_absolute() or ".." in parts.parts or "\0" in path:
        return None
    return root / parts


def fitted(width: int, height: int, side: int) -> tuple[int, int]:
    """The size (width, height) at which a picture just fits a square of `side` pixels."""
    scale = side / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


@contextmanager
def _opened(source: Path | Image.Image, readers: OpenReaders | None) -> Iterator[Reader]:
    from histoseek.imaging import image_of, open_pixels

    if readers is not None and isinstance(source, Path):
        with readers.open(source) as reader:
            yield reader
        return
    with closing(open_pixels(source) if isinstance(source, Path) else image_of(source)) as reader:
        yield reader


def _says_synthetic(source: Path | Image.Image) -> bool:
    """PNG texts, JPEG comments and EXIF descriptions stand in the first bytes of a file."""
    if isinstance(source, Path):
        try:
            with source.open("rb") as file:
                return _MARK in file.read(_HEAD_BYTES)
        except OSError:
            return False
    values = [value if isinstance(value, bytes) else str(value).encode() for value in source.info.values()]
    return any(_MARK in value for value in values)


def _short(error: Exception) -> str:
    return "image is too large" if "million pixels" in str(error) else "image cannot be read"
