"""BRACS: breast carcinoma subtyping, the RoI set (both releases) and the tree of whole slides.

The label is the code in a file's name. The digit of its folder is never read: `3_FEA, 4_ADH` of the latest release
were `3_ADH, 4_FEA` before.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from histoseek.datasets.bracs_table import SlideTable, find_slide_table
from histoseek.datasets.dataset import Dataset, Published, Scan
from histoseek.datasets.leaks import Repair, repair_splits
from histoseek.datasets.walk import IMAGE_SUFFIXES, Walk, name_of, walk
from histoseek.items import Item, Skipped

Release = Literal["latest", "previous"]
LABELS = ("N", "PB", "UDH", "FEA", "ADH", "DCIS", "IC")
COARSE = {"N": "BT", "PB": "BT", "UDH": "BT", "FEA": "AT", "ADH": "AT", "DCIS": "MT", "IC": "MT"}
MPP = 0.25

_CODE = "|".join(LABELS)
_ROI = re.compile(rf"BRACS_(?P<slide>\d+)_(?P<label>{_CODE})_(?P<roi>\d+)\.png", re.IGNORECASE)
_WSI = re.compile(r"BRACS_(?P<slide>\d+)\.svs", re.IGNORECASE)
_CLASS = re.compile(rf"(?P<digit>[0-6])_(?P<label>{_CODE})", re.IGNORECASE)
_TYPE = re.compile(rf"Type_(?P<label>{_CODE})", re.IGNORECASE)
_SPLITS = {"train": "train", "training": "train", "val": "val", "validation": "val", "test": "test", "testing": "test"}
_LAYOUT = re.compile(rf"{'|'.join(_SPLITS)}|[0-6]_({_CODE})|Group_(BT|AT|MT)|Type_({_CODE})", re.IGNORECASE)
_DIGITS: dict[tuple[str, str], Release] = {
    ("3", "FEA"): "latest",
    ("4", "ADH"): "latest",
    ("3", "ADH"): "previous",
    ("4", "FEA"): "previous",
}


@dataclass(frozen=True)
class _Found:
    """One file, with what its name and its folders say."""

    file: str
    slide: int
    label: str
    split: str | None
    place: str
    folder_label: str | None


def scan(
    source: Path,
    *,
    subset: Literal["roi", "wsi"] | None = None,
    release: Release | None = None,
    repair: Repair = "no",
    xlsx: Path | None = None,
) -> Scan:
    """Find RoIs (or slides when there are none), their official splits and, through BRACS.xlsx, their patients.

    `release` chooses among RoI releases, the latest unless only the previous one is there; `repair` says what to do
    with patients in more than one official split; `xlsx` is BRACS.xlsx where it is not in or above the folder.
    """
    tree = walk(source)
    table, notes = find_slide_table(source, tree, xlsx)
    rois, slides = _rois(source, tree), _slides(source, tree)
    published: Published | None = WSI_COUNTS
    if subset == "wsi" or (subset is None and slides and not rois):
        chosen, items = slides, [_item(found, table, None) for found in slides]
        notes += [f"{len(rois)} RoIs are here too: left out; take them with -o subset=roi"] if rois else []
    else:
        chosen, picked, more = _one_release(source, rois, release)
        items = [_item(found, table, picked) for found in chosen]
        published = ROI_COUNTS if picked == "latest" else None  # the previous release came without a table
        notes += more
        notes += [f"{len(slides)} slides are here too: left out; take them with -o subset=wsi"] if slides else []
    notes += [*_label_notes(chosen), *_group_notes(items, table), *_split_notes(chosen, table)]
    items, repaired = repair_splits(items, repair)
    return Scan(items, [*tree.skipped, *_strangers(tree)], notes + repaired, published)


def _rois(source: Path, tree: Walk) -> list[_Found]:
    matches = ((file, _ROI.fullmatch(name_of(file))) for file in tree.with_suffix({".png"}))
    return [_found(source, file, match["slide"], match["label"]) for file, match in matches if match]


def _slides(source: Path, tree: Walk) -> list[_Found]:
    matches = ((file, _WSI.fullmatch(name_of(file))) for file in tree.with_suffix({".svs"}))
    return [_found(source, file, match["slide"], "") for file, match in matches if match]


def _found(source: Path, file: str, slide: str, label: str) -> _Found:
    """Read split and class from the folders, also from those above a source that starts deep in the tree."""
    above = source.absolute().parts[-6:]
    own = next((i for i, part in enumerate(reversed(above)) if not _LAYOUT.fullmatch(part)), len(above))
    parts = [*above, *PurePosixPath(file).parent.parts]
    inside = range(len(above) - own, len(parts))
    at = next((i for i in reversed(inside) if parts[i].lower() in _SPLITS), None)
    split = None if at is None else _SPLITS[parts[at].lower()]
    pattern = _CLASS if label else _TYPE
    folders = [match for part in parts[at or 0 :] if (match := pattern.fullmatch(part))]
    folder_label = folders[-1]["label"].upper() if folders else None
    place = "/".join(parts[:at])
    return _Found(file, int(slide), label.upper() or folder_label or "", split, place, folder_label)


def _one_release(source: Path, rois: list[_Found], wanted: Release | None) -> tuple[list[_Found], Release, list[str]]:
    """The RoIs of one release; the other's names repeat them."""
    releases = _releases(source, rois)
    present = Counter(releases[found.place] for found in rois)
    release: Release = wanted or ("latest" if present["latest"] or not rois else "previous")
    notes = []
    for other, number in present.items():
        if other != release:
            notes.append(f"the {other} release is here too ({number} RoIs): left out; take it with -o release={other}")
    if release == "previous" and present["previous"]:
        notes.append("the previous release has no published table; its makers' paper speaks of about 4391 RoIs")
    return [found for found in rois if releases[found.place] == release], release, notes


