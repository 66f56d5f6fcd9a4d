"""Which reader opens a file, and slides kept open while many threads cut tiles from them."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from histoseek.errors import ImageError, MissingExtraError, needs_extra
from histoseek.imaging.flat import MAX_PIXELS, TROUBLE, FlatImage, open_flat, unwarned
from histoseek.imaging.pyramid import Decoding, Interpolation
from histoseek.imaging.views import Reader
from histoseek.items import Box

SLIDE_SUFFIXES = frozenset({".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide", ".czi", ".dcm"})
"""Files that are whole slides by their name; a TIFF is one by what is in it."""

TIFF_SUFFIXES = frozenset({".tif", ".tiff"})
KEPT_OPEN = 4
MOST_DIFFERENCE = 3
"""Levels of 255 by which two decoders of the same JPEG tile may differ and count as equal."""

LARGE = 16_000_000
"""A tiled TIFF of one level with more pixels than this is read as a slide, so that no tile costs the whole file."""

_TILE_WIDTH, _SUB_IFDS = 322, 330


def open_slide(path: str | Path) -> Reader:
    """Open a whole slide by OpenSlide or, where that refuses it or is slower at the same pixels, by tifffile.

    Raises:
        ImageError: neither can read it.
        MissingExtraError: the extra `slides` is not installed.
    """
    with needs_extra("slides"):
        from histoseek.imaging.slide import OpenSlideImage, UnsupportedSlideError
        from histoseek.imaging.tiff import TiffImage
    source = Path(path)
    is_tiff = source.suffix.lower() in {*TIFF_SUFFIXES, ".svs"}
    try:
        slide = OpenSlideImage(source)
    except UnsupportedSlideError:
        if source.suffix.lower() not in TIFF_SUFFIXES:
            raise
        return TiffImage(source)
    if not is_tiff:
        return slide
    try:
        tiff = TiffImage(source)
    except ImageError:
        return slide
    # OME's own statement is exact; OpenSlide does not read it, and takes the resolution tag, often a screen's.
    slide.mpp = tiff.mpp = next((mpp for mpp in (tiff.ome_mpp, slide.mpp, tiff.mpp) if mpp is not None), None)
    # OpenSlide passes over the sub-images in which OME-TIFF keeps its pyramid.
    is_fuller = len(tiff.levels) > len(slide.levels) == 1 and tiff.size == slide.size
    chosen, other = (tiff, slide) if is_fuller or _same_pixels(slide, tiff) else (slide, tiff)
    other.close()
    return chosen


def _same_pixels(one: Reader, two: Reader) -> bool:
    """Whether two readers of a file agree on its levels and on the pixels in the middle of each."""
    if one.levels != two.levels:
        return False
    width, height = one.size
    for level in one.levels:
        shrink = width / level[0]
        side = max(1, min(round(32 * shrink), width, height))
        box = Box((width - side) // 2, (height - side) // 2, side, side)
        out = (max(1, round(side / shrink)),) * 2
        try:
            pixels = [reader.read(box, out).astype(int) for reader in (one, two)]
        except ImageError:
            return False
        if np.abs(pixels[0] - pixels[1]).max() > MOST_DIFFERENCE:
            return False
    return True


def origin_of(path: str | Path) -> tuple[int, int]:
    """Where in level-0 pixels the scanned part of a slide begins, (0, 0) where the file does not say.

    QuPath and others show only that part, and count from its corner.

    Raises:
        MissingExtraError: the extra `slides` is not installed.
    """
    if Path(path).suffix.lower() in {*TIFF_SUFFIXES, ".svs", ".ndpi"}:  # which have no such statement
        return 0, 0
    with needs_extra("slides"):
        from histoseek.imaging.slide import bounds_origin
    return bounds_origin(path)


def open_pixels(path: str | Path) -> Reader:
    """Open any image file: a whole slide, told by its suffix or by a TIFF's tiles and levels, else a flat image.

    Raises:
        ImageError: it cannot be read.
        MissingExtraError: it is a slide, and the extra `slides` is not installed.
    """
    source = Path(path)
    suffix = source.suffix.lower()
    if suffix in SLIDE_SUFFIXES:
        return open_slide(source)
    if suffix in TIFF_SUFFIXES:
        return _open_tiff(source)
    return open_flat(source)


def _open_tiff(source: Path) -> Reader:
    try:
        with unwarned(), Image.open(source, formats=("TIFF",)) as image:
            is_slide, is_small = _is_slide(image), image.width * image.height <= MAX_PIXELS
    except (*TROUBLE, Image.DecompressionBombError):
        try:
            return open_slide(source)
        except ImageError:
            return open_flat(source)  # which says what is wrong
    try:
        return open_slide(source) if is_slide else open_flat(source)
    except MissingExtraError:
        if not is_small:
            raise
        return open_flat(source)  # the same pixels, only slower


def _is_slide(image: Any) -> bool:
    n_pixels = image.width * image.height
    has_levels = getattr(image, "n_frames", 1) > 1 or _SUB_IFDS in image.tag_v2
    return n_pixels > MAX_PIXELS or (_TILE_WIDTH in image.tag_v2 and (has_levels or n_pixels > LARGE))


@dataclass
class _Kept:
    """An open reader; `mark` tells the file from another one that took its name, `n_pixels` count where it is flat."""

    reader: Reader
    mark: tuple[int, int]
    n_pixels: int
    n_users: int = 1
    is_old: bool = False


class OneAtATime:
    """A reader that threads take turns at."""

    def __init__(self, reader: Reader) -> None:
        self._reader, self._turn = reader, threading.Lock()
        self.size, self.levels, self.mpp = reader.size, reader.levels, reader.mpp

    def read(
        self, box: Box, out: tuple[int, int], interpolation: Interpolation = "bicubic", decoding: Decoding = "full"
    ) -> NDArray[np.uint8]:
        """Read when it is our turn; raises as the reader does."""
        with self._turn:
            return self._reader.read(box, out, interpolation, decoding)

    def close(self) -> None:
        """Close it."""
        self._reader.close()


class OpenReaders:
    """Readers by path for many threads: slides stay open, the last `kept_open` of them.

    Flat images are opened each time, unless `flat_pixels` allows to keep so many decoded ones in memory. A file that
    was replaced is opened anew.
    """

    def __init__(self, kept_open: int = KEPT_OPEN, flat_pixels: int = 0) -> None:
        self._kept_open, self._flat_pixels = kept_open, flat_pixels
        self._lock = threading.Lock()
        self._kept: OrderedDict[Path, _Kept] = OrderedDict()
        weakref.finalize(self, _close_all, self._kept)  # whoever forgets these leaves no file open

    @contextmanager
    def open(self, path: Path) -> Iterator[Reader]:
        """Give a reader of a file for as long as the block lasts; raises as `open_pixels` does."""
        mark = _mark_of(path)
        kept = self._taken(path, mark)
        if kept is None:
            reader = open_pixels(path)
            n_pixels = 0
            if isinstance(reader, FlatImage):  # one thread at a time may read it
                n_pixels = reader.size[0] * reader.size[1]
                if n_pixels > self._flat_pixels:
                    with closing(reader):
                        yield reader
                    return
                reader = OneAtATime(reader)
            kept = self._added(path, _Kept(reader, mark, n_pixels))
        try:
            yield kept.reader
        finally:
            with self._lock:
                kept.n_users -= 1
                if kept.is_old and not kept.n_users:
                    kept.reader.close()

    def close(self) -> None:
        """Close what is open."""
        with self._lock:
            _close_all(self._kept)

    def _taken(self, path: Path, mark: tuple[int, int]) -> _Kept | None:
        with self._lock:
            kept = self._kept.get(path)
            if kept is not None and kept.mark != mark:
                self._drop(path)
                return None
            if kept is not None:
                kept.n_users += 1
                self._kept.move_to_end(path)
            return kept

    def _added(self, path: Path, new: _Kept) -> _Kept:
        with self._lock:
            found = self._kept.get(path)
            if found is not None and found.mark == new.mark:  # another thread was quicker
                new.reader.close()
                found.n_users += 1
                return found
            if found is not None:
                self._drop(path)
            self._kept[path] = new
            for old in [name for name, one in self._kept.items() if not one.n_users]:
                if self._is_within_limits():
                    break
                self._drop(old)
            return new

    def _is_within_limits(self) -> bool:
        flat = [one.n_pixels for one in self._kept.values() if one.n_pixels]
        return len(self._kept) - len(flat) <= self._kept_open and sum(flat) <= self._flat_pixels

    def _drop(self, path: Path) -> None:
        """Forget a reader, and close it as soon as nobody uses it."""
        kept = self._kept.pop(path)
        kept.is_old = True
        if not kept.n_users:
            kept.reader.close()


def _mark_of(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:  # the reader says what is wrong
        return (0, 0)
    return stat.st_mtime_ns, stat.st_size


def _close_all(kept: OrderedDict[Path, _Kept]) -> None:
    for one in kept.values():
        one.reader.close()
    kept.clear()
