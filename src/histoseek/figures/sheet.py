"""The contact sheet: the query and its hits in one picture."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from histoseek.figures.lettering import Colour, elided, font_of, micrometres
from histoseek.figures.pictures import RESEARCH_ONLY, SYNTHETIC, Picture, fitted, measure
from histoseek.items import Item, inside_root

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

    from histoseek.imaging import OpenReaders
    from histoseek.index.hits import Hit, Hits

SIDE = 224
"""Width and height of a thumbnail's field in pixels."""
MOST = 100
"""More hits than this are not drawn; the sheet says so."""
_GAP, MARGIN, _CAPTION, _FOOTER = 18, 28, 66, 40
_SAME_SCALE = 2.5
_WHITE: Colour = (255, 255, 255)
PAPER: Colour = (250, 250, 250)
_FIELD: Colour = (226, 226, 226)
INK: Colour = (32, 32, 32)
QUIET: Colour = (104, 104, 104)
QUERY: Colour = (0, 95, 155)
_LENGTHS_UM = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)
_COLUMNS = 5


def draw_sheet(
    hits: Hits,
    query: str | Path | Image.Image | Item | None = None,
    mpp: float | None = None,
    readers: OpenReaders | None = None,
) -> Image.Image:
    """Draw the query, framed, then the hits in a grid with rank, score, label and group.

    A query picture has the scale `mpp`, unless None, else that of its file. An `Item` lies under the root of the hits
    and is drawn with its own box and scale. Without a query the words that were asked stand there. Pictures of known
    scale are drawn at one scale unless their sizes differ too much, each with a scale bar. A file that is missing or
    broken becomes a grey card. At most `MOST` hits are drawn. `readers` keep slides open that many hits lie on.
    """
    from PIL import Image, ImageDraw

    shown = list(hits)[:MOST]
    pictures = [measure(hits.path_of(hit), hit.item.box, hit.item.mpp, readers=readers) for hit in shown]
    asked, words = _asked_picture(hits, query, mpp), _asked_words(hits)
    left = 1 if asked is not None or words or hits.query else 0
    columns = min(_COLUMNS if len(shown) <= 20 else 8, max(1, len(shown)))
    rows = max(1, math.ceil(len(shown) / columns))
    scale, scale_note = common_scale([*pictures, *([asked] if asked else [])])
    width = 2 * MARGIN + max((columns + left) * (SIDE + _GAP) - _GAP + left * _GAP, 2 * SIDE + _GAP)
    height = 2 * MARGIN + rows * (SIDE + _CAPTION) + _FOOTER - 8
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    if left:
        _draw_query(sheet, asked, words, scale)
        _draw_vote(draw, hits, (MARGIN, MARGIN + SIDE + 34), rows)
    for number, (hit, picture) in enumerate(zip(shown, pictures, strict=True)):
        x = MARGIN + left * (SIDE + 2 * _GAP) + number % columns * (SIDE + _GAP)
        y = MARGIN + number // columns * (SIDE + _CAPTION)
        draw_picture(sheet, picture, (x, y), scale)
        _draw_caption(draw, hit, (x, y + SIDE + 6))
    if not shown:
        draw.text((MARGIN + left * (SIDE + 2 * _GAP), MARGIN + 8), "No hits", font=font_of(18), fill=QUIET)
    synthetic = any(p.synthetic for p in [*pictures, *([asked] if asked else [])])
    _draw_footer(sheet, hits, synthetic or any(_is_drawn(hit.item) for hit in shown), scale_note)
    return sheet


def _draw_footer(sheet: Image.Image, hits: Hits, synthetic: bool, scale_note: str) -> None:
    from PIL import ImageDraw

    notes = [RESEARCH_ONLY, *([SYNTHETIC] if synthetic else []), *([scale_note] if scale_note else [])]
    notes += [f"first {MOST} of {len(hits)} hits"] if len(hits) > MOST else []
    line = elided("  ·  ".join(notes), 14, sheet.width - 2 * MARGIN)
    at = (MARGIN, sheet.height - MARGIN - 14)
    ImageDraw.Draw(sheet).text(at, line, font=font_of(14), fill=QUIET)


def _asked_picture(hits: Hits, query: str | Path | Image.Image | Item | None, mpp: float | None) -> Picture | None:
    if query is None:
        return None
    if isinstance(query, Item):
        picture = measure(inside_root(hits.root, query), query.box, query.mpp)
        return replace(picture, synthetic=picture.synthetic or _is_drawn(query))
    return measure(Path(query) if isinstance(query, str) else query, None, mpp, own_mpp=True)


def _asked_words(hits: Hits) -> str:
    examples = hits.query.get("examples", ())
    parts = [one for one in examples if isinstance(one, dict)] if isinstance(examples, (list, tuple)) else []
    signs = ["minus " if one.get("weight", 1.0) < 0 else "" for one in parts]
    return "; ".join(f"{s}{one.get('kind', '')}: {one.get('value', '')}" for s, one in zip(signs, parts, strict=True))


def _is_drawn(item: Item) -> bool:
    return "phantom" in item.dataset.lower() or bool(item.extra.get("synthetic"))


def common_scale(pictures: list[Picture]) -> tuple[float | None, str]:
    """µm per drawn pixel for all pictures of known scale, or None when one scale would leave some too small."""
    extents = [extent for picture in pictures if (extent := picture.extent_um)]
    if not extents:
        return None, "scale unknown" if pictures else ""
    if max(extents) > _SAME_SCALE * min(extents):
        return None, "scales differ, see the bars"
    return max(extents) / SIDE, "one scale where it is known" if len(extents) < len(pictures) else "one scale"


