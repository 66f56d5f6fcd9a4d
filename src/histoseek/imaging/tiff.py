"""TIFF pyramids, tile by tile through tifffile: those that OpenSlide refuses, and those that are read faster so."""

from __future__ import annotations

import logging
import os
import struct
import threading
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from defusedxml import ElementTree
from imagecodecs import DelayedImportError
from numpy.typing import NDArray
from tifffile import PHOTOMETRIC, TiffFile, TiffFileError

from histoseek.errors import ImageError
from histoseek.imaging.pyramid import Decoding, Interpolation, read_box
from histoseek.imaging.resolution import mpp_of_properties
from histoseek.items import Box

CACHE_BYTES = 128 * 1024 * 1024
"""Decoded tiles kept a slide: three rows of tiles across a slide 50 000 pixels wide, so that each is decoded once."""

_COLOURS = {(PHOTOMETRIC.RGB, 3), (PHOTOMETRIC.YCBCR, 3), (PHOTOMETRIC.MINISBLACK, 1)}
"""What is shown as it is stored; palettes, inverted grey and transparency are left to OpenSlide."""

_UNITS = {1: "none", 2: "inch", 3: "centimeter"}
_UM_PER = {"µm": 1.0, "um": 1.0, "nm": 0.001, "mm": 1000.0, "cm": 10_000.0}
_TROUBLE = (
    TiffFileError, OSError, ValueError, TypeError, KeyError, IndexError, RuntimeError, struct.error, zlib.error,
    DelayedImportError,
)  # fmt: skip
"""What tifffile and its codecs raise on broken files, by our fuzzing."""

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what it has to say of broken files is said by us


