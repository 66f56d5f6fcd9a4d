"""Whole slides through OpenSlide: svs, ndpi, mrxs, scn, bif, czi, Philips, DICOM, generic tiled TIFF.

Label and macro images are never opened here, and properties go no further than the resolution.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from openslide import OpenSlide, OpenSlideCache, OpenSlideError, OpenSlideUnsupportedFormatError
from PIL import Image

from histoseek.errors import ImageError
from histoseek.imaging.pyramid import Decoding, Interpolation, read_box
from histoseek.imaging.resolution import mpp_of_properties
from histoseek.items import Box

CACHE_BYTES = 96 * 1024 * 1024
"""Decoded tiles kept a slide: two rows of tiles across a slide 34 000 pixels wide, so that each is decoded once."""


class UnsupportedSlideError(ImageError):
    """OpenSlide does not know this kind of file; another reader may."""


class OpenSlideImage:
    """A slide opened by OpenSlide.

    Any number of threads may read at once. A process forked from this one opens the file for itself. After an error
    OpenSlide refuses a handle for good, so it is opened anew and the rest of the slide stays readable.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._slide: OpenSlide | None = self._opened()
        self.levels: tuple[tuple[int, int], ...] = tuple(self._slide.level_dimensions)
        self.size: tuple[int, int] = self.levels[0]
        self._downsamples = tuple(self._slide.level_downsamples)
        self.mpp: float | None = mpp_of_properties(self._slide.properties)

    def read(
        self, box: Box, out: tuple[int, int], interpolation: Interpolation = "bicubic", decoding: Decoding = "full"
    ) -> NDArray[np.uint8]:
        """Read `box` at the size `out` (width, height), as RGB `[H, W, 3]`; where nothing was scanned it is white.

        Raises:
            ImageError: the box lies outside, or its pixels cannot be decoded; the message says where.
        """
        try:
            return read_box(self.levels, self._read_level, box, out, interpolation)
        except OpenSlideError as error:
            raise ImageError(f"{self._path}: the pixels at {tuple(box)} cannot be decoded: {error}") from error
        except ImageError as error:
            raise ImageError(f"{self._path}: {error}") from error

    def close(self) -> None:
        """Free the file."""
        with self._lock:
            if self._slide is not None and self._process == os.getpid():
                self._slide.close()
            self._slide = None

    def _read_level(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        slide = self._handle()
        downsample = self._downsamples[level]
        try:
            part = slide.read_region((round(x * downsample), round(y * downsample)), level, (width, height))
        except OpenSlideError:
            with self._lock:
                if self._slide is slide:  # other threads may hold it still, so it is let go, not closed
                    self._slide = None
            raise
        if part.getchannel("A").getextrema() != (255, 255):
            part = Image.alpha_composite(Image.new("RGBA", part.size, (255, 255, 255, 255)), part)
        return np.asarray(part.convert("RGB"))

    def _handle(self) -> OpenSlide:
        with self._lock:
            if self._slide is None or self._process != os.getpid():
                self._slide, self._process = self._opened(), os.getpid()
            return self._slide

    def _opened(self) -> OpenSlide:
        try:
            slide = OpenSlide(str(self._path))
        except (OpenSlideError, OSError) as error:
            if not self._path.is_file():
                raise ImageError(f"there is no slide {self._path}") from error
            if isinstance(error, OpenSlideUnsupportedFormatError):
                raise UnsupportedSlideError(f"{self._path} is no slide that OpenSlide can read") from error
            raise ImageError(f"{self._path} cannot be opened as a slide: {error}") from error
        slide.set_cache(OpenSlideCache(CACHE_BYTES))
        return slide


def bounds_origin(path: str | Path) -> tuple[int, int]:
    """The corner of the scanned part in level-0 pixels, by `openslide.bounds-x` and `-y`; (0, 0) without them."""
    try:
        with OpenSlide(str(path)) as slide:
            x, y = (int(slide.properties.get(f"openslide.bounds-{axis}", 0)) for axis in "xy")
    except (OpenSlideError, OSError, ValueError):  # it cannot be opened, or states nonsense
        return 0, 0
    return x, y
