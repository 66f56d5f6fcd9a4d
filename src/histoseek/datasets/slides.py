"""A folder of whole slides, or a manifest of them: labels and patients as for a folder of images, then tiles."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal

from histoseek.datasets import folder
from histoseek.datasets.dataset import Dataset, Scan
from histoseek.datasets.tiling import TileSettings
from histoseek.imaging import SLIDE_SUFFIXES, TIFF_SUFFIXES
from histoseek.items import Item, Manifest


def scan(
    source: Path,
    *,
    group: str | None = None,
    sidecar: Path | None = None,
    label: Literal["folder", "none"] = "folder",
    dataset: str = "slides",
) -> Scan:
    """List every slide of a folder, with label, group and table as the dataset `folder` has them.

    `source` may also be a manifest whose rows are slides, as `prepare bracs -o subset=wsi` writes: its columns go on to
    the tiles.
    """
    if source.is_file():
        manifest = Manifest.read(source)
        slides = [item for item in manifest if item.box is None]
        return Scan(_named(slides), notes=list(manifest.facts.get("notes", ())), root=manifest.root)
    found = folder.scan(source, group=group, sidecar=sidecar, label=label, dataset=dataset)
    slides, notes = _one_of_each_series([item for item in found.items if _may_be_slide(item)])
    return Scan(_named(slides), found.skipped, [*found.notes, *notes])


def _may_be_slide(item: Item) -> bool:
    return PurePosixPath(item.path).suffix.lower() in SLIDE_SUFFIXES | TIFF_SUFFIXES


def _one_of_each_series(items: list[Item]) -> tuple[list[Item], list[str]]:
    """DICOM spreads the levels of a slide over files: OpenSlide finds them from any one in the folder."""
    kept: list[Item] = []
    folders: set[str] = set()
    for item in items:
        place = PurePosixPath(item.path)
        if place.suffix.lower() == ".dcm":
            if str(place.parent) in folders:
                continue
            folders.add(str(place.parent))
        kept.append(item)
    n_more = len(items) - len(kept)
    return kept, [
        f"{n_more} more .dcm files lie in folders with one: a folder is taken for one slide"
    ] if n_more else []


def _named(items: list[Item]) -> list[Item]:
    """Name each slide by its file's stem, or by its path where stems are not unique; without a group it is its own."""
    stems = Counter(PurePosixPath(item.path).stem for item in items)
    named = []
    for item in items:
        place = PurePosixPath(item.path)
        name = item.slide or (place.stem if stems[place.stem] == 1 else str(place.with_suffix("")))
        alone = item.group_source == "image" or not item.group
        named.append(
            replace(
                item,
                slide=name,
                group=name if alone else item.group,
                group_source="slide" if alone else item.group_source,
            )
        )
    return named


DATASET = Dataset(
    name="slides",
    title="Whole slides",
    licence="yours",
    source="",
    about="any whole slides, cut into tiles where there is tissue",
    looks_for="slides (.svs .ndpi .mrxs .scn .bif .czi .dcm .tif …), or a manifest of slides",
    scan=scan,
    takes="either",
    tiling=TileSettings,
)
