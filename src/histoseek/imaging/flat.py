"""Flat images (JPEG, PNG, TIFF, WebP, BMP): pixels of a rectangle, at the size wanted."""

from __future__ import annotations

import io
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import (  # the decoders of FORMATS; of one that is not there yet Pillow would import all that it has
    BmpImagePlugin,  # noqa: F401
    Image,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from histoseek.errors import ImageError, TooManyPixelsError
from histoseek.imaging.pyramid import RESAMPLING, Decoding, Interpolation
from histoseek.items import MPP_RANGE, Box

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP")
MAX_PIXELS = 120_000_000
"""Larger flat images are refused before they are decoded: a 20 KB PNG can unfold to half a gigabyte."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MIRRORED_ACROSS, _MIRRORED_DOWN = (2, 3, 6, 7), (3, 4, 7, 8)
"""Turns that put the last column, or row, of the upright picture first in the file."""

_REDUCTIONS = (8, 4, 2)
FINER = 1.5
"""So many times finer than what is asked a reduced JPEG must be.

Then the resize hides what the decoder did: on tissue a mean cosine of 0.998 or more with full decoding, at 1 of 0.990.
"""

_PILLOW_WARNS = 80_000_000
"""Somewhere above this size (89 million) Pillow warns of a bomb, for TIFF also while it decodes."""

_warnings_lock = threading.Lock()
TROUBLE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    struct.error,
    EOFError,
    OverflowError,
    Warning,
)
"""What Pillow's decoders raise on broken files, by its documentation and by our fuzzing (`Warning` under -W error)."""


class FlatImage:
    """One image file, decoded when first read; its first page counts, turned as its EXIF tag says.

    `size` is (width, height) in pixels; `mpp` is µm per pixel from the file's resolution tag, None when it has none
    or a placeholder. Reads of one object are for one thread at a time. `again` opens the same file once more.
    """

    def __init__(self, image: Image.Image, name: str, again: Callable[[], Image.Image]) -> None:
        self._unread: Image.Image | None = image
        self._again = again
        self._stored_size = image.size
        self._name = name
        self.is_jpeg = image.format == "JPEG"
        self._turn = _orientation(image)
        width, height = image.size
        self.size: tuple[int, int] = (height, width) if self._turn >= 5 else (width, height)
        self.levels: tuple[tuple[int, int], ...] = (self.size,)
        self.mpp: float | None = _mpp_of(image)
        self._decoded: dict[int, Image.Image] = {}
        self._deep_top = 0.0

    def read(
        self, box: Box, out: tuple[int, int], interpolation: Interpolation = "bicubic", decoding: Decoding = "full"
    ) -> NDArray[np.uint8]:
        """Read `box` resized to `out` (width, height) with Pillow's antialiased resize, as `[H, W, 3]` RGB.

        Transparent pixels show white, as glass does. With the `decoding` "scaled" a JPEG is decoded at the smallest of
        1/2, 1/4 and 1/8 of its size that is `FINER` times as fine as `out`; nothing read before changes which.

        Raises:
            ImageError: the box lies outside, or the file cannot be decoded.
        """
        width, height = self.size
        inside = box.x >= 0 and box.y >= 0 and box.x + box.width <= width and box.y + box.height <= height
        if box.width < 1 or box.height < 1 or not inside:
            raise ImageError(f"{self._name}: the box {tuple(box)} is not inside the {width} × {height} image")
        if decoding == "scaled" and self.is_jpeg:
            by = next((by for by in _REDUCTIONS if min(box.width / out[0], box.height / out[1]) >= FINER * by), 1)
            if by > 1:
                part = self._image_decoded(by)
                return np.asarray(part.resize(out, RESAMPLING[interpolation], box=self._within_reduced(box, by)))
        part = self._image_decoded()
        if (box.width, box.height) != self.size:  # a crop is a copy: for a whole large image, half a gigabyte
            part = part.crop((box.x, box.y, box.x + box.width, box.y + box.height))
        part = _to_rgb(part, self._deep_top)
        if part.size != out:
            part = part.resize(out, RESAMPLING[interpolation])
        return np.asarray(part)

    def close(self) -> None:
        """Free the pixels and the file."""
        for image in (self._unread, *self._decoded.values()):
            if image is not None:
                image.close()

    def _image_decoded(self, by: int = 1) -> Image.Image:
        """The upright picture at 1/`by` of its size; reduced ones are kept beside the full one, and are RGB."""
        if by not in self._decoded:
            image, self._unread = self._unread or self._again(), None
            try:
                self._decoded[by] = self._decode(image, by)
            except TROUBLE as error:
                image.close()
                raise ImageError(f"{self._name} cannot be decoded: {_reason(error)}") from error
        return self._decoded[by]

    def _decode(self, image: Image.Image, by: int) -> Image.Image:
        width, height = image.size
        if (width, height) != self._stored_size:
            raise ValueError("it changed while it was read")
        is_large = width * height > _PILLOW_WARNS
        with unwarned() if is_large else nullcontext():
            if by > 1:
                image.draft(None, (width // by, height // by))
            image.load()
        if self._turn != 1:
            image = image.transpose(_TURNS[self._turn])
        if image.mode in ("I", "F"):
            self._deep_top = _highest(image)
        return image if by == 1 else _to_rgb(image, self._deep_top)

    def _within_reduced(self, box: Box, by: int) -> tuple[float, float, float, float]:
        """Where a box lies in the reduced picture, whose last column and row may stand for fewer pixels than others."""
        width, height = self.size
        left = (box.x + (-width % by if self._turn in _MIRRORED_ACROSS else 0)) / by
        top = (box.y + (-height % by if self._turn in _MIRRORED_DOWN else 0)) / by
        return left, top, left + box.width / by, top + box.height / by


def open_flat(path: str | Path, max_pixels: int = MAX_PIXELS) -> FlatImage:
    """Open an image file and read its header only.

    Raises:
        ImageError: not one of the formats, unreadable, or more than `max_pixels` pixels.
    """
    source = Path(path)

    def opened() -> Image.Image:
        with _refused(str(source), f"image that can be read ({', '.join(FORMATS)})", max_pixels):
            return Image.open(source, formats=FORMATS)

    return _within_limits(opened, str(source), max_pixels)


def flat_of_bytes(data: bytes, kind: str, max_pixels: int = MAX_PIXELS, name: str = "the picture") -> FlatImage:
    """Open a picture from its bytes by the decoder of one of `FORMATS` alone; its header is read only.

    Raises:
        ImageError: it is none of that format, unreadable, or has more than `max_pixels` pixels.
    """

    def opened() -> Image.Image:
        with _refused(name, f"{kind} that can be read", max_pixels):
            return Image.open(io.BytesIO(data), formats=(kind,))

    return _within_limits(opened, name, max_pixels)


def image_of(image: Image.Image, name: str = "the image", max_pixels: int = MAX_PIXELS) -> FlatImage:
    """Take a Pillow image; the caller's own is left as it is.

    Raises:
        ImageError: it cannot be decoded, or has more than `max_pixels` pixels.
    """
    _check_size(image.size, name, max_pixels)

    def copied() -> Image.Image:
        try:
            with unwarned():
                return image.copy()
        except TROUBLE as error:
            raise ImageError(f"{name} cannot be decoded: {_reason(error)}") from error

    return _within_limits(copied, name, max_pixels)


def read_size(path: str | Path) -> tuple[int, int, float | None]:
    """Width, height and µm per pixel (None when unknown) from an image's header.

    Raises:
        ImageError: as `open_flat` does.
    """
    flat = open_flat(path)
    try:
        return (*flat.size, flat.mpp)
    finally:
        flat.close()


@contextmanager
def _refused(name: str, what: str, max_pixels: int) -> Iterator[None]:
    """Say why an image cannot be opened; Pillow's own warning of bombs is not wanted, since our limit follows."""
    try:
        with unwarned():
            yield
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is no {what}") from error
    except Image.DecompressionBombError as error:
        raise TooManyPixelsError(_too_large(name, max_pixels, "far too many")) from error
    except TROUBLE as error:
        raise ImageError(f"{name} cannot be read: {_reason(error)}") from error


def _within_limits(opened: Callable[[], Image.Image], name: str, max_pixels: int) -> FlatImage:
    image = opened()
    try:
        _check_size(image.size, name, max_pixels)
        with unwarned():  # of odd EXIF blocks
            return FlatImage(image, name, opened)
    except TROUBLE as error:
        image.close()
        raise ImageError(f"{name} cannot be read: {_reason(error)}") from error
    except ImageError:
        image.close()
        raise


def _check_size(size: tuple[int, int], name: str, max_pixels: int) -> None:
    pixels = size[0] * size[1]
    if pixels > max_pixels:
        raise TooManyPixelsError(_too_large(name, max_pixels, f"{pixels / 1e6:.0f} million"))
    if not pixels:
        raise ImageError(f"{name} has no pixels")


def _too_large(name: str, max_pixels: int, has: str) -> str:
    most = f"{max_pixels / 1e6:.0f} million"
    return f"{name} has {has} pixels, and the limit is {most}; cut it into tiles, or prepare it as a slide"


@contextmanager
def unwarned() -> Iterator[None]:
    """Silence Pillow's warnings, one thread at a time because the filters are the whole process's."""
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).split("\n")[0] or type(error).__name__


def _to_rgb(part: Image.Image, deep_top: float) -> Image.Image:
    if part.mode == "RGB":
        return part
    if part.mode.startswith("I;16") or part.mode in ("I", "F"):
        return _from_deep(part, deep_top)
    if part.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in part.info:
        part = part.convert("RGBA")
        glass = Image.new("RGBA", part.size, (255, 255, 255, 255))
        return Image.alpha_composite(glass, part).convert("RGB")
    return part.convert("RGB")


def _highest(image: Image.Image) -> float:
    extrema: Any = image.getextrema()
    return float(extrema[1])


def _from_deep(part: Image.Image, top: float) -> Image.Image:
    """16-bit grey by its full range; Pillow's own conversion would clip everything above 255.

    `top` is the highest value of the whole image, by which the range of modes I and F is told.
    """
    values = np.nan_to_num(np.asarray(part), nan=0.0, posinf=65535.0, neginf=0.0)
    range_of = {"I": 255 if top <= 255 else 65535, "F": 1 if top <= 1 else 255 if top <= 255 else 65535}
    grey = np.clip(np.round(values * (255 / range_of.get(part.mode, 65535))), 0, 255).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


def _orientation(image: Image.Image) -> int:
    """From what the header says: PNG's own `getexif` would decode the picture, and Pillow turns TIFF by itself."""
    if image.format == "TIFF":
        return 1
    turn = Image.Image.getexif(image).get(0x0112, 1)
    return turn if isinstance(turn, int) and 1 <= turn <= 8 else 1


def _mpp_of(image: Image.Image) -> float | None:
    """From pixels per inch or centimetre; most writers leave a screen's 72 or 96 dpi there, which is refused."""
    dpi = image.info.get("dpi")
    if not isinstance(dpi, tuple) or len(dpi) != 2:
        return None
    try:
        across = float(dpi[0])
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    mpp = 25_400 / across if across > 0 else 0.0
    return round(mpp, 6) if MPP_RANGE[0] <= mpp <= MPP_RANGE[1] else None
