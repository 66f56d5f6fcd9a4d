"""Pictures on disk: each file says inside that it is synthetic, and how large its pixels are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

SYNTHETIC = "Synthetic tissue drawn by histoseek.phantom"

_UM_PER_INCH = 25_400
_LARGEST_JPEG_DPI = 65_535


def write_picture(path: Path, picture: NDArray[np.uint8] | Image.Image, mpp: float) -> Path:
    """Write an RGB picture as PNG, JPEG or TIFF, by its suffix, with its scale and the remark that it is synthetic."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    dpi = (_UM_PER_INCH / mpp, _UM_PER_INCH / mpp)
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = path.suffix.lower()
    if suffix == ".png":
        image.save(path, pnginfo=synthetic_remark(), dpi=dpi, compress_level=3)
    elif suffix in (".tif", ".tiff"):
        image.save(path, compression="tiff_lzw", description=SYNTHETIC, dpi=dpi)
    elif max(dpi) > _LARGEST_JPEG_DPI:
        image.save(path, quality=92, comment=SYNTHETIC)
    else:
        image.save(path, quality=92, comment=SYNTHETIC, dpi=dpi)
    return path


def synthetic_remark() -> PngInfo:
    """Give the text that marks a PNG as synthetic."""
    remark = PngInfo()
    remark.add_text("Comment", SYNTHETIC)
    return remark
