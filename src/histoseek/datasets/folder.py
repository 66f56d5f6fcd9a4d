"""Any folder of images: class sub-folders or flat, groups by a pattern or from a table beside the images."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from histoseek.datasets.dataset import Dataset, Scan
from histoseek.datasets.layout import grouped_by, items_by_folder, layout_notes
from histoseek.datasets.sidecar import with_sidecar
from histoseek.datasets.slide_files import one_of_each_series
from histoseek.datasets.walk import IMAGE_SUFFIXES, walk
from histoseek.imaging import SLIDE_SUFFIXES


def scan(
    source: Path,
    *,
    group: str | None = None,
    sidecar: Path | None = None,
    label: Literal["folder", "none"] = "folder",
    dataset: str = "folder",
) -> Scan:
    """Find every image; the first folder that tells images apart is the label, train/val/test folders the split.

    `group` is a regular expression over the relative path whose group `group`, else its first one, is the patient or
    case; `sidecar` is a CSV with a column `file` and any of label, group, patient, case, slide, split, fold, mpp,
    caption, whose other columns are kept too; `dataset` is what the dataset and its ids shall be called.
    """
    tree = walk(source)
    files, notes = one_of_each_series(source, tree.with_suffix(IMAGE_SUFFIXES | SLIDE_SUFFIXES))
    items = items_by_folder(files, dataset, label)
    notes += layout_notes(items, label)
    if group is not None:
        items, more = grouped_by(items, group)
        notes += more
    items, more = with_sidecar(items, source, tree, sidecar)
    return Scan(items, tree.skipped, notes + more)


DATASET = Dataset(
    name="folder",
    title="Folder of images",
    licence="yours",
    source="",
    about="any images in class sub-folders or flat, with groups by a pattern or a table",
    looks_for="images (.png .jpg .tif .bmp .webp), flat or in class sub-folders",
    scan=scan,
)
