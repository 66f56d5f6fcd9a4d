"""The work on one slide: its tissue, its tiles and their quality, and the file that keeps them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from histoseek.errors import ImageError
from histoseek.imaging import Reader, Tissue, draw_preview, find_tissue, lay_tiles, open_slide, share_of
from histoseek.imaging.quality import sharpness_of
from histoseek.items import Box, sha256_of, written_whole

FORMAT = 1
_KEY = b"histoseek.tiles"
_SIDES = ("x", "y", "width", "height")


@dataclass(frozen=True)
class Sketch:
    """What decides which tiles a slide gives; `stated_mpp` is the scale that the user or the dataset states."""

    tile_px: int
    tile_mpp: float
    overlap: float
    tissue: float
    quality: bool
    stated_mpp: float | None


@dataclass(frozen=True)
class SlideWork:
    """A slide and its tiles: `boxes` [T, 4] in level-0 pixels, and measures [T] by name ("tissue" among them).

    `unreadable` holds tiles whose pixels could not be decoded, each with its reason.
    """

    size: tuple[int, int]
    mpp: float
    mpp_is_from_file: bool
    sha256: str
    boxes: NDArray[np.int64]
    measures: Mapping[str, NDArray[np.float32]]
    notes: tuple[str, ...] = ()
    unreadable: tuple[tuple[list[int], str], ...] = ()
    is_reused: bool = field(default=False, compare=False)


def work_on(path: Path, sketch: Sketch, preview: Path | None, tiles_dir: Path | None) -> SlideWork:
    """Find the tiles of a slide; draw them into `preview` and write them into `tiles_dir` where those are given.

    Raises:
        ImageError: the slide cannot be read, or its scale is unknown.
        MissingExtraError: the extra `slides` is not installed.
    """
    with closing(open_slide(path)) as slide:
        mpp = sketch.stated_mpp if sketch.stated_mpp is not None else slide.mpp
        if mpp is None:
            raise ImageError(f"{path} states no usable resolution; state µm per pixel with --mpp")
        tissue = find_tissue(slide, mpp)
        boxes = lay_tiles(slide.size, max(1, round(sketch.tile_px * sketch.tile_mpp / mpp)), sketch.overlap)
        shares = share_of(tissue.mask, boxes, tissue.scale)
        kept = (shares >= sketch.tissue) & (shares > 0)
        boxes, measures = boxes[kept], {"tissue": shares[kept]}
        if preview is not None:
            with written_whole(preview) as draft:
                draw_preview(tissue, boxes).save(draft)
        unreadable: list[tuple[list[int], str]] = []
        if sketch.quality or tiles_dir is not None:
            boxes, measures, unreadable = _with_pixels(slide, tissue, boxes, measures, _Look(sketch, tiles_dir))
        notes = _notes(slide)
    facts = (slide.size, mpp, sketch.stated_mpp is None, sha256_of(path))
    return SlideWork(*facts, boxes, measures, notes, tuple(unreadable))


@dataclass(frozen=True)
class _Look:
    sketch: Sketch
    tiles_dir: Path | None


def _with_pixels(
    slide: Reader, tissue: Tissue, boxes: NDArray[np.int64], measures: dict[str, Any], look: _Look
) -> tuple[NDArray[np.int64], dict[str, Any], list[tuple[list[int], str]]]:
    """Read every tile once, for its sharpness and its file; those that cannot be read are left out."""
    side = look.sketch.tile_px
    blur = np.zeros(len(boxes), dtype=np.float32)
    readable = np.ones(len(boxes), dtype=bool)
    unreadable = []
    for at, box in enumerate(boxes.tolist()):
        try:
            pixels = slide.read(Box(*box), (side, side))
        except ImageError as error:
            readable[at] = False
            unreadable.append((box, str(error)))
            continue
        blur[at] = sharpness_of(pixels) if look.sketch.quality else 0
        if look.tiles_dir is not None:
            _write_tile(look.tiles_dir / f"{box[0]}_{box[1]}.jpg", pixels)
    measures = {name: values[readable] for name, values in measures.items()}
    boxes = boxes[readable]
    if look.sketch.quality:
        measures["blur"] = blur[readable]
        measures["white"] = share_of(tissue.white, boxes, tissue.scale)
        measures["pen"] = share_of(tissue.pen, boxes, tissue.scale)
    return boxes, measures, unreadable


def _write_tile(path: Path, pixels: NDArray[np.uint8]) -> None:
    if not path.exists():
        with written_whole(path) as draft:
            Image.fromarray(pixels).save(draft, quality=90)


def _notes(slide: Reader) -> tuple[str, ...]:
    if len(slide.levels) > 1:
        return ()
    return (
        "has one level only, so that coarse reads decode all of it; a pyramid is faster "
        "(vips tiffsave slide.tif pyramid.tif --tile --pyramid --compression jpeg)",
    )


def write_work(kept: Path, slide: Path, sketch: Sketch, work: SlideWork) -> None:
    """Keep the work on a slide in a Parquet file, written whole."""
    about = {
        **_mark(slide, sketch),
        "size": work.size,
        "mpp": work.mpp,
        "mpp_is_from_file": work.mpp_is_from_file,
        "sha256": work.sha256,
        "notes": work.notes,
        "unreadable": work.unreadable,
    }
    columns = {side: work.boxes[:, at] for at, side in enumerate(_SIDES)}
    table = pa.table({**columns, **work.measures}).replace_schema_metadata({_KEY: json.dumps(about).encode()})
    with written_whole(kept) as draft:
        pq.write_table(table, draft)


def read_work(kept: Path, slide: Path, sketch: Sketch) -> SlideWork | None:
    """The work kept in a file; None when there is none, or it is of another slide, other settings or damaged."""
    try:
        table = pq.read_table(kept)
        about = json.loads((table.schema.metadata or {}).get(_KEY, b"{}"))
        if any(about.get(name) != value for name, value in _mark(slide, sketch).items()):
            return None
        boxes = np.column_stack([table[side].to_numpy() for side in _SIDES])
        measures = {name: table[name].to_numpy() for name in table.schema.names if name not in _SIDES}
        width, height = about["size"]
        facts = ((width, height), about["mpp"], about["mpp_is_from_file"], about["sha256"])
        unreadable = tuple((list(box), reason) for box, reason in about["unreadable"])
        return SlideWork(*facts, boxes, measures, tuple(about["notes"]), unreadable, is_reused=True)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return None


def _mark(slide: Path, sketch: Sketch) -> dict[str, Any]:
    """What tells whether kept work is still right."""
    status = slide.stat()
    return {"format": FORMAT, "bytes": status.st_size, "changed": status.st_mtime_ns, **asdict(sketch)}
