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
from histoseek.figures.lettering import elided, font_of, micrometres
from histoseek.figures.pictures import RESEARCH_ONLY, SYNTHETIC, measure
from histoseek.imaging import open_pixels
from histoseek.imaging.tissue import MASK_MPP, masks_of
from histoseek.index.heat import HeatMap
from histoseek.items import Box, written_whole

LONGEST = 1600
CELLS_A_TILE = 4
"""Overlay pixels along a tile's side: enough for tiles that overlap by a quarter, half or three quarters."""

OVERLAY_MPP = 16.0
"""Overlay pixels are at most this many µm wide: readers take more than 20 for a placeholder."""

OVERLAY_TILE = 256
OPACITY = 0.55

_BAR, _PAD, _FOOT = 300, 16, 84
_WHITE, _INK, _QUIET = (255, 255, 255), (32, 32, 32), (104, 104, 104)
_STOPS = np.array(
    [
        (68, 1, 84), (71, 45, 123), (59, 82, 139), (44, 114, 142), (33, 145, 140),
        (40, 174, 128), (94, 201, 98), (173, 220, 48), (253, 231, 37),
    ],
    dtype=np.float64,
)  # fmt: skip
"""Nine colours of viridis (van der Walt and Smith 2015): even steps, also for colour-blind eyes, and nowhere grey."""


def draw_heat(heat: HeatMap, query: str = "") -> Image.Image:
    """Draw a heat map over the slide, rebuilt from its own levels, with a legend of cosines and a scale bar.

    Colours run from the 2nd to the 98th percentile of the slide's scores. Bare glass, and what has no tile, stays
    uncoloured.

    Raises:
        ImageError: the slide cannot be read.
        MissingExtraError: the extra `slides` is not installed.
    """
    with closing(open_pixels(heat.path)) as slide:
        width, height = slide.size
        shrink = max(1.0, max(width, height) / LONGEST)
        out = (max(1, round(width / shrink)), max(1, round(height / shrink)))
        picture = slide.read(Box(0, 0, width, height), out, "bilinear")
        known = slide.mpp if heat.mpp is None else heat.mpp
    mpp = None if known is None else known * shrink
    tissue, _, white = masks_of(picture, mpp or MASK_MPP)
    values = rasterised(heat, (width, height), out)
    values[white & ~tissue] = np.nan
    scores = score_range(heat.scores)
    grey = picture.mean(axis=2, keepdims=True).repeat(3, axis=2)
    seen = ~np.isnan(values)[..., None]
    over = (1 - OPACITY) * grey + OPACITY * coloured(values, *scores)
    mixed = np.where(seen, over, 0.5 * grey + 0.5 * 255)
    notes = [RESEARCH_ONLY, *([SYNTHETIC] if measure(heat.path).synthetic else [])]
    lines = (f"{heat.slide}: {query}" if query else heat.slide, "  ·  ".join(notes))
    return _with_legend(Image.fromarray(mixed.astype(np.uint8)), scores, mpp, lines)


def write_overlay(heat: HeatMap, path: str | Path) -> None:
    """Write a heat map as a tiled pyramidal TIFF that covers the slide, with its scale, for a viewer to lay on it.

    Raises:
        InputError: the scale of the slide is unknown.
        MissingExtraError: the extra `slides` is not installed.
    """
    with needs_extra("slides"):
        from tifffile import TiffWriter
    with closing(open_pixels(heat.path)) as slide:
        size, mpp = slide.size, slide.mpp if heat.mpp is None else heat.mpp
    if mpp is None:
        raise InputError(
            f"{heat.path} does not say how large its pixels are, so an overlay would not lie on it; draw a .png"
        )
    step = max(1.0, min(float(heat.boxes[:, 2:].min()) / CELLS_A_TILE, OVERLAY_MPP / mpp))
    n_halvings = max(0, math.ceil(math.log2(max(size) / step / OVERLAY_TILE)))
    whole = 2**n_halvings  # sizes that can be halved, so that no level is off: the overlay may reach past the slide
    out = (math.ceil(size[0] / step / whole) * whole, math.ceil(size[1] / step / whole) * whole)
    values = rasterised(heat, (out[0] * step, out[1] * step), out)
    bare = np.isnan(values)[..., None]
    picture = np.where(bare, 255, coloured(values, *score_range(heat.scores))).astype(np.uint8)
    how: dict[str, Any] = {"photometric": "rgb", "compression": "deflate", "metadata": None}
    how |= {"tile": (OVERLAY_TILE, OVERLAY_TILE), "resolutionunit": "CENTIMETER"}
    kind: dict[str, Any] = {"description": f"Histoseek similarity. {RESEARCH_ONLY}."}
    with written_whole(path) as draft, TiffWriter(draft) as writer:
        for halving in range(n_halvings + 1):
            per_cm = 10_000 / (mpp * step * 2**halving)
            level = np.asarray(Image.fromarray(picture).reduce(2**halving))
            writer.write(level, resolution=(per_cm, per_cm), **kind, **how)
            kind = {"subfiletype": 1}


