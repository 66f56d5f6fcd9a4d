"""Heat maps: a query's similarity over a slide, as a picture and as a pyramid that lies on the slide in a viewer."""

from __future__ import annotations

import math
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from histoseek.errors import InputError, needs_extra
from histoseek.figures.lettering import font_of
from histoseek.imaging import open_pixels
from histoseek.index.heat import HeatMap
from histoseek.items import Box, written_whole

LONGEST = 1600
CELLS_A_TILE = 4
"""Overlay pixels along a tile's side: enough for tiles that overlap by a quarter, half or three quarters."""

_BAR, _PAD = 300, 16
_STOPS = np.array([(0, 32, 77), (66, 77, 108), (124, 123, 120), (185, 172, 112), (255, 233, 69)], dtype=np.float64)
"""Five colours of cividis (Nuñez, Anderton, Renslow 2018, PLoS ONE 13(7)): even steps, also for colour-blind eyes."""


def draw_heat(heat: HeatMap, query: str = "") -> Image.Image:
    """Draw a heat map over the slide, rebuilt from its own levels, with a legend of cosines and a scale bar.

    Colours run from the 2nd to the 98th percentile of the slide's scores; what has no tile stays grey and uncoloured.

    Raises:
        ImageError: the slide cannot be read.
    """
    with closing(open_pixels(heat.path)) as slide:
        width, height = slide.size
        shrink = max(1.0, max(width, height) / LONGEST)
        out = (max(1, round(width / shrink)), max(1, round(height / shrink)))
        picture = slide.read(Box(0, 0, width, height), out, "bilinear")
        mpp = None if slide.mpp is None else slide.mpp * shrink
    values = rasterised(heat, (width, height), out)
    low, high = score_range(heat.scores)
    grey = picture.mean(axis=2, keepdims=True).repeat(3, axis=2)
    colour = coloured(values, low, high)
    seen = ~np.isnan(values)[..., None]
    mixed = np.where(seen, 0.45 * grey + 0.55 * colour, 0.5 * grey + 0.5 * 255)
    return _with_legend(Image.fromarray(mixed.astype(np.uint8)), (low, high), mpp, f"{heat.slide}: {query}")


def write_overlay(heat: HeatMap, path: str | Path) -> None:
    """Write a heat map as a tiled pyramidal TIFF that covers the slide, with its scale, for a viewer to lay on it.

    Raises:
        InputError: the scale of the slide is unknown.
        MissingExtraError: the extra `slides` is not installed.
    """
    with needs_extra("slides"):
        from tifffile import TiffWriter
    with closing(open_pixels(heat.path)) as slide:
        size, mpp = slide.size, slide.mpp
    if mpp is None:
        raise InputError(
            f"{heat.path} does not say how large its pixels are, so an overlay would not lie on it; draw a .png"
        )
    step = max(1.0, float(heat.boxes[:, 2:].min()) / CELLS_A_TILE)
    out = (math.ceil(size[0] / step), math.ceil(size[1] / step))
    values = rasterised(heat, size, out)
    picture = np.where(np.isnan(values)[..., None], 255, coloured(values, *score_range(heat.scores))).astype(np.uint8)
    how: dict[str, Any] = {"tile": (256, 256), "photometric": "rgb", "compression": "deflate", "metadata": None}
    with written_whole(path) as draft, TiffWriter(draft) as writer:
        level = 0
        while True:
            per_cm = 10_000 / (mpp * step * 2**level)
            kind = {"subfiletype": 1} if level else {"description": "Histoseek similarity; research use only"}
            writer.write(picture, resolution=(per_cm, per_cm), resolutionunit="CENTIMETER", **kind, **how)
            if max(picture.shape[:2]) <= 256:
                return
            smaller = (max(1, picture.shape[1] // 2), max(1, picture.shape[0] // 2))
            picture = np.asarray(Image.fromarray(picture).resize(smaller, Image.Resampling.BOX))
            level += 1


def rasterised(heat: HeatMap, size: tuple[int, int], out: tuple[int, int]) -> NDArray[np.float64]:
    """Scores on a grid `[h, w]` of `out` (width, height) pixels over a slide of `size`; overlaps averaged, else NaN."""
    total = np.zeros((out[1], out[0]))
    count = np.zeros((out[1], out[0]))
    scale = (out[0] / size[0], out[1] / size[1])
    for (x, y, width, height), score in zip(heat.boxes.tolist(), heat.scores.tolist(), strict=True):
        left, top = round(x * scale[0]), round(y * scale[1])
        right, bottom = max(left + 1, round((x + width) * scale[0])), max(top + 1, round((y + height) * scale[1]))
        total[top:bottom, left:right] += score
        count[top:bottom, left:right] += 1
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def score_range(scores: NDArray[np.float32]) -> tuple[float, float]:
    """The scores that get the first and the last colour."""
    low, high = (float(value) for value in np.percentile(scores, (2, 98)))
    return (low, high) if high - low > 1e-6 else (low - 0.5e-3, low + 0.5e-3)


def coloured(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Colours `[h, w, 3]` of values `[h, w]`; NaN gets the first one."""
    share = np.nan_to_num(np.clip((values - low) / (high - low), 0, 1))
    places = np.linspace(0, 1, len(_STOPS))
    return np.stack([np.interp(share, places, _STOPS[:, channel]) for channel in range(3)], axis=-1)


def _with_legend(picture: Image.Image, scores: tuple[float, float], mpp: float | None, title: str) -> Image.Image:
    sheet = Image.new("RGB", (max(picture.width, _BAR + 360) + 2 * _PAD, picture.height + 92), "white")
    sheet.paste(picture, (_PAD, _PAD))
    draw = ImageDraw.Draw(sheet)
    top = picture.height + 2 * _PAD
    ramp = coloured(np.linspace(*scores, _BAR)[None].repeat(14, axis=0), *scores).astype(np.uint8)
    sheet.paste(Image.fromarray(ramp), (_PAD, top))
    small = font_of(14)
    draw.text((_PAD, top + 18), f"{scores[0]:.2f}", font=small, fill="black")
    draw.text((_PAD + _BAR, top + 18), f"{scores[1]:.2f}", font=small, fill="black", anchor="ra")
    draw.text((_PAD + _BAR / 2, top + 18), "cosine", font=small, fill="black", anchor="ma")
    draw.text((_PAD, top + 38), f"{title}   Research use only.", font=small, fill="black")
    if mpp is not None:
        length = _round_length(0.2 * picture.width * mpp)
        start = _PAD + _BAR + 40
        draw.line((start, top + 6, start + length / mpp, top + 6), fill="black", width=4)
        told = f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} µm"
        draw.text((start, top + 18), told, font=small, fill="black")
    return sheet


def _round_length(um: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not longer, in µm."""
    power = 10.0 ** math.floor(math.log10(max(um, 1e-6)))
    return next(factor * power for factor in (5.0, 2.0, 1.0) if factor * power <= um * 1.0001)