def _releases(source: Path, rois: list[_Found]) -> dict[str, Release]:
    """Which release each place holds: by its folder's name, else by the order of FEA and ADH."""
    digits: dict[str, Counter[Release]] = {found.place: Counter() for found in rois}
    for found in rois:
        for part in PurePosixPath(found.file).parent.parts or source.absolute().parts[-1:]:
            match = _CLASS.fullmatch(part)
            if match and (told := _DIGITS.get((match["digit"], match["label"].upper()))):
                digits[found.place][told] += 1
    return {place: _release_of(place, counted) for place, counted in digits.items()}


def _release_of(place: str, digits: Counter[Release]) -> Release:
    named = [part.lower() for part in place.split("/")]
    if any(part.startswith("previous") or part.startswith("version1") for part in named):
        return "previous"
    if any(part.startswith("latest") for part in named):
        return "latest"
    return "previous" if digits["previous"] > digits["latest"] else "latest"


def _item(found: _Found, table: SlideTable | None, release: Release | None) -> Item:
    patient = table.patients.get(found.slide) if table else None
    slide = name_of(found.file).upper().split("_")[1].removesuffix(".SVS")
    extra: dict[str, str | int | float | bool | None] = {"coarse_label": COARSE.get(found.label)}
    return Item(
        id=f"bracs/{name_of(found.file)}",
        path=found.file,
        dataset="bracs",
        label=found.label or None,
        group=f"BRACS-P{patient}" if patient is not None else f"BRACS_{found.slide}",
        group_source="patient" if patient is not None else "slide",
        slide=f"BRACS_{slide}",
        split=found.split,
        mpp=MPP,
        mpp_source="dataset-doc",
        extra=extra if release is None else {**extra, "release": release},
    )


def _label_notes(found: list[_Found]) -> Iterator[str]:
    wrong = [one for one in found if one.folder_label not in (None, one.label)]
    if wrong:
        first = wrong[0]
        yield (
            f"{len(wrong)} files lie in the folder of another class (the first: {first.file}): the name counts, "
            f"{first.label}"
        )
    lost = sum(one.split is None for one in found)
    if lost:
        yield f"{lost} files lie in no train, val or test folder: they have no split"


def _group_notes(items: list[Item], table: SlideTable | None) -> Iterator[str]:
    slides = {item.group for item in items if item.group_source == "slide"}
    if not items or not slides:
        return
    if table is None:
        yield (
            f"BRACS.xlsx not found: group is the slide ({len(slides)} groups, more than there are patients); "
            "put BRACS.xlsx beside the images or pass -o xlsx=PATH"
        )
    else:
        yield f"{len(slides)} slides are not in {table.name} ({min(slides)}, …): their group is the slide"


def _split_notes(found: list[_Found], table: SlideTable | None) -> Iterator[str]:
    if table is None:
        return
    wrong = {
        one.slide: f"BRACS_{one.slide}: folder {one.split}, table {table.splits[one.slide]}"
        for one in found
        if one.split is not None and table.splits.get(one.slide, one.split) != one.split
    }
    if wrong:
        shown = "; ".join(wrong[slide] for slide in sorted(wrong)[:3])
        yield f"{len(wrong)} slides are in another split than {table.name} says ({shown}): the folder counts"


def _strangers(tree: Walk) -> list[Skipped]:
    reason = "not a name of BRACS, such as BRACS_264_N_5.png or BRACS_1228.svs"
    candidates = tree.with_suffix(IMAGE_SUFFIXES | {".svs"})
    return [
        Skipped(file, reason)
        for file in candidates
        if not (_ROI.fullmatch(name_of(file)) or _WSI.fullmatch(name_of(file)))
    ]


def _table(rows: dict[str, str]) -> dict[str, dict[str, int]]:
    return {split: dict(zip(LABELS, map(int, row.split()), strict=True)) for split, row in rows.items()}


ROI_COUNTS = Published(
    source="BRACS official table",
    noun="RoIs",
    by="split",
    counts=_table(
        {"train": "357 714 389 624 387 665 521", "val": "46 43 46 49 41 40 47", "test": "81 79 82 83 79 85 81"}
    ),
    groups={
        "patient": {"train": 106, "val": 15, "test": 30, "all": 151},
        "slide": {"train": 281, "val": 37, "test": 69, "all": 387},
    },
)
WSI_COUNTS = Published(
    source="BRACS official table",
    noun="slides",
    by="split",
    counts=_table({"train": "27 120 56 24 28 40 100", "val": "10 11 9 6 8 9 12", "test": "7 16 9 11 12 12 20"}),
    groups={"patient": {"train": 133, "val": 25, "test": 31}},
)

DATASET = Dataset(
    name="bracs",
    title="BRACS",
    licence="CC BY-NC 4.0 (an older page said CC0; check the site)",
    source="https://www.bracs.icar.cnr.it/",
    about="breast, 7 subtypes from normal to invasive carcinoma: 4539 RoIs, 547 slides, 189 patients",
    looks_for="a folder with names like BRACS_264_N_5.png in train, val and test (BRACS_RoI/latest_version) or "
    "BRACS_1228.svs (BRACS_WSI)",
    scan=scan,
)
