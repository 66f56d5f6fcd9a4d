"""A folder of whole slides, or a manifest of them: labels and patients as for a folder of images, then tiles."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from histoseek.datasets.dataset import Dataset, Scan
from histoseek.datasets.layout import grouped_by, items_by_folder, layout_notes
from histoseek.datasets.sidecar import with_sidecar
from histoseek.datasets.slide_files import one_of_each_series
from histoseek.datasets.walk import walk
from histoseek.imaging import SLIDE_SUFFIXES, TIFF_SUFFIXES
from histoseek.items import Manifest


def scan(
    source: Path,
    *,
    group: str | None = None,
    sidecar: Path | None = None,
    label: Literal["folder", "none"] = "folder",
    dataset: str = "slides",
) -> Scan:
    """Find every slide; other images are passed over.

    `source` may also be a manifest (Parquet or CSV) whose rows are slides: its columns go on to the tiles.
    `group` is a regular expression over the relative path whose group `group`, else its first one, is the patient or
    case; `sidecar` is a CSV with a column `file` and any of label, group, patient, case, slide, split, fold, mpp,
    caption, whose other columns are kept too; `label` says whether the first folder that tells slides apart is their
    label; `dataset` is what the dataset and its ids shall be called.
    """
    if source.is_file():
        manifest = Manifest.read(source)
        return Scan([item for item in manifest if item.box is None], root=manifest.root, only_slides=True)
    tree = walk(source)
    files, notes = one_of_each_series(source, tree.with_suffix(SLIDE_SUFFIXES | TIFF_SUFFIXES))
    items = items_by_folder(files, dataset, label)
    notes += layout_notes(items, label)
    if group is not None:
        items, more = grouped_by(items, group)
        notes += more
    items, more = with_sidecar(items, source, tree, sidecar)
    return Scan(items, tree.skipped, notes + more, only_slides=True)


DATASET = Dataset(
    name="slides",
    title="Whole slides",
    licence="yours",
    source="",
    about="any whole slides, cut into tiles where there is tissue",
    looks_for="whole slides (.svs .ndpi .mrxs .scn .bif .czi .dcm .tif …), or a manifest of them",
    scan=scan,
    takes="either",
)
