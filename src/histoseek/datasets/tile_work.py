"""The work on one slide: its tissue, its tiles and their quality, and the file that keeps them."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from histoseek.errors import ImageError, InputError, Interrupted
from histoseek.imaging import (
    Reader,
    Tissue,
    draw_preview,
    find_tissue,
    lay_tiles,
    open_slide,
    share_of,
    sharpness_of,
    tile_side,
)
from histoseek.items import Box, sha256_of, written_whole

FORMAT = 2
_KEY = b"histoseek.tiles"
_SIDES = ("x", "y", "width", "height")
_MARK_NAME = "tiles.json"
_TILE_NAME = re.compile(r"\d+_\d+\.jpg")
_JPEG_QUALITY = 90

Unreadable = tuple[Box, str]
"""A tile whose pixels could not be decoded, with the reason."""


@dataclass(frozen=True)
class Sketch:
    """What decides which tiles a slide gives.

    `mpp` is the scale that somebody stated for this slide, `usual_mpp` that of its dataset, which counts where the file
    says nothing.
    """

    tile_px: int
    tile_mpp: float
    overlap: float
    tissue: float
    quality: bool
    mpp: float | None = None
    usual_mpp: float | None = None


@dataclass(frozen=True)
class Job:
    """A slide to work on, and where the work (`kept`), a picture of it and its tiles as JPEGs go, if anywhere."""

    path: Path
    sketch: Sketch
    kept: Path | None = None
    preview: Path | None = None
    tiles_dir: Path | None = None
    stop: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class SlideWork:
    """A slide and its tiles: `boxes` [T, 4] in level-0 pixels, and measures [T] by name ("tissue" among them).

    `mpp_from` is "stated", "file" or "dataset".
    """

    size: tuple[int, int]
    n_levels: int
    mpp: float
    mpp_from: str
    sha256: str
    has_tissue: bool
    boxes: NDArray[np.int64]
    measures: Mapping[str, NDArray[np.float32]]
    unreadable: tuple[Unreadable, ...] = ()
    is_reused: bool = field(default=False, compare=False)

    def without(self, unreadable: list[Unreadable]) -> SlideWork:
        """The same but for tiles that cannot be read."""
        gone = {tuple(box) for box, _ in unreadable}
        kept = np.array([tuple(box) not in gone for box in self.boxes.tolist()], dtype=bool)
        measures = {name: values[kept] for name, values in self.measures.items()}
        return replace(self, boxes=self.boxes[kept], measures=measures, unreadable=(*self.unreadable, *unreadable))

    @property
    def no_tiles(self) -> SlideWork:
        """The same without any tile."""
        return replace(self, boxes=self.boxes[:0], measures={name: ones[:0] for name, ones in self.measures.items()})

    @property
    def hollow(self) -> SlideWork:
        """The same with as many tiles, all of them zeros that take no memory, until `read_again` fills them."""

        def zeros(like: NDArray[Any]) -> NDArray[Any]:
            return np.broadcast_to(np.zeros((), dtype=like.dtype), like.shape)

        measures = {name: zeros(values) for name, values in self.measures.items()}
        return replace(self, boxes=zeros(self.boxes), measures=measures)


def read_again(work: SlideWork, job: Job) -> SlideWork:
    """Hollow work with its tiles from the file that keeps them; other work as it is.

    Raises:
        InputError: the file or the slide changed meanwhile.
    """
    if job.kept is None:
        return work
    kept = read_work(job.kept, _mark(job))
    if kept is None:
        raise InputError(f"{job.path} or {job.kept} changed while it was in use; run the same command again")
    known = {tuple(box) for box, _ in kept.unreadable}
    kept = kept.without([one for one in work.unreadable if tuple(one[0]) not in known])
    return replace(work, boxes=kept.boxes, measures=kept.measures)


def work_on(job: Job) -> SlideWork:
    """Find the tiles of a slide, or take them as an earlier run kept them; draw and write what was asked for.

    Raises:
        ImageError: the slide cannot be read, or its scale is unknown.
        OSError: the file is not there.
        Interrupted: the work was stopped.
        MissingExtraError: the extra `slides` is not installed.
    """
    mark = _mark(job)
    work = None if job.kept is None else read_work(job.kept, mark)
    if work is None:
        with closing(open_slide(job.path)) as slide:
            work = _done(slide, job, mark)
        if job.kept is not None:
            _write_work(job.kept, mark, work)
    elif job.preview is not None and _mark_of_picture(job.preview) != mark["digest"]:
        with closing(open_slide(job.path)) as slide:
            _write_preview(job.preview, find_tissue(slide, work.mpp), work.boxes, mark)
    if job.tiles_dir is not None:
        work = work.without(_write_tiles(job.tiles_dir, job, work, mark))
    return work


def _done(slide: Reader, job: Job, mark: Mapping[str, Any]) -> SlideWork:
    sketch = job.sketch
    stated = (("stated", sketch.mpp), ("file", slide.mpp), ("dataset", sketch.usual_mpp))
    mpp_from, mpp = next(((source, value) for source, value in stated if value is not None), ("", None))
    if mpp is None:
        raise ImageError(
            f"{job.path} states no usable resolution; pass --mpp (µm per pixel), or give it in a column mpp of a "
            "sidecar table"
        )
    tissue = find_tissue(slide, mpp)
    _go_on(job)
    boxes = lay_tiles(slide.size, tile_side(sketch.tile_px, sketch.tile_mpp, mpp), sketch.overlap)
    shares = share_of(tissue.mask, boxes, tissue.scale)
    enough = (shares >= sketch.tissue) & (shares > 0)
    boxes, measures = boxes[enough], {"tissue": shares[enough]}
    if job.preview is not None:
        _write_preview(job.preview, tissue, boxes, mark)
    facts = (slide.size, len(slide.levels), mpp, mpp_from, sha256_of(job.path), bool(tissue.mask.any()))
    if not sketch.quality:
        return SlideWork(*facts, boxes, measures)
    measures |= {"blur": np.zeros(len(boxes), dtype=np.float32)}
    measures |= {name: share_of(getattr(tissue, name), boxes, tissue.scale) for name in ("white", "pen")}
    unreadable = []
    for at, (box, pixels) in enumerate(_pixels(slide, job, boxes, mpp)):
        if isinstance(pixels, str):
            unreadable.append((box, pixels))
        else:
            measures["blur"][at] = sharpness_of(pixels)
    return SlideWork(*facts, boxes, measures).without(unreadable)


def _pixels(
    slide: Reader, job: Job, boxes: NDArray[np.int64], mpp: float
) -> Iterator[tuple[Box, NDArray[np.uint8] | str]]:
    """Tiles at the scale that was asked for, or the reason why one cannot be read."""
    shrink = job.sketch.tile_px / tile_side(job.sketch.tile_px, job.sketch.tile_mpp, mpp)
    for box in (Box(*row) for row in boxes.tolist()):
        _go_on(job)
        try:
            out = (max(1, round(box.width * shrink)), max(1, round(box.height * shrink)))
            yield box, slide.read(box, out)
        except ImageError as error:
            yield box, str(error)


def _go_on(job: Job) -> None:
    if job.stop.is_set():
        raise Interrupted(f"the work on {job.path} was stopped")


def _write_tiles(folder: Path, job: Job, work: SlideWork, mark: Mapping[str, Any]) -> list[Unreadable]:
    """Write the tiles that are not there yet as JPEGs; those of other settings go first."""
    told = folder / _MARK_NAME
    if _read_json(told).get("digest") != mark["digest"]:
        if told.exists():
            for old in (path for path in folder.iterdir() if _TILE_NAME.fullmatch(path.name)):
                old.unlink()
        with written_whole(told) as draft:
            draft.write_text(json.dumps(mark, indent=1), encoding="utf-8")
    missing = np.array([not _tile_path(folder, box).exists() for box in work.boxes.tolist()], dtype=bool)
    if not missing.any():
        return []
    unreadable = []
    with closing(open_slide(job.path)) as slide:
        for box, pixels in _pixels(slide, job, work.boxes[missing], work.mpp):
            if isinstance(pixels, str):
                unreadable.append((box, pixels))
                continue
            with written_whole(_tile_path(folder, box)) as draft:
                Image.fromarray(pixels).save(draft, quality=_JPEG_QUALITY)
    return unreadable


def _tile_path(folder: Path, box: Box | list[int]) -> Path:
    return folder / f"{box[0]}_{box[1]}.jpg"


def _write_preview(path: Path, tissue: Tissue, boxes: NDArray[np.int64], mark: Mapping[str, Any]) -> None:
    told = PngInfo()
    told.add_text(_KEY.decode(), mark["digest"])
    with written_whole(path) as draft:
        draw_preview(tissue, boxes).save(draft, "PNG", pnginfo=told)


def _mark_of_picture(path: Path) -> str | None:
    """Which work a picture shows, None when it is none of ours."""
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            return picture.info.get(_KEY.decode())
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError):
        return None


def _write_work(kept: Path, mark: Mapping[str, Any], work: SlideWork) -> None:
    about = {
        "mark": mark["digest"],
        "size": work.size,
        "n_levels": work.n_levels,
        "mpp": work.mpp,
        "mpp_from": work.mpp_from,
        "sha256": work.sha256,
        "has_tissue": work.has_tissue,
        "unreadable": work.unreadable,
    }
    columns = {side: work.boxes[:, at] for at, side in enumerate(_SIDES)}
    table = pa.table({**columns, **work.measures}).replace_schema_metadata({_KEY: json.dumps(about).encode()})
    with written_whole(kept) as draft:
        pq.write_table(table, draft)


def read_work(kept: Path, mark: Mapping[str, Any]) -> SlideWork | None:
    """The work kept in a file; None when there is none, or it is of another slide, other settings or damaged."""
    try:
        table = pq.read_table(kept)
        about = json.loads((table.schema.metadata or {}).get(_KEY, b"{}"))
        if about.get("mark") != mark["digest"]:
            return None
        width, height = about["size"]
        return SlideWork(
            size=(width, height),
            boxes=np.column_stack([table[side].to_numpy() for side in _SIDES]),
            measures={name: table[name].to_numpy() for name in table.schema.names if name not in _SIDES},
            unreadable=tuple((Box(*box), reason) for box, reason in about["unreadable"]),
            is_reused=True,
            **{name: about[name] for name in ("n_levels", "mpp", "mpp_from", "sha256", "has_tissue")},
        )
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return None


def _mark(job: Job) -> dict[str, Any]:
    """What tells whether kept work is still right: the file as it was, and the settings that matter."""
    beside = job.path.with_suffix("")  # .mrxs keeps its pixels in a folder of its name
    companions = sorted(beside.iterdir()) if job.path.suffix.lower() == ".mrxs" and beside.is_dir() else []
    status = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in (job.path, *companions)]
    mark = {"format": FORMAT, "files": status, **asdict(job.sketch)}
    return {**mark, "digest": hashlib.sha256(json.dumps(mark, sort_keys=True).encode()).hexdigest()}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}
