"""Matched pairs of tiles: what speaks for a slide or a case that was found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from histoseek.figures.lettering import elided, font_of
from histoseek.figures.pictures import RESEARCH_ONLY, SYNTHETIC, measure
from histoseek.figures.sheet import INK, MARGIN, PAPER, QUERY, QUIET, SIDE, common_scale, draw_picture
from histoseek.items import inside_root

if TYPE_CHECKING:
    from PIL import Image

    from histoseek.index.whole_search import WholeHits

MOST = 20
_GAP, _CAPTION, _TITLE = 10, 24, 34


def draw_pairs(found: WholeHits) -> Image.Image:
    """Draw one line a hit: its name and score, then its pairs of tiles, the query's framed, with their cosines."""
    from PIL import Image, ImageDraw

    shown = found.hits[:MOST]
    tiles = [[(pair.query, pair.hit, pair.score) for pair in hit.pairs] for hit in shown]
    pictures = [
        [tuple(measure(inside_root(found.root, item), item.box, item.mpp) for item in pair[:2]) for pair in line]
        for line in tiles
    ]
    flat = [picture for line in pictures for pair in line for picture in pair]
    scale, note = common_scale(flat)
    columns = max((len(line) for line in tiles), default=1)
    wide = 2 * SIDE + 3 * _GAP
    height = _TITLE + SIDE + _CAPTION + 2 * _GAP
    sheet = Image.new("RGB", (2 * MARGIN + columns * wide, 3 * MARGIN + max(1, len(shown)) * height), PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, hit in enumerate(shown):
        top = MARGIN + number * height
        title = f"{hit.rank}   {hit.name}   {hit.label or 'no label'}   {hit.score:.3f}   {hit.n_tiles} tiles"
        draw.text((MARGIN, top), elided(title, 17, sheet.width - 2 * MARGIN), font=font_of(17), fill=INK)
        for at, ((mine, theirs), pair) in enumerate(zip(pictures[number], tiles[number], strict=True)):
            left, line = MARGIN + at * wide, top + _TITLE
            draw_picture(sheet, mine, (left, line), scale)
            draw_picture(sheet, theirs, (left + SIDE + _GAP, line), scale)
            draw.rectangle((left - 3, line - 3, left + SIDE + 2, line + SIDE + 2), outline=QUERY, width=3)
            draw.text((left + SIDE + _GAP, line + SIDE + 5), f"{pair[2]:.3f}", font=font_of(14), fill=QUIET)
            draw.text((left, line + SIDE + 5), "query", font=font_of(14), fill=QUERY)
    synthetic = [SYNTHETIC] if any(picture.synthetic for picture in flat) else []
    notes = "  ·  ".join([RESEARCH_ONLY, *synthetic, *([note] if note else [])])
    draw.text((MARGIN, sheet.height - MARGIN - 8), notes, font=font_of(14), fill=QUIET)
    return sheet
