"""TIFF and OME-TIFF pyramids that OpenSlide refuses, through tifffile."""

from __future__ import annotations

import os
import struct
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from defusedxml import ElementTree
from numpy.typing import NDArray
from tifffile import TiffFile, TiffFileError

from histoseek.errors import ImageError
from histoseek.imaging.pyramid import Interpolation, read_box
from histoseek.imaging.resolution import mpp_of_properties
from histoseek.items import Box

_UNITS = {1: "none", 2: "inch", 3: "centimeter"}
_UM_PER = {"µm": 1.0, "um": 1.0, "nm": 0.001, "mm": 1000.0, "cm": 10_000.0}
_TROUBLE = (TiffFileError, OSError, ValueError, TypeError, KeyError, IndexError, RuntimeError, struct.error, zlib.error)
"""What tifffile, zarr and the codecs raise on broken files, by our fuzzing."""


class TiffImage:
    """The first image of a TIFF file with its pyramid, in 8-bit grey or RGB.

    Any number of threads may read at once, and a forked process opens the file for itself.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()
        self._open()
        self.size: tuple[int, int] = self.levels[0]

    def read(self, box: Box, out: tuple[int, int], interpolation: Interpolation = "bicubic") -> NDArray[np.uint8]:
        """Read `box` at the size `out` (width, height), as RGB `[H, W, 3]`.

        Raises:
            ImageError: the box lies outside, or its pixels cannot be decoded; the message says where.
        """
        if self._process != os.getpid():
            with self._lock:
                self._open()
        try:
            return read_box(self.levels, self._read_level, box, out, interpolation)
        except _TROUBLE as error:
            raise ImageError(f"{self._path}: the pixels at {tuple(box)} cannot be decoded: {error}") from error
        except ImageError as error:
            raise ImageError(f"{self._path}: {error}") from error

    def close(self) -> None:
        """Free the file."""
        self._file.close()

    def _open(self) -> None:
        self._process = os.getpid()
        try:
            self._file = TiffFile(self._path)
            series = self._file.series[0]
            self._arrays: list[Any] = [
                zarr.open(series.aszarr(level=level), mode="r") for level in range(len(series.levels))
            ]
            self._axes = series.axes
            self.mpp: float | None = _mpp_of(self._file)
            self.levels: tuple[tuple[int, int], ...] = tuple(
                _size_of(array.shape, series.axes) for array in self._arrays
            )
            wrong = self._arrays[0].dtype != np.uint8 or set(series.axes) - set("YXSC")
        except _TROUBLE as error:
            raise ImageError(f"{self._path} cannot be opened as a TIFF slide: {error}") from error
        if wrong:
            raise ImageError(
                f"{self._path} holds {self._arrays[0].dtype} (axes {series.axes}); only 8-bit RGB or grey is read"
            )

    def _read_level(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        where = {"Y": slice(y, y + height), "X": slice(x, x + width)}
        part = np.asarray(self._arrays[level][tuple(where.get(axis, slice(None)) for axis in self._axes)])
        if self._axes.startswith(("C", "S")):  # planes one after the other
            part = np.moveaxis(part, 0, -1)
        part = part.reshape(height, width, -1)
        return np.repeat(part, 3, axis=2) if part.shape[2] < 3 else np.ascontiguousarray(part[..., :3])


def _size_of(shape: tuple[int, ...], axes: str) -> tuple[int, int]:
    return shape[axes.index("X")], shape[axes.index("Y")]


def _mpp_of(file: TiffFile) -> float | None:
    if file.ome_metadata and (mpp := _ome_mpp(file.ome_metadata)) is not None:
        return mpp
    tags = file.pages[0].tags
    across, unit = tags.get("XResolution"), tags.get("ResolutionUnit")
    if across is None or not isinstance(across.value, tuple) or not across.value[1]:
        return None
    number = 2 if unit is None else int(unit.value)
    return mpp_of_properties(
        {
            "tiff.XResolution": str(across.value[0] / across.value[1]),
            "tiff.ResolutionUnit": _UNITS.get(number, "none"),
        }
    )


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
