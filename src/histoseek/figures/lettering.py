"""Text on pictures, with the one font that comes inside Pillow."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont

    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

Colour = tuple[int, int, int]
_DRAWN = set(map(chr, range(32, 127))) | set("©«°±´·»‘’“”…‹›™")
_SPELLED = {"–": "-", "—": "-", "×": "x", "µ": "u", "μ": "u", "ß": "ss", "ø": "o", "ł": "l", "æ": "ae", "→": ">"}


@lru_cache(maxsize=16)
def font_of(size: int) -> Font:
    """Pillow's own font; it draws English letters and little else."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def plain(text: str) -> str:
    """The text with letters that the font can draw: accents are dropped, what is left unknown becomes "?"."""
    spelled = "".join(_SPELLED.get(letter, letter) for letter in " ".join(text.split()))
    bare = [letter for letter in unicodedata.normalize("NFKD", spelled) if not unicodedata.combining(letter)]
    return "".join(letter if letter in _DRAWN else "?" for letter in bare)


def elided(text: str, size: int, width: int, middle: bool = False) -> str:
    """The text cut to `width` pixels with an ellipsis at its end, or in its middle."""
    font, whole = font_of(size), plain(text)[:400]
    if font.getlength(whole) <= width:
        return whole
    low, high = 0, len(whole)
    while low < high:
        kept = (low + high + 1) // 2
        low, high = (kept, high) if font.getlength(_cut(whole, kept, middle)) <= width else (low, kept - 1)
    return _cut(whole, low, middle)


def micrometres(draw: ImageDraw.ImageDraw, at: tuple[int, int], number: str, size: int, fill: Colour) -> None:
    """Write a length in µm, `at` its middle top; the font lacks µ, so a "u" gets its stem."""
    font = font_of(size)
    text = f"{number} um"
    left = at[0] - font.getlength(text) / 2
    draw.text((left, at[1]), text, font=font, fill=fill)
    stem = left + font.getlength(f"{number} ") + size * 0.1
    top, bottom = at[1] + size * 0.55, at[1] + size * 1.12
    draw.line((stem, top, stem, bottom), fill=fill, width=max(1, size // 10))


def _cut(text: str, kept: int, middle: bool) -> str:
    if not middle:
        return text[:kept].rstrip() + "…"
    tail = kept // 2
    return text[: kept - tail] + "…" + (text[-tail:] if tail else "")