def draw_picture(sheet: Image.Image, picture: Picture, at: tuple[int, int], scale: float | None) -> None:
    """Letterbox a picture in its field, at `scale` µm a drawn pixel where that and its own scale are known."""
    from PIL import ImageDraw

    draw = ImageDraw.Draw(sheet)
    draw.rectangle((*at, at[0] + SIDE - 1, at[1] + SIDE - 1), fill=_FIELD)
    side = SIDE
    if scale and picture.extent_um:
        side = max(8, min(SIDE, round(picture.extent_um / scale)))
    size = fitted(picture.width, picture.height, side) if picture.width else (SIDE, SIDE)
    image = picture.read(size)
    if image is None:
        broken = picture if picture.trouble else replace(picture, trouble="image cannot be read")
        draw.rectangle((*at, at[0] + SIDE - 1, at[1] + SIDE - 1), outline=(190, 190, 190))
        middle = (at[0] + SIDE / 2, at[1] + SIDE / 2)
        draw.text(middle, broken.trouble, font=font_of(15), fill=QUIET, anchor="mm")
        return
    sheet.paste(image, (at[0] + (SIDE - size[0]) // 2, at[1] + (SIDE - size[1]) // 2))
    if picture.extent_um:
        _draw_bar(draw, picture.extent_um / max(size), at)


def _draw_bar(draw: ImageDraw.ImageDraw, um_per_px: float, at: tuple[int, int]) -> None:
    """A scale bar on a white plate, about a quarter to a half of the field long."""
    length = max((one for one in _LENGTHS_UM if one / um_per_px <= SIDE * 0.46), default=1)
    bar = max(2, round(length / um_per_px))
    plate = max(bar + 14, 62)
    left, top = at[0] + 6, at[1] + SIDE - 32
    draw.rectangle((left, top, left + plate, top + 26), fill=_WHITE)
    micrometres(draw, (left + plate // 2, top + 1), f"{length:,}".replace(",", " "), 13, INK)
    start = left + (plate - bar) // 2
    draw.rectangle((start, top + 20, start + bar - 1, top + 22), fill=INK)


def _draw_caption(draw: ImageDraw.ImageDraw, hit: Hit, at: tuple[int, int]) -> None:
    x, y = at
    draw.text((x, y), f"{hit.rank}", font=font_of(17), fill=INK)
    score = f"{hit.score:.3f}" if math.isfinite(hit.score) else "no score"
    draw.text((x + SIDE, y + 2), score, font=font_of(15), fill=QUIET, anchor="ra")
    label_at = x + 12 + round(font_of(17).getlength(f"{hit.rank}"))
    room = x + SIDE - label_at - round(font_of(15).getlength(score)) - 10
    label = hit.item.label
    text = elided(label or "no label", 17, room)
    draw.text((label_at, y), text, font=font_of(17), fill=INK if label else QUIET)
    if hit.item.group_source != "image":
        group = elided(f"{hit.item.group_source} {hit.item.group}".strip(), 14, SIDE, middle=True)
        draw.text((x, y + 25), group, font=font_of(14), fill=QUIET)


def _draw_query(sheet: Image.Image, asked: Picture | None, words: str, scale: float | None) -> None:
    from PIL import ImageDraw

    draw = ImageDraw.Draw(sheet)
    at = (MARGIN, MARGIN)
    if asked is not None:
        draw_picture(sheet, asked, at, scale)
    else:
        draw.rectangle((*at, at[0] + SIDE - 1, at[1] + SIDE - 1), fill=_WHITE)
        for number, line in enumerate(_wrapped(words or "vector", 16, SIDE - 28, 8)):
            draw.text((at[0] + 14, at[1] + 16 + number * 24), line, font=font_of(16), fill=INK)
    draw.rectangle((at[0] - 4, at[1] - 4, at[0] + SIDE + 3, at[1] + SIDE + 3), outline=QUERY, width=4)
    draw.text((at[0], at[1] + SIDE + 6), "query", font=font_of(17), fill=QUERY)


def _draw_vote(draw: ImageDraw.ImageDraw, hits: Hits, at: tuple[int, int], rows: int) -> None:
    """The labels among the hits, most frequent first, where there is room under the query."""
    room = ((rows - 1) * (SIDE + _CAPTION) - 20) // 38
    counts = hits.vote().counts
    if room < 2 or not counts:
        return
    x, y = at[0], at[1] + 34
    draw.text((x, y - 4), f"labels among {len(hits)} hits", font=font_of(14), fill=QUIET)
    for number, (label, count) in enumerate(list(counts.items())[: min(6, room - 1)]):
        top = y + 24 + number * 38
        draw.text((x, top), elided(label, 15, SIDE - 44), font=font_of(15), fill=INK)
        draw.text((x + SIDE, top), f"{count}", font=font_of(15), fill=INK, anchor="ra")
        draw.rectangle((x, top + 21, x + SIDE - 1, top + 25), fill=_FIELD)
        draw.rectangle((x, top + 21, x + max(2, SIDE * count // len(hits)) - 1, top + 25), fill=QUERY)


def _wrapped(text: str, size: int, width: int, most: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if elided(longer, size, width) != elided(longer, size, 10**6) and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
    cut = lines[:most]
    return [elided(line, size, width) for line in (cut if len(lines) <= most else [*cut[:-1], cut[-1] + " ..."])]
