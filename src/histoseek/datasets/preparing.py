"""Prepare: a dataset's folder becomes a manifest, a list of what was skipped and a summary."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa

import histoseek
from histoseek.datasets.dataset import Dataset, Option, Scan, options_of, read_values
from histoseek.datasets.known import find_dataset
from histoseek.datasets.summary import Summary, summarise
from histoseek.datasets.tiling import TileSettings, tile_slides
from histoseek.errors import ImageError, InputError
from histoseek.imaging import SLIDE_SUFFIXES, open_slide, read_size
from histoseek.items import MPP_RANGE, Item, Manifest, Skipped, check_table, sha256_of, table_of

Progress = Callable[[int, int], None]
MAX_THREADS = 8
BATCH = 1024
"""Files measured between two rounds of handing out work: bounds the queue for millions of files."""


@dataclass(frozen=True)
class Prepared:
    """What `prepare_with_report` gives: the manifest, what was left out and why, and the counts."""

    manifest: Manifest
    skipped: tuple[Skipped, ...]
    summary: Summary


class _Measure(NamedTuple):
    width: int
    height: int
    mpp: float | None
    sha256: str


def prepare(
    name: str, source: str | Path, /, *, mpp: float | None = None, progress: Progress | None = None, **options: Any
) -> Manifest:
    """Make a manifest of a dataset as it lies on disk; images are neither copied nor changed.

    `name` is a dataset ("bracs", "crc", "bach", "folder", "csv", …), `source` its folder (or table, for "csv"),
    `mpp` the µm per pixel of every image where the user knows better, `progress` is called with (done, total), and
    `options` are the dataset's own, which `find_dataset(name).options` lists, and those of `TileSettings`: whole slides
    are cut into tiles.

    Raises:
        InputError: no such dataset, option or folder, an impossible `mpp`, or nothing found.
    """
    return prepare_with_report(name, source, mpp=mpp, progress=progress, **options).manifest


def prepare_with_report(
    name: str, source: str | Path, /, *, mpp: float | None = None, progress: Progress | None = None, **options: Any
) -> Prepared:
    """As `prepare`, with the skipped files and the summary."""
    dataset = find_dataset(name)
    own, cutting = _divided(dataset, options)
    chosen = dataset.read_options(own)
    cutting = read_values(TileSettings, cutting)
    TileSettings(**cutting)  # what is wrong with them is told before a long look at the disk
    _check_mpp(mpp)
    folder = _existing(dataset, Path(source))
    scan = dataset.scan(folder, **chosen)
    root = (scan.root or folder).absolute()
    items, twice = _first_of_each(scan.items)
    slides = [item for item in items if is_whole_slide(item, scan)]
    if items and not slides:
        _no_cutting(cutting, dataset, folder)
    flat, unreadable = _measured([item for item in items if not is_whole_slide(item, scan)], root, mpp, progress)
    tables, notes = [table_of(flat)] if flat else [], list(scan.notes)
    settings = TileSettings(**{**scan.tiling, **cutting})
    if slides:
        tiled = tile_slides(slides, root, settings, mpp, progress)
        tables += [tiled.table] if tiled.table.num_rows else []
        unreadable += tiled.skipped
        notes += tiled.notes
    skipped = (*scan.skipped, *twice, *unreadable)
    if not tables:
        raise InputError(_nothing_found(dataset, folder, skipped))
    scan = replace(scan, notes=notes)
    facts = _facts(dataset, chosen, scan) | (_cutting_facts(settings) if slides else {})
    table = check_table(pa.concat_tables(tables, promote_options="permissive"), "the manifest")
    manifest = Manifest(table, root.resolve(), facts)
    return Prepared(manifest, skipped, summarise(dataset.title, manifest, scan, skipped, slides))


def tile_options() -> tuple[Option, ...]:
    """The settings of cutting slides into tiles, which every dataset has beside its own."""
    return options_of(TileSettings)


def _divided(dataset: Dataset, options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The dataset's own options, and those of cutting slides into tiles, which every dataset has."""
    known = {option.name for option in tile_options()} - {option.name for option in dataset.options}
    cutting = {name: value for name, value in options.items() if name in known}
    return {name: value for name, value in options.items() if name not in known}, cutting


def _no_cutting(cutting: dict[str, Any], dataset: Dataset, source: Path) -> None:
    """Refuse what would have no effect; a place for the work does no harm."""
    told = [name for name, value in cutting.items() if name != "work_dir" and value not in (None, False)]
    if told:
        raise InputError(
            f"option {told[0]!r} is for slides, and the dataset {dataset.name!r} has found none in {source}; leave it "
            f"out, or take every file as a slide with the dataset 'slides'"
        )


def _cutting_facts(settings: TileSettings) -> dict[str, Any]:
    names = ("tile_px", "tile_mpp", "overlap", "tissue", "cover", "outside", "labels")
    return {"tiles": {name: getattr(settings, name) for name in names}}


def _check_mpp(mpp: float | None) -> None:
    low, high = MPP_RANGE
    if mpp is not None and not low <= mpp <= high:
        raise InputError(f"mpp is {mpp:g}, outside {low:g}–{high:g} µm per pixel; 0.5 is about a 20× objective")


