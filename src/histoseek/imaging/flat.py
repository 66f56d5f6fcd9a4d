"""Flat images (JPEG, PNG, TIFF, WebP, BMP): pixels of a rectangle, at the size wanted."""

from __future__ import annotations

import struct
import threading
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from histoseek.errors import ImageError
from histoseek.items import MPP_RANGE, Box

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP")
MAX_PIXELS = 120_000_000
"""Larger flat images are refused before they are decoded: a 20 KB PNG can unfold to half a gigabyte."""

_RESAMPLING = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}
_header_lock = threading.Lock()
_TROUBLE = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, struct.error, EOFError, OverflowError)
"""What Pillow's decoders raise on broken files, by its documentation and by our fuzzing."""


class FlatImage:
    """One image file, decoded when first read; its first page counts, turned as its EXIF tag says.

    `size` is (width, height) in pixels; `mpp` is µm per pixel from the file's resolution tag, None when it has none
    or a placeholder. Reads of one object are for one thread at a time.
    """

    def __init__(self, image: Image.Image, name: str) -> None:
        self._image = image
        self._name = name
        self._turn = _orientation(image)
        width, height = image.size
        self.size: tuple[int, int] = (height, width) if self._turn >= 5 else (width, height)
        self.mpp: float | None = _mpp_of(image)
        self._decoded = False

    def read(
        self, box: Box, out: tuple[int, int], interpolation: Literal["bicubic", "bilinear", "lanczos"] = "bicubic"
    ) -> NDArray[np.uint8]:
        """Read `box` resized to `out` (width, height) with Pillow's antialiased resize, as `[H, W, 3]` RGB.

        Transparent pixels show white, as glass does.

        Raises:
            ImageError: the box lies outside, or the file cannot be decoded.
        """
        width, height = self.size
        inside = box.x >= 0 and box.y >= 0 and box.x + box.width <= width and box.y + box.height <= height
        if box.width < 1 or box.height < 1 or not inside:
            raise ImageError(f"{self._name}: the box {tuple(box)} is not inside the {width} × {height} image")
        part = self._image_decoded().crop((box.x, box.y, box.x + box.width, box.y + box.height))
        part = _to_rgb(part)
        if part.size != out:
            part = part.resize(out, _RESAMPLING[interpolation])
        return np.asarray(part)

    def close(self) -> None:
        """Free the pixels and the file."""
        self._image.close()

    def _image_decoded(self) -> Image.Image:
        if not self._decoded:
            try:
                self._image.load()
                if self._turn != 1:
                    self._image = ImageOps.exif_transpose(self._image)
            except _TROUBLE as error:
                raise ImageError(f"{self._name} cannot be decoded: {_reason(error)}") from error
            self._decoded = True
        return self._image


def open_flat(path: str | Path, max_pixels: int = MAX_PIXELS) -> FlatImage:
    """Open an image file and read its header only.

    Raises:
        ImageError: not one of the formats, unreadable, or more than `max_pixels` pixels.
    """
    source = Path(path)
    try:
        # Pillow warns of bombs through the process-wide filters; our own limit stands below, so it is silenced here,
        # one thread at a time because the filters are shared.
        with _header_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(source, formats=FORMATS)
    except UnidentifiedImageError as error:
        kinds = ", ".join(FORMATS)
        raise ImageError(f"{source} is no image that can be read ({kinds})") from error
    except Image.DecompressionBombError as error:
        raise ImageError(_too_large(source, max_pixels)) from error
    except _TROUBLE as error:
        raise ImageError(f"{source} cannot be read: {_reason(error)}") from error
    return _within_limits(image, source, max_pixels)


def image_of(image: Image.Image, name: str = "the image", max_pixels: int = MAX_PIXELS) -> FlatImage:
    """Take a Pillow image that is in memory already."""
    return _within_limits(image.copy(), Path(name), max_pixels)


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


def _within_limits(image: Image.Image, source: Path, max_pixels: int) -> FlatImage:
    width, height = image.size
    if width * height > max_pixels:
        image.close()
        raise ImageError(_too_large(source, max_pixels, width * height))
    if not width * height:
        raise ImageError(f"{source} has no pixels")
    try:
        with _header_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd EXIF blocks warn
            return FlatImage(image, str(source))
    except _TROUBLE as error:
        raise ImageError(f"{source} cannot be read: {_reason(error)}") from error


def _too_large(source: Path, max_pixels: int, pixels: int | None = None) -> str:
    has = f"{pixels / 1e6:.0f} million" if pixels else "far more"
    return f"{source} has {has} pixels, and the limit is {max_pixels / 1e6:.0f} million; cut it into tiles"


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).split("\n")[0] or type(error).__name__


def _to_rgb(part: Image.Image) -> Image.Image:
    if part.mode == "RGB":
        return part
    if part.mode.startswith("I;16") or part.mode in ("I", "F"):
        return _from_deep(part)
    if part.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in part.info:
        part = part.convert("RGBA")
        glass = Image.new("RGBA", part.size, (255, 255, 255, 255))
        return Image.alpha_composite(glass, part).convert("RGB")
    return part.convert("RGB")


def _from_deep(part: Image.Image) -> Image.Image:
    """16-bit grey by its full range; Pillow's own conversion would clip everything above 255."""
    values = np.asarray(part)
    scale = 1.0 if values.max(initial=0) <= 255 and part.mode in ("I", "F") else 255 / 65535
    grey = np.clip(np.round(values * scale), 0, 255).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


def _orientation(image: Image.Image) -> int:
    turn = image.getexif().get(0x0112, 1)
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
