"""Slides become tiles: tissue is found, a grid is laid over it, and annotations label what they cover.

Each slide that is done leaves a file in the work folder, so that a run that was stopped, or one over a folder with new
slides, does only what is missing.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from histoseek.datasets.tile_work import Job, Sketch, SlideWork, read_again, work_on
from histoseek.errors import HistoseekError, InputError, Interrupted, MissingExtraError, needs_extra
from histoseek.imaging import origin_of
from histoseek.items import SCHEMA, Item, Skipped
from histoseek.items.spool import is_large, spooled

MOST_WORKERS = 8
GENERAL = ("dataset-doc", "nominal")
"""Sources of a scale that speak of a whole dataset: what a slide's file says itself is nearer to the truth."""


@dataclass(frozen=True, kw_only=True)
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


class _Labels(NamedTuple):
    """Label and source of every tile of a slide, and what to say: a kind of note and its text."""

    labels: list[str | None]
    sources: list[str | None]
    note: tuple[str, str] | None = None


def tile_slides(
    items: Sequence[Item],
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
    slides = _named(items)
    jobs = {item.id: _job(item, root, settings, mpp) for item in slides}
    done = _work_on_all(slides, root, jobs, settings, progress)
    told = _Told([], defaultdict(list))
    pieces = _pieces([(item, jobs[item.id], done[item.id]) for item in slides], root, settings, mpp is not None, told)
    works = [(item, work) for item in slides if isinstance(work := done[item.id], SlideWork) and len(work.boxes)]
    if is_large(sum(len(work.boxes) for _, work in works)):
        table = _on_disk(pieces, _schema(works, root, mpp is not None))
    else:
        tables = list(pieces)
        table = pa.concat_tables(tables, promote_options="permissive") if tables else pa.table({})
    notes = [*_counts(len(works), table.num_rows, done, settings), *(_note(one) for one in told.notes.values())]
    return Tiled(table, told.skipped, notes)


class _Told(NamedTuple):
    """What is found out while tiles are joined: what is left out, and what is to be said of slides, by kind."""

    skipped: list[Skipped]
    notes: dict[str, list[tuple[str, str]]]


def _pieces(
    works: Sequence[tuple[Item, Job, SlideWork | Skipped]],
    root: Path,
    settings: TileSettings,
    is_users_mpp: bool,
    told: _Told,
) -> Iterator[pa.Table]:
    """The tiles of one slide after the other."""
    namings = _namings([item for item, _, _ in works]) if works else {}
    for item, job, done in works:
        if isinstance(done, Skipped):
            told.skipped.append(done)
            continue
        work = read_again(done, job)
        told.skipped.extend(Skipped(_tile_id(item, box), _short(why, root, item)) for box, why in work.unreadable)
        if not len(work.boxes):
            told.skipped.append(Skipped(item.id, _why_none(work, settings)))
            continue
        if work.n_levels == 1:
            told.notes["level"].append((item.path, ONE_LEVEL))
        labels = _labels(item, root / item.path, work, settings, namings[item.id])
        if labels.note is not None:
            told.notes[labels.note[0]].append((item.path, labels.note[1]))
        yield _with_origin(_rows(item, work, labels, is_users_mpp), root / item.path)


def _schema(works: Sequence[tuple[Item, SlideWork]], root: Path, is_users_mpp: bool) -> pa.Schema:
    """The columns that fit the tiles of all slides."""
    schemas = dict.fromkeys(
        _with_origin(_rows(item, work.no_tiles, _Labels([], []), is_users_mpp), root / item.path).schema
        for item, work in works
    )
    return pa.unify_schemas(list(schemas), promote_options="permissive")


def _on_disk(pieces: Iterable[pa.Table], schema: pa.Schema) -> pa.Table:
    """Tiles of slides in one table that is read from a temporary file."""
    empty = schema.empty_table()
    return spooled(schema, (pa.concat_tables([empty, piece], promote_options="permissive") for piece in pieces))


ONE_LEVEL = (
    "has one level only, so that coarse reads decode all of it; a pyramid is faster "
    "(vips tiffsave slide.tif pyramid.tif --tile --pyramid --compression jpeg)"
)


def safe_name(path: str) -> str:
    """A file name of a slide that no other slide of the folder has."""
    plain = "".join(mark if mark.isalnum() or mark in "-_." else "_" for mark in path)[-80:]
    return f"{plain}-{hashlib.sha256(path.encode()).hexdigest()[:8]}"


def _named(items: Sequence[Item]) -> list[Item]:
    """Name each slide by its stem, its path without suffix, or its path: the first that no other slide has.

    A slide without a group is one.
    """
    places = [PurePosixPath(item.path) for item in items]
    names = [(place.stem, str(place.with_suffix("")), str(place)) for place in places]
    count = Counter(name for given in names for name in set(given))
    named = []
    for item, given in zip(items, names, strict=True):
        name = item.slide or next((name for name in given if count[name] == 1), item.path)
        is_alone = item.group_source == "image" and item.group == item.id
        group, group_source = (name, "slide") if is_alone else (item.group, item.group_source)
        named.append(replace(item, slide=name, group=group, group_source=group_source))
    return named


def _work_on_all(
    items: list[Item],
    root: Path,
    jobs: Mapping[str, Job],
    settings: TileSettings,
    progress: Callable[[int, int], None] | None,
) -> dict[str, SlideWork | Skipped]:
    """Slides side by side in threads, which OpenSlide and the decoders let run at once.

    Of work that is kept in a file the tiles are let go.
    """
    n_workers = settings.workers or min(MOST_WORKERS, os.cpu_count() or 1)
    stop = threading.Event()
    done: dict[str, SlideWork | Skipped] = {}
    with ThreadPoolExecutor(n_workers, thread_name_prefix="slides") as pool:
        futures: dict[Future[SlideWork | Skipped], str] = {
            pool.submit(_work, item, root, replace(jobs[item.id], stop=stop)): item.id for item in items
        }
        try:
            for future in as_completed(futures):
                done[futures[future]] = future.result()
                if progress is not None:
                    progress(len(done), len(items))
        finally:  # Ctrl-C: nothing new is begun, and slides that are being read are let go at the next tile
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
    return done


def _job(item: Item, root: Path, settings: TileSettings, mpp: float | None) -> Job:
    is_general = item.mpp_source in GENERAL
    sketch = Sketch(
        settings.tile_px,
        settings.tile_mpp,
        settings.overlap,
        settings.tissue,
        settings.quality,
        mpp=mpp if mpp is not None or is_general else item.mpp,
        usual_mpp=item.mpp if is_general else None,
    )
    name = safe_name(item.path)
    kept = None if settings.work_dir is None else settings.work_dir / f"{name}.parquet"
    preview = settings.work_dir / f"{name}.png" if settings.work_dir is not None and settings.preview else None
    tiles_dir = None if settings.write_tiles is None else settings.write_tiles / name
    return Job(root / item.path, sketch, kept, preview, tiles_dir)


def _work(item: Item, root: Path, job: Job) -> SlideWork | Skipped:
    try:
        return work_on(job) if job.kept is None else work_on(job).hollow
    except (MissingExtraError, InputError, Interrupted):  # of the installation, the places to write to, the user
        raise
    except HistoseekError as error:
        return Skipped(item.id, _short(str(error), root, item))
    except OSError as error:
        return Skipped(item.id, f"{item.path} cannot be read: {error.strerror}")


def _short(reason: str, root: Path, item: Item) -> str:
    return reason.replace(str(root / item.path), item.path)


def _why_none(work: SlideWork, settings: TileSettings) -> str:
    if work.unreadable:
        return "none of its tiles can be read; copy the file again from where it came"
    if not work.has_tissue:
        return "no tissue was found; look at its --preview"
    return f"no tile holds {settings.tissue:.0%} tissue; lower -o tissue, or take smaller tiles"


def _namings(items: Sequence[Item]) -> dict[str, Any]:
    """How far each slide's name tells its annotation file from those of the others, by item id."""
    from histoseek.datasets.annotations import Naming

    places = {item.id: PurePosixPath(item.path) for item in items}
    stems = Counter(place.stem for place in places.values())
    beside = Counter((place.parent, place.stem) for place in places.values())
    return {
        name: Naming(str(place.parent), stems[place.stem] == 1, beside[place.parent, place.stem] == 1)
        for name, place in places.items()
    }


def _labels(item: Item, path: Path, work: SlideWork, settings: TileSettings, naming: Any) -> _Labels:
    """Annotations label the tiles of a slide that has them, its own label those of another."""
    with needs_extra("slides"):
        from histoseek.datasets.annotations import (
            explain_qpdata,
            find_annotations,
            label_tiles,
            placed,
            read_annotations,
            touched_tiles,
        )
    n_tiles = len(work.boxes)
    file = find_annotations(path, settings.annotations, naming)
    if file is None:
        told = explain_qpdata(path, settings.annotations, naming)
        source = None if item.label is None else "slide"
        return _Labels([item.label] * n_tiles, [source] * n_tiles, ("qpdata", told) if told else None)
    try:
        annotations = placed(read_annotations(file, spelling=settings.labels), file, path)
    except InputError as error:
        note = ("broken", f"its tiles have no label, because its annotations cannot be read: {error}")
        return _Labels([None] * n_tiles, [None] * n_tiles, note)
    labels = label_tiles(work.boxes, annotations, settings.cover)
    for tile in np.flatnonzero(~touched_tiles(work.boxes, annotations)):
        labels[tile] = settings.outside
    return _Labels(labels, [None if label is None else "annotation" for label in labels])


def _rows(item: Item, work: SlideWork, labels: _Labels, is_users_mpp: bool) -> pa.Table:
    def same(value: Any, kind: pa.DataType) -> pa.Array:
        return pa.repeat(pa.scalar(value, kind), len(work.boxes))

    stated = "user" if is_users_mpp else item.mpp_source or "table"
    columns = {
        **{name: same(getattr(item, name), SCHEMA.field(name).type) for name in _INHERITED},
        "id": pa.array([_tile_id(item, box) for box in work.boxes.tolist()], pa.string()),
        "label": pa.array(labels.labels, pa.string()),
        **{f"box_{side}": pa.array(work.boxes[:, at]) for at, side in enumerate(("x", "y", "width", "height"))},
        "mpp": same(work.mpp, pa.float64()),
        "mpp_source": same("file" if work.mpp_from == "file" else stated, pa.string()),
        "width": pa.array(work.boxes[:, 2]),
        "height": pa.array(work.boxes[:, 3]),
        "sha256": same(work.sha256, pa.string()),
        "slide_label": same(item.label, pa.string()),
        "label_source": pa.array(labels.sources, pa.string()),
        "slide_width": same(work.size[0], pa.int64()),
        "slide_height": same(work.size[1], pa.int64()),
        **{name: pa.array(values) for name, values in work.measures.items()},
    }
    extra = {
        name: pa.repeat(pa.scalar(value), len(work.boxes)) for name, value in item.extra.items() if name not in columns
    }
    return pa.table({**{name: columns[name] for name in SCHEMA.names}, **columns, **extra})


def _with_origin(rows: pa.Table, path: Path) -> pa.Table:
    """Where QuPath counts from on a slide of which only a part was scanned, as two columns."""
    origin = origin_of(path)
    if origin == (0, 0):
        return rows
    for axis, value in zip("xy", origin, strict=True):
        rows = rows.append_column(f"origin_{axis}", pa.repeat(pa.scalar(value, pa.int64()), rows.num_rows))
    return rows


_INHERITED = ("path", "dataset", "group", "group_source", "slide", "case", "split", "fold", "caption")


def _tile_id(item: Item, box: Sequence[int]) -> str:
    return f"{item.id}#{','.join(map(str, box))}"


def _counts(n_slides: int, n_tiles: int, done: dict[str, SlideWork | Skipped], settings: TileSettings) -> Iterator[str]:
    scale = f"{settings.tile_px} px at {settings.tile_mpp:g} µm/px"
    yield f"{n_slides} slides gave {n_tiles} tiles of {scale}, each at least {settings.tissue:.0%} tissue"
    works = [work for work in done.values() if isinstance(work, SlideWork)]
    if n_empty := sum(not work.has_tissue for work in works):
        yield f"{n_empty} slides show no tissue: they are left out"
    if n_reused := sum(work.is_reused for work in works):
        yield f"{n_reused} slides were done before: their tiles are taken as they are"


def _note(told: list[tuple[str, str]]) -> str:
    """One line for all slides of which the same is to be said."""
    path, text = told[0]
    return f"{path}: {text}" if len(told) == 1 else f"{len(told)} slides, the first of them {path}: {text}"