def _existing(dataset: Dataset, source: Path) -> Path:
    if not source.exists():
        raise InputError(f"there is no {source}; pass the place of {dataset.looks_for}")
    if dataset.takes == "either" and source.suffix.lower() in (".parquet", ".csv"):
        return source
    wants_file = dataset.takes == "file"
    if wants_file and not source.is_file():
        raise InputError(f"{source} is a folder; pass {dataset.looks_for}, or use the dataset 'folder'")
    if not wants_file and not source.is_dir():
        raise InputError(
            f"{source} is a file; unpack it if it is an archive, and pass the folder of {dataset.looks_for}"
        )
    return source


def _nothing_found(dataset: Dataset, source: Path, skipped: tuple[Skipped, ...]) -> str:
    first = f" {len(skipped)} files were skipped, the first because: {skipped[0].reason}." if skipped else ""
    return (
        f"nothing of {dataset.title} was found in {source}, looking for {dataset.looks_for}.{first} "
        "Pass the folder that the download was unpacked to, or read any folder of images with the dataset 'folder'"
    )


def _first_of_each(items: Iterable[Item]) -> tuple[list[Item], list[Skipped]]:
    """Keep the first item of each id; a second one is a copy of the folder, not another image."""
    kept: dict[str, Item] = {}
    skipped = []
    for item in items:
        first = kept.setdefault(item.id, item)
        if first is not item:
            skipped.append(Skipped(item.path, f"the name {item.id} is taken already by {first.path}"))
    return list(kept.values()), skipped


def _measured(
    items: list[Item], root: Path, mpp: float | None, progress: Progress | None
) -> tuple[list[Item], list[Skipped]]:
    """Size, scale and digest of every image."""
    paths = list(dict.fromkeys(item.path for item in items))
    found = _measure_all(paths, root, progress)
    kept, skipped = [], []
    for item in items:
        measure = found[item.path]
        if isinstance(measure, Skipped):
            skipped.append(Skipped(item.id, measure.reason))
        elif reason := _outside(item, measure):
            skipped.append(Skipped(item.id, reason))
        else:
            kept.append(_with_scale(_with_measure(item, measure), measure, mpp))
    return kept, skipped


def is_whole_slide(item: Item, scan: Scan) -> bool:
    """Whether an item is to be cut into tiles: a whole slide, and not a box inside one."""
    return item.box is None and (scan.only_slides or PurePosixPath(item.path).suffix.lower() in SLIDE_SUFFIXES)


def _measure_all(paths: list[str], root: Path, progress: Progress | None) -> dict[str, _Measure | Skipped]:
    found: dict[str, _Measure | Skipped] = {}
    with ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1)) as pool:
        for start in range(0, len(paths), BATCH):
            batch = paths[start : start + BATCH]
            for path, measure in zip(batch, pool.map(lambda path: _measure(root, path), batch), strict=True):
                found[path] = measure
                if progress is not None:
                    progress(len(found), len(paths))
    return found


def _measure(root: Path, path: str) -> _Measure | Skipped:
    try:
        width, height, mpp = _size_of(root / path)
        return _Measure(width, height, mpp, sha256_of(root / path))
    except ImageError as error:
        return Skipped(path, str(error).replace(str(root / path), path))
    except OSError as error:
        return Skipped(path, f"{path} cannot be read: {error.strerror}")


def _size_of(path: Path) -> tuple[int, int, float | None]:
    if path.suffix.lower() not in SLIDE_SUFFIXES:
        return read_size(path)
    with closing(open_slide(path)) as slide:
        return (*slide.size, slide.mpp)


def _outside(item: Item, measure: _Measure) -> str | None:
    box = item.box
    if box is None or (box.x + box.width <= measure.width and box.y + box.height <= measure.height):
        return None
    return f"the box {tuple(box)} is not inside the {measure.width} × {measure.height} image"


def _with_measure(item: Item, measure: _Measure) -> Item:
    width, height = (measure.width, measure.height) if item.box is None else item.box[2:]
    return replace(item, width=width, height=height, sha256=measure.sha256)


def _with_scale(item: Item, measure: _Measure, mpp: float | None) -> Item:
    """The user's word counts most, then the dataset's, then the file's tag unless it is a placeholder."""
    if mpp is not None:
        return replace(item, mpp=mpp, mpp_source="user")
    if item.mpp is not None or measure.mpp is None:
        return item
    low, high = MPP_RANGE
    return replace(item, mpp=measure.mpp, mpp_source="file") if low <= measure.mpp <= high else item


def _facts(dataset: Dataset, options: dict[str, Any], scan: Scan) -> dict[str, Any]:
    return {
        "dataset": dataset.name,
        "title": dataset.title,
        "licence": dataset.licence,
        "source": dataset.source,
        "options": {name: value if isinstance(value, int | float) else str(value) for name, value in options.items()},
        "notes": list(scan.notes),
        "histoseek": histoseek.__version__,
    }
