"""The whole slides of BACH: ten with annotations, twenty without, and the challenge's test slides."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from histoseek.datasets.dataset import Scan
from histoseek.datasets.walk import Walk, name_of
from histoseek.items import Item, Skipped

MPP = 0.467
"""By the challenge's page; a slide's own statement counts more."""

OUTSIDE = "Normal"
"""What is not annotated on an annotated slide, by the challenge's page."""

TEST_FOLDER = "testdataset"
UNLABELLED = "unlabelled"

_SLIDE = re.compile(r"(?P<id>A(?:0[1-9]|10)|0[1-9]|1\d|20)\.svs", re.IGNORECASE)


def scan_slides(source: Path, tree: Walk) -> Scan:
    """Find A01–A10 with their annotations, 01–20, and every slide of the test set."""
    items, strangers = [], []
    for file in tree.with_suffix({".svs"}):
        match = _SLIDE.fullmatch(name_of(file))
        if _is_test(file, source):
            items.append(_item(file, f"test-{PurePosixPath(file).stem}", UNLABELLED))
        elif match:
            items.append(_item(file, match["id"].upper(), None))
        else:
            strangers.append(Skipped(file, "not a name of BACH's slides, such as A01.svs or 12.svs"))
    notes = list(_notes(source, items))
    return Scan(items, [*tree.skipped, *strangers], notes, tiling={"labels": "bach", "outside": OUTSIDE})


def _is_test(file: str, source: Path) -> bool:
    """By its folder, which is `ICIAR2018_BACH_Challenge_TestDataset` as downloaded; its slides' names are not known."""
    return any(TEST_FOLDER in part.lower() for part in (*source.absolute().parts[-2:], *PurePosixPath(file).parts[:-1]))


def _item(file: str, name: str, split: str | None) -> Item:
    return Item(
        id=f"bach/{name}.svs",
        path=file,
        dataset="bach",
        group=f"BACH-{name}",
        group_source="slide",
        slide=name,
        split=split,
        mpp=MPP,
        mpp_source="dataset-doc",
    )


def _notes(source: Path, items: list[Item]) -> Iterator[str]:
    if not items:
        return
    yield "the patients of the slides are not published: each slide is a group of its own"
    annotated = [item for item in items if item.slide and item.slide.startswith("A")]
    lost = [item.path for item in annotated if not (source / item.path).with_suffix(".xml").is_file()]
    if annotated:
        yield f"{len(annotated) - len(lost)} slides are annotated: what no annotation covers there is {OUTSIDE}"
    if lost:
        yield f"{len(lost)} slides lack their .xml ({lost[0]}, …): they have no labels unless -o annotations says where"
