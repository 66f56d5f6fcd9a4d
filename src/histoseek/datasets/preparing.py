"""Prepare: a dataset's folder becomes a manifest, a list of what was skipped and a summary."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import histoseek
from histoseek.datasets.dataset import Dataset, Scan
from histoseek.datasets.known import find_dataset
from histoseek.datasets.summary import Summary, summarise
from histoseek.datasets.tiling import tile_slides
from histoseek.errors import ImageError, InputError
from histoseek.imaging import SLIDE_SUFFIXES, read_size
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
    `options` are the dataset's own; `find_dataset(name).options` lists them.

    Raises:
        InputError: no such dataset, option or folder, an impossible `mpp`, or nothing found.
    """
    return prepare_with_report(name, source, mpp=mpp, progress=progress, **options).manifest


def prepare_with_report(
    name: str, source: str | Path, /, *, mpp: float | None = None, progress: Progress | None = None, **options: Any
) -> Prepared:
    """As `prepare`, with the skipped files and the summary."""
    dataset = find_dataset(name)
    chosen = dataset.read_options(options)
    _check_mpp(mpp)
    folder = _existing(dataset, Path(source))
    scan = dataset.scan(folder, **dataset.scan_options(chosen))
    root = (scan.root or folder).absolute()
    items, twice = _first_of_each(scan.items)
    settings = dataset.tile_settings(chosen)
    if settings is None:
        items, unreadable = _measured(items, root, mpp, progress)
        table = table_of(items)
    else:
        tiled = tile_slides(items, root, settings, mpp, progress)
        table, unreadable = tiled.table, tiled.skipped
        scan = replace(scan, notes=[*scan.notes, *tiled.notes])
    skipped = (*scan.skipped, *twice, *unreadable)
    if not table.num_rows:
        raise InputError(_nothing_found(dataset, folder, skipped))
    manifest = Manifest(check_table(table, "the manifest"), root.resolve(), _facts(dataset, chosen, scan))
    return Prepared(manifest, skipped, summarise(dataset.title, manifest, scan, skipped))


def _check_mpp(mpp: float | None) -> None:
    low, high = MPP_RANGE
    if mpp is not None and not low <= mpp <= high:
        raise InputError(f"mpp is {mpp:g}, outside {low:g}–{high:g} µm per pixel; 0.5 is about a 20× objective")


def _existing(dataset: Dataset, source: Path) -> Path:
    if not source.exists():
        raise InputError(f"there is no {source}; pass the place of {dataset.looks_for}")
    if dataset.takes == "either" and (source.is_dir() or source.suffix.lower() in (".parquet", ".csv")):
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
    """Size, scale and digest of every image; slides are left as they are."""
    paths = list(dict.fromkeys(item.path for item in items if not is_slide(item)))
    found = _measure_all(paths, root, progress)
    kept, skipped = [], []
    for item in items:
        measure = None if is_slide(item) else found[item.path]
        if isinstance(measure, Skipped):
            skipped.append(Skipped(item.id, measure.reason))
        elif measure is not None and (reason := _outside(item, measure)):
            skipped.append(Skipped(item.id, reason))
        else:
            kept.append(_with_scale(_with_measure(item, measure), measure, mpp))
    return kept, skipped


def is_slide(item: Item) -> bool:
    """Whether an item's pixels lie in a whole-slide file."""
    return PurePosixPath(item.path).suffix.lower() in SLIDE_SUFFIXES


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
        width, height, mpp = read_size(root / path)
        return _Measure(width, height, mpp, sha256_of(root / path))
    except ImageError as error:
        return Skipped(path, str(error).replace(str(root / path), path))
    except OSError as error:
        return Skipped(path, f"{path} cannot be read: {error.strerror}")


def _outside(item: Item, measure: _Measure) -> str | None:
    box = item.box
    if box is None or (box.x + box.width <= measure.width and box.y + box.height <= measure.height):
        return None
    return f"the box {tuple(box)} is not inside the {measure.width} × {measure.height} image"


def _with_measure(item: Item, measure: _Measure | None) -> Item:
    if measure is None:
        return item
    width, height = (measure.width, measure.height) if item.box is None else item.box[2:]
    return replace(item, width=width, height=height, sha256=measure.sha256)


def _with_scale(item: Item, measure: _Measure | None, mpp: float | None) -> Item:
    """The user's word counts most, then the dataset's, then the file's tag unless it is a placeholder."""
    if mpp is not None:
        return replace(item, mpp=mpp, mpp_source="user")
    if item.mpp is not None or measure is None or measure.mpp is None:
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
