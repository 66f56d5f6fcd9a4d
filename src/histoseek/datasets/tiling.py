"""Slides become tiles: tissue is found, a grid is laid over it, and annotations label what they cover.

Each slide that is done leaves a file in the work folder, so that a run that was stopped, or one over a folder with new
slides, does only what is missing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from histoseek.datasets.tile_work import Sketch, SlideWork, read_work, work_on, write_work
from histoseek.errors import HistoseekError, InputError, MissingExtraError
from histoseek.items import SCHEMA, Item, Skipped

MOST_WORKERS = 8


@dataclass(frozen=True)
class TileSettings:
    """How slides are cut into tiles.

    Tiles of `tile_px` pixels at `tile_mpp` µm per pixel, neighbours sharing `overlap` of their side, are kept where at
    least `tissue` of them is tissue; `quality` adds the columns blur, white and pen. `annotations` is the folder of
    annotation files (None: beside the slides): a tile takes the label that covers at least `cover` of it, else
    `outside`; `labels` "bach" reads the spellings of that set. `preview` draws a picture of each slide, `write_tiles`
    is a folder for the tiles as JPEGs, `work_dir` keeps what is done, `workers` slides are read at once.
    """

    tile_px: int = 256
    tile_mpp: float = 0.5
    overlap: float = 0.0
    tissue: float = 0.5
    quality: bool = False
    annotations: Path | None = None
    cover: float = 0.5
    outside: str | None = None
    labels: Literal["as-written", "bach"] = "as-written"
    preview: bool = False
    write_tiles: Path | None = None
    work_dir: Path | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        checks = (
            (16 <= self.tile_px <= 8192, "tile_px must be between 16 and 8192", self.tile_px),
            (0.05 <= self.tile_mpp <= 20, "tile_mpp must be between 0.05 and 20 µm per pixel", self.tile_mpp),
            (0 <= self.overlap <= 0.9, "overlap must be between 0 and 0.9", self.overlap),
            (0 <= self.tissue <= 1, "tissue must be between 0 and 1", self.tissue),
            (0 < self.cover <= 1, "cover must be above 0 and at most 1", self.cover),
            (self.workers is None or self.workers >= 1, "workers must be at least 1", self.workers),
        )
        for fine, rule, value in checks:
            if not fine:
                raise InputError(f"{rule}, not {value}")
        if self.preview and self.work_dir is None:
            raise InputError("previews need a place: give work_dir")
        if self.annotations is not None and not self.annotations.is_dir():
            raise InputError(f"there is no folder of annotations {self.annotations}")


@dataclass(frozen=True)
class Tiled:
    """Tiles as rows of a manifest, the slides and tiles that were left out, and lines for a person to read."""

    table: pa.Table
    skipped: list[Skipped]
    notes: list[str]


def tile_slides(
    items: list[Item],
    root: Path,
    settings: TileSettings,
    mpp: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tiled:
    """Cut slides, one item each, into tiles; `mpp` states the scale of every slide.

    A slide that cannot be read, has no scale or shows no tissue becomes a row of what was skipped, and the others go
    on.

    Raises:
        MissingExtraError: the extra `slides` is not installed.
    """
    done = _work_on_all(items, root, settings, mpp, progress)
    tables, skipped, notes = [], [], []
    n_reused = 0
    for item in items:
        work = done[item.id]
        if isinstance(work, Skipped):
            skipped.append(work)
            continue
        n_reused += work.is_reused
        skipped += [Skipped(_tile_id(item, box), reason) for box, reason in work.unreadable]
        notes += [f"{item.path}: {note}" for note in work.notes]
        labels, sources, more = _labels(item, root / item.path, work, settings)
        notes += more
        if len(work.boxes):
            tables.append(_rows(item, work, labels, sources))
        else:
            skipped.append(Skipped(item.id, "no tissue was found; look at its --preview, or lower -o tissue"))
    table = pa.concat_tables(tables, promote_options="permissive") if tables else pa.table({})
    return Tiled(table, skipped, [*_counts(len(tables), table.num_rows, n_reused, settings), *notes])


def _work_on_all(
    items: list[Item],
    root: Path,
    settings: TileSettings,
    mpp: float | None,
    progress: Callable[[int, int], None] | None,
) -> dict[str, SlideWork | Skipped]:
    """Slides side by side in threads, which OpenSlide and the decoders let run at once."""
    n_workers = settings.workers or min(MOST_WORKERS, os.cpu_count() or 1)
    done: dict[str, SlideWork | Skipped] = {}
    with ThreadPoolExecutor(n_workers, thread_name_prefix="slides") as pool:
        futures: dict[Future[SlideWork | Skipped], str] = {
            pool.submit(_work, item, root, settings, mpp): item.id for item in items
        }
        try:
            for future in as_completed(futures):
                done[futures[future]] = future.result()
                if progress is not None:
                    progress(len(done), len(items))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return done


def _work(item: Item, root: Path, settings: TileSettings, mpp: float | None) -> SlideWork | Skipped:
    path = root / item.path
    stated = mpp if mpp is not None else item.mpp
    sketch = Sketch(settings.tile_px, settings.tile_mpp, settings.overlap, settings.tissue, settings.quality, stated)
    kept = None if settings.work_dir is None else settings.work_dir / f"{safe_name(item.path)}.parquet"
    picture = kept.with_suffix(".png") if kept is not None and settings.preview else None
    tiles_dir = None if settings.write_tiles is None else settings.write_tiles / safe_name(item.path)
    try:
        work = read_work(kept, path, sketch) if kept is not None else None
        has_all = work is not None and tiles_dir is None and (picture is None or picture.exists())
        if work is None or not has_all:
            work = work_on(path, sketch, picture, tiles_dir)
            if kept is not None:
                write_work(kept, path, sketch, work)
        return work
    except MissingExtraError:
        raise
    except (HistoseekError, OSError) as error:
        return Skipped(item.id, str(error).replace(str(path), item.path))


def safe_name(path: str) -> str:
    """A file name of a slide that no other slide of the folder has."""
    plain = "".join(mark if mark.isalnum() or mark in "-_." else "_" for mark in path)[-80:]
    return f"{plain}-{hashlib.sha256(path.encode()).hexdigest()[:8]}"


def _labels(
    item: Item, path: Path, work: SlideWork, settings: TileSettings
) -> tuple[list[str | None], list[str | None], list[str]]:
    """Label and source of every tile: annotations where the slide has them, else the slide's own label."""
    from histoseek.datasets.annotations import explain_qpdata, find_annotations, label_tiles, read_annotations

    n_tiles = len(work.boxes)
    file = find_annotations(path, settings.annotations)
    if file is None:
        told = explain_qpdata(path, settings.annotations)
        source = None if item.label is None else "slide"
        return [item.label] * n_tiles, [source] * n_tiles, [told] if told else []
    try:
        annotations = read_annotations(file, spelling=settings.labels)
    except InputError as error:
        return [None] * n_tiles, [None] * n_tiles, [f"{item.path}: its tiles have no label: {error}"]
    found = label_tiles(work.boxes, annotations, settings.cover)
    labels = [settings.outside if label is None else label for label in found]
    return labels, [None if label is None else "annotation" for label in labels], []


