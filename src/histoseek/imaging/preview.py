"""A picture of what was found on a slide: tissue outlined, pen crossed out, and the tiles that were kept."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from histoseek.errors import needs_extra
from histoseek.imaging.grid import Boxes
from histoseek.imaging.tissue import Mask, Tissue

_TISSUE, _PEN, _TILE = (0, 114, 178), (213, 94, 0), (0, 0, 0)
LONGEST = 2000


def draw_preview(tissue: Tissue, boxes: Boxes) -> Image.Image:
    """Draw the outline of the tissue (blue), pen strokes (orange) and the tiles `[T, 4]` over the low-power picture.

    Raises:
        MissingExtraError: the extra `slides` is not installed.
    """
    with needs_extra("slides"):
        from scipy import ndimage
    image = Image.fromarray(tissue.picture)
    zoom = LONGEST / max(image.size)
    image = image.resize((max(1, round(image.width * zoom)), max(1, round(image.height * zoom))))
    mask, pen = (_resized(mask, image.size) for mask in (tissue.mask, tissue.pen))
    picture = np.array(image)
    picture[pen] = (picture[pen] // 2 + np.array(_PEN) // 2).astype(np.uint8)
    picture[mask & ~ndimage.binary_erosion(mask, iterations=2, border_value=1)] = _TISSUE
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image, "RGBA")
    across, down = zoom / tissue.scale[0], zoom / tissue.scale[1]
    for x, y, width, height in boxes.tolist():
        draw.rectangle((x * across, y * down, (x + width) * across, (y + height) * down), outline=(*_TILE, 110))
    return image


def _resized(mask: Mask, size: tuple[int, int]) -> Mask:
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