class TiffImage:
    """The first image of a TIFF file with its pyramid, in 8-bit grey or RGB.

    Any number of threads may read at once, and a forked process opens the file for itself.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()
        self._cache: OrderedDict[tuple[int, int], NDArray[np.uint8]] = OrderedDict()
        self._cached_bytes = 0
        self._file, self._pages = self._opened()
        self._process = os.getpid()
        first = self._pages[0]  # whose levels have the same kind of pixels
        is_plain = first.dtype == np.uint8 and first.imagedepth == 1 and not first.extrasamples
        if not is_plain or (first.photometric, first.samplesperpixel) not in _COLOURS:
            self._file.close()
            raise ImageError(
                f"{self._path} holds {first.samplesperpixel} channels of {first.dtype} "
                f"({getattr(first.photometric, 'name', first.photometric)}); only 8-bit RGB or grey is read"
            )
        self.levels: tuple[tuple[int, int], ...] = tuple((page.imagewidth, page.imagelength) for page in self._pages)
        self.size: tuple[int, int] = self.levels[0]
        self.ome_mpp: float | None = _ome_mpp(self._file.ome_metadata or "")
        self.mpp: float | None = self.ome_mpp if self.ome_mpp is not None else _mpp_of(self._file)

    def read(
        self, box: Box, out: tuple[int, int], interpolation: Interpolation = "bicubic", decoding: Decoding = "full"
    ) -> NDArray[np.uint8]:
        """Read `box` at the size `out` (width, height), as RGB `[H, W, 3]`.

        Raises:
            ImageError: the box lies outside, or its pixels cannot be decoded; the message says where.
        """
        try:
            return read_box(self.levels, self._read_level, box, out, interpolation)
        except _TROUBLE as error:
            raise ImageError(f"{self._path}: the pixels at {tuple(box)} cannot be decoded: {error}") from error
        except ImageError as error:
            raise ImageError(f"{self._path}: {error}") from error

    def close(self) -> None:
        """Free the file and the tiles."""
        with self._lock:
            self._file.close()
            self._cache.clear()

    def _opened(self) -> tuple[TiffFile, list[Any]]:
        try:
            file = TiffFile(self._path)
        except _TROUBLE as error:
            raise ImageError(f"{self._path} cannot be opened as a TIFF slide: {error}") from error
        try:
            return file, [level.pages[0] for level in file.series[0].levels]
        except _TROUBLE as error:
            file.close()
            raise ImageError(f"{self._path} cannot be opened as a TIFF slide: {error}") from error

    def _read_level(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        page = self._pages[level]
        n_planes = page.samplesperpixel if page.planarconfig == 2 else 1
        planes = [self._read_plane(level, plane, Box(x, y, width, height)) for plane in range(n_planes)]
        part = planes[0] if n_planes == 1 else np.concatenate(planes, axis=2)
        return np.repeat(part[..., :1], 3, axis=2) if part.shape[2] < 3 else part[..., :3]

    def _read_plane(self, level: int, plane: int, box: Box) -> NDArray[np.uint8]:
        page = self._pages[level]
        across = page.tilewidth if page.is_tiled else page.imagewidth
        down = page.tilelength if page.is_tiled else page.rowsperstrip
        n_across, n_down = -(-page.imagewidth // across), -(-page.imagelength // down)
        samples = 1 if page.planarconfig == 2 else page.samplesperpixel
        pixels = np.full((box.height, box.width, samples), 255, dtype=np.uint8)
        for row in range(box.y // down, (box.y + box.height - 1) // down + 1):
            for column in range(box.x // across, (box.x + box.width - 1) // across + 1):
                tile = self._tile(level, (plane * n_down + row) * n_across + column)
                if not tile.size:  # nothing was scanned there
                    continue
                left, top = column * across - box.x, row * down - box.y
                target = pixels[max(0, top) : top + tile.shape[0], max(0, left) : left + tile.shape[1]]
                source = tile[max(0, -top) :, max(0, -left) :]
                target[:] = source[: target.shape[0], : target.shape[1]]
        return pixels

    def _tile(self, level: int, number: int) -> NDArray[np.uint8]:
        """One tile or strip `[h, w, samples]`; without content (0 bytes) it has no rows, and glass stays white."""
        with self._lock:
            if self._process != os.getpid():  # a fork shares the file's position with its parent
                self._file, self._pages = self._opened()
                self._process = os.getpid()
            page = self._pages[level]
            found = self._cache.get((level, number))
            if found is not None:
                self._cache.move_to_end((level, number))
                return found
            self._file.filehandle.seek(page.dataoffsets[number])
            content = self._file.filehandle.read(page.databytecounts[number])
            if len(content) != page.databytecounts[number]:
                raise TiffFileError(f"the file ends before tile {number} of level {level}")
        decoded = page.keyframe.decode(content or None, number, jpegtables=page.jpegtables)[0]
        tile = np.zeros((0, 0, 1), np.uint8) if decoded is None else np.asarray(decoded)[0]
        with self._lock:
            if (level, number) not in self._cache:
                self._cache[level, number] = tile
                self._cached_bytes += tile.nbytes
            while self._cached_bytes > CACHE_BYTES:
                self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        return tile


def _mpp_of(file: TiffFile) -> float | None:
    tags = file.pages[0].tags
    properties = {"openslide.comment": str(file.pages[0].description)}
    across, unit = tags.get("XResolution"), tags.get("ResolutionUnit")
    if across is not None and isinstance(across.value, tuple) and across.value[1]:
        properties["tiff.XResolution"] = str(across.value[0] / across.value[1])
        properties["tiff.ResolutionUnit"] = _UNITS.get(2 if unit is None else int(unit.value), "none")
    return mpp_of_properties(properties)


def _ome_mpp(text: str) -> float | None:
    """`PhysicalSizeX` of the first image (OME schema 2016-06: µm unless a unit says otherwise)."""
    try:
        pixels = next(node for node in ElementTree.fromstring(text).iter() if node.tag.endswith("}Pixels"))
    except (ElementTree.ParseError, StopIteration, ValueError):
        return None
    unit = _UM_PER.get(pixels.get("PhysicalSizeXUnit", "µm"), 0.0)
    try:
        size = float(pixels.get("PhysicalSizeX", 0)) * unit
    except ValueError:
        return None
    return mpp_of_properties({"openslide.mpp-x": str(size)})
