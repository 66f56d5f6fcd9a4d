"""Which reader opens a file, and slides kept open while many threads cut tiles from them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from histoseek.errors import ImageError, MissingExtraError, needs_extra
from histoseek.imaging.flat import MAX_PIXELS, TROUBLE, FlatImage, open_flat, unwarned
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
    reader: Reader
    n_users: int


class OpenReaders:
    """Readers by path for many threads: slides stay open, the last few of them; flat images are opened each time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Path, _Kept] = OrderedDict()

    @contextmanager
    def open(self, path: Path) -> Iterator[Reader]:
        """Give a reader of a file for as long as the block lasts; raises as `open_pixels` does."""
        kept = self._taken(path)
        if kept is None:
            reader = open_pixels(path)
            if isinstance(reader, FlatImage):  # one thread at a time may read it
                with closing(reader):
                    yield reader
                return
            kept = self._added(path, reader)
        try:
            yield kept.reader
        finally:
            with self._lock:
                kept.n_users -= 1

    def close(self) -> None:
        """Close what is open."""
        with self._lock:
            for kept in self._kept.values():
                kept.reader.close()
            self._kept.clear()

    def _taken(self, path: Path) -> _Kept | None:
        with self._lock:
            kept = self._kept.get(path)
            if kept is not None:
                kept.n_users += 1
                self._kept.move_to_end(path)
            return kept

    def _added(self, path: Path, reader: Reader) -> _Kept:
        with self._lock:
            found = self._kept.get(path)
            if found is not None:  # another thread was quicker
                reader.close()
                found.n_users += 1
                return found
            kept = self._kept[path] = _Kept(reader, 1)
            n_more = max(0, len(self._kept) - KEPT_OPEN)
            for old in [name for name, one in self._kept.items() if not one.n_users][:n_more]:
                self._kept.pop(old).reader.close()
            return kept