def _rows(item: Item, work: SlideWork, labels: list[str | None], sources: list[str | None]) -> pa.Table:
    n_tiles = len(work.boxes)
    columns = {
        **{name: pa.repeat(pa.scalar(getattr(item, name), SCHEMA.field(name).type), n_tiles) for name in _INHERITED},
        "id": pa.array([_tile_id(item, box) for box in work.boxes.tolist()]),
        "label": pa.array(labels, pa.string()),
        **{f"box_{side}": pa.array(work.boxes[:, at]) for at, side in enumerate(("x", "y", "width", "height"))},
        "mpp": pa.repeat(pa.scalar(work.mpp, pa.float64()), n_tiles),
        "mpp_source": pa.repeat(pa.scalar("file" if work.mpp_is_from_file else item.mpp_source or "user"), n_tiles),
        "width": pa.array(work.boxes[:, 2]),
        "height": pa.array(work.boxes[:, 3]),
        "sha256": pa.repeat(pa.scalar(work.sha256), n_tiles),
        "slide_label": pa.repeat(pa.scalar(item.label, pa.string()), n_tiles),
        "label_source": pa.array(sources, pa.string()),
        "slide_width": pa.repeat(pa.scalar(work.size[0], pa.int64()), n_tiles),
        "slide_height": pa.repeat(pa.scalar(work.size[1], pa.int64()), n_tiles),
        **{name: pa.array(values) for name, values in work.measures.items()},
    }
    extra = {name: pa.repeat(pa.scalar(value), n_tiles) for name, value in item.extra.items() if name not in columns}
    return pa.table({**{name: columns[name] for name in SCHEMA.names}, **columns, **extra})


_INHERITED = ("path", "dataset", "group", "group_source", "slide", "case", "split", "fold", "caption")


def _tile_id(item: Item, box: list[int]) -> str:
    return f"{item.id}#{','.join(map(str, box))}"


def _counts(n_slides: int, n_tiles: int, n_reused: int, settings: TileSettings) -> Iterator[str]:
    scale = f"{settings.tile_px} px at {settings.tile_mpp:g} µm/px"
    yield f"{n_slides} slides with tissue gave {n_tiles} tiles of {scale}, at least {settings.tissue:.0%} tissue"
    if n_reused:
        yield f"{n_reused} slides were done before and taken as they are"