def rasterised(heat: HeatMap, size: tuple[float, float], out: tuple[int, int]) -> NDArray[np.float32]:
    """Scores on a grid `[h, w]` of `out` (width, height) cells over `size` (width, height) in level-0 pixels.

    Where tiles overlap they are averaged; where there is none it is NaN.
    """
    total = np.zeros((out[1], out[0]), dtype=np.float32)
    count = np.zeros((out[1], out[0]), dtype=np.uint16)
    scale = (out[0] / size[0], out[1] / size[1])
    for (x, y, width, height), score in zip(heat.boxes.tolist(), heat.scores.tolist(), strict=True):
        left, top = round(x * scale[0]), round(y * scale[1])
        right, bottom = max(left + 1, round((x + width) * scale[0])), max(top + 1, round((y + height) * scale[1]))
        total[top:bottom, left:right] += score
        count[top:bottom, left:right] += 1
    total[count == 0] = np.nan
    np.maximum(count, 1, out=count)
    return np.divide(total, count, out=total, casting="same_kind")


def score_range(scores: NDArray[np.float32]) -> tuple[float, float]:
    """The scores that get the first and the last colour."""
    low, high = (float(value) for value in np.percentile(scores, (2, 98)))
    return (low, high) if high - low > 1e-6 else (low - 0.5e-3, low + 0.5e-3)


def coloured(values: NDArray[np.floating[Any]], low: float, high: float) -> NDArray[np.float64]:
    """Colours `[h, w, 3]` of values `[h, w]`; NaN gets the first one."""
    share = np.nan_to_num(np.clip((values - low) / (high - low), 0, 1))
    places = np.linspace(0, 1, len(_STOPS))
    return np.stack([np.interp(share, places, _STOPS[:, channel]) for channel in range(3)], axis=-1)


def _with_legend(
    picture: Image.Image, scores: tuple[float, float], mpp: float | None, lines: tuple[str, str]
) -> Image.Image:
    """The picture on a sheet; below it the colours, a scale bar, and two lines of text."""
    sheet = Image.new("RGB", (max(picture.width, 2 * _BAR + 60) + 2 * _PAD, picture.height + 2 * _PAD + _FOOT), _WHITE)
    sheet.paste(picture, ((sheet.width - picture.width) // 2, _PAD))
    draw = ImageDraw.Draw(sheet)
    top, small = picture.height + 2 * _PAD, font_of(14)
    ramp = coloured(np.linspace(*scores, _BAR)[None].repeat(14, axis=0), *scores).astype(np.uint8)
    sheet.paste(Image.fromarray(ramp), (_PAD, top))
    draw.text((_PAD, top + 18), f"{scores[0]:.3f}", font=small, fill=_INK)
    draw.text((_PAD + _BAR, top + 18), f"{scores[1]:.3f}", font=small, fill=_INK, anchor="ra")
    draw.text((_PAD + _BAR / 2, top + 18), "cosine, 2nd to 98th %", font=small, fill=_INK, anchor="ma")
    if mpp is not None:
        _draw_bar(draw, (_PAD + _BAR + 60, top), min(_BAR, 0.3 * picture.width), mpp)
    room = sheet.width - 2 * _PAD
    draw.text((_PAD, top + 44), elided(lines[0], 15, room, middle=True), font=font_of(15), fill=_INK)
    draw.text((_PAD, top + 66), elided(lines[1], 14, room), font=small, fill=_QUIET)
    return sheet


def _draw_bar(draw: ImageDraw.ImageDraw, at: tuple[int, int], most: float, mpp: float) -> None:
    """A scale bar of at most `most` pixels, `at` its top left."""
    length = round_length(most * mpp)
    drawn = max(1, round(length / mpp))
    draw.rectangle((at[0], at[1] + 5, at[0] + drawn - 1, at[1] + 8), fill=_INK)
    middle = at[0] + max(drawn // 2, 24)
    if length >= 1000:
        draw.text((middle, at[1] + 18), f"{length / 1000:g} mm", font=font_of(14), fill=_INK, anchor="ma")
    else:
        micrometres(draw, (middle, at[1] + 18), f"{length:g}", 14, _INK)


def round_length(um: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not longer, in µm."""
    power = 10.0 ** math.floor(math.log10(max(um, 1e-6)))
    return next(factor * power for factor in (5.0, 2.0, 1.0) if factor * power <= um * 1.0001)
