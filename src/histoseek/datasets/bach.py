"""BACH (ICIAR 2018, also written BATCH): breast microscopy photos in four classes.

Patients are known for 145 of the 400 photos. Nothing says that two unidentified photos come from different
patients, so all of them are one group that stays on the gallery's side.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from histoseek.datasets.bach_patients import Patients, Protocol, find_patients, split_of, unknown_patients
from histoseek.datasets.bach_slides import scan_slides
from histoseek.datasets.dataset import Dataset, Published, Scan
from histoseek.datasets.tables import read_text
from histoseek.datasets.walk import IMAGE_SUFFIXES, Walk, name_of, walk
from histoseek.items import Item, Skipped

LABELS = {"b": "Benign", "is": "InSitu", "iv": "Invasive", "n": "Normal"}
TRUTH = "microscopy_ground_truth.csv"
UNKNOWN, TEST_UNKNOWN = "BACH-UNKNOWN", "BACH-TEST-UNKNOWN"
UNLABELLED = "unlabelled"
"""Split of the challenge's test photos: queries whose answers nobody can judge."""

MPP = 0.42
PICTURES = frozenset({"thumbnails", "gt_thumbnails"})
"""Folders of small pictures of slides, with annotations drawn over: no tissue images."""

_PHOTO = re.compile(r"(?P<prefix>n|b|is|iv)(?P<number>\d{3})\.(?P<suffix>tiff?|png|jpe?g)", re.IGNORECASE)
_TEST = re.compile(r"test(?P<number>\d{1,2})\.(?:tiff?|png|jpe?g)", re.IGNORECASE)


class _Photo(NamedTuple):
    file: str
    prefix: str
    number: int

    @property
    def original(self) -> str:
        """The official name of a photo that carries this one's letters and number."""
        return f"{self.prefix}{self.number:03d}.tif"


def scan(
    source: Path,
    *,
    subset: Literal["photos", "wsi"] = "photos",
    protocol: Protocol = "eva",
    numbering: Literal["auto", "official", "zero-based"] = "auto",
    seed: int = 0,
) -> Scan:
    """Find labelled and test photos and join the partial patient table where the numbers are the official ones.

    `subset` "wsi" takes the whole slides instead, to which the other options do not apply.
    `protocol` "eva" divides as kaiko-ai/eva does (its val is our test), "patients" deals the identified patients
    by `seed` into 292/54/54 photos with everything unidentified in train, "none" sets no splits. `numbering` states
    on the user's word whether photos count from 001 ("official") or from 000.
    """
    tree = walk(source)
    if subset == "wsi":
        return scan_slides(source, tree)
    photos = list(_photos(tree))
    offset, notes = _offset(photos, numbering)
    patients, found = find_patients(source, tree) if offset is not None else (unknown_patients(), [])
    splits = split_of(patients, protocol, seed)
    items = [_item(photo, patients, splits, offset) for photo in photos]
    tests = [_test_item(file) for file in tree.with_suffix(IMAGE_SUFFIXES) if _TEST.fullmatch(name_of(file))]
    notes += [*found, *_folder_notes(photos), *_truth_notes(source, tree, photos)]
    if tests:
        notes.append(
            f"{len(tests)} test photos have no published labels: split {UNLABELLED!r}, searched with, never judged"
        )
    if slides := tree.with_suffix({".svs"}):
        notes.append(
            f"{len(slides)} whole slides are here too: left out, take them with -o subset=wsi; photos are details of "
            "them, never mix the two"
        )
    return Scan([*items, *tests], [*tree.skipped, *_strangers(tree)], notes, PUBLISHED)


def _photos(tree: Walk) -> Iterator[_Photo]:
    for file in tree.with_suffix(IMAGE_SUFFIXES):
        match = _PHOTO.fullmatch(name_of(file))
        if match and not _is_picture(file):
            yield _Photo(file, match["prefix"].lower(), int(match["number"]))


def _offset(photos: list[_Photo], numbering: str) -> tuple[int | None, list[str]]:
    """What to add to a photo's number to get the official one, None when the numbers prove nothing."""
    if numbering != "auto":
        return (0 if numbering == "official" else 1), [f"photos are numbered {numbering} on the user's word"]
    numbers = {photo.number for photo in photos}
    original = all(PurePosixPath(photo.file).suffix.lower() in (".tif", ".tiff") for photo in photos)
    if 0 not in numbers and (original or 100 in numbers):
        return 0, []
    why = "count from 000" if 0 in numbers else "are no original .tif files, so they may count from 000"
    note = (
        f"the photos {why}: this is a repack and the official patient table is not joined; no patient is known, so all "
        "stay on the gallery's side; if you can prove the numbering, pass -o numbering=zero-based or official"
    )
    return None, [note]


def _item(photo: _Photo, patients: Patients, splits: dict[str, str], offset: int | None) -> Item:
    original = None if offset is None else photo._replace(number=photo.number + offset).original
    patient = patients.of.get(original or "")
    return Item(
        id=f"bach/{name_of(photo.file)}",
        path=photo.file,
        dataset="bach",
        label=LABELS[photo.prefix],
        group=UNKNOWN if patient is None else f"BACH-P{patient}",
        group_source="unknown" if patient is None else "patient",
        split=splits.get(original or "", splits.get("")),
        mpp=MPP,
        mpp_source="dataset-doc",
    )


def _test_item(file: str) -> Item:
    return Item(
        id=f"bach/{name_of(file)}",
        path=file,
        dataset="bach",
        group=TEST_UNKNOWN,
        group_source="unknown",
        split=UNLABELLED,
        mpp=MPP,
        mpp_source="dataset-doc",
    )


def _folder_notes(photos: list[_Photo]) -> Iterator[str]:
    folders = {label.lower() for label in LABELS.values()}
    wrong = [
        photo.file
        for photo in photos
        if (folder := PurePosixPath(photo.file).parent.name.strip().lower()) in folders
        and folder != LABELS[photo.prefix].lower()
    ]
    if wrong:
        yield f"{len(wrong)} photos lie in the folder of another class ({wrong[0]}, …): the name counts"


def _truth_notes(source: Path, tree: Walk, photos: list[_Photo]) -> Iterator[str]:
    """Compare microscopy_ground_truth.csv, when it is there, with names and files."""
    tables = tree.named(TRUTH)
    if not tables:
        return
    lines = [line.strip().split(",") for line in read_text(source / tables[0]).splitlines() if line.strip()]
    truth = {row[0].strip(): row[1].strip() for row in lines if len(row) >= 2}
    here = {name_of(photo.file): LABELS[photo.prefix] for photo in photos}
    wrong = sorted(name for name in here if name in truth and truth[name].lower() != here[name].lower())
    missing, extra = sorted(set(truth) - set(here)), sorted(set(here) - set(truth))
    if wrong:
        yield f"{TRUTH} gives another class for {len(wrong)} photos ({wrong[0]}: {truth[wrong[0]]}): the name counts"
    if missing:
        yield f"{len(missing)} photos of {TRUTH} are not here ({missing[0]}, …): the download is incomplete"
    if extra:
        yield f"{len(extra)} photos are not in {TRUTH} ({extra[0]}, …)"


def _strangers(tree: Walk) -> list[Skipped]:
    reason = "not a name of BACH, such as b001.tif or test0.tif"
    return [
        Skipped(file, reason)
        for file in tree.with_suffix(IMAGE_SUFFIXES)
        if not (_PHOTO.fullmatch(name_of(file)) or _TEST.fullmatch(name_of(file)) or _is_picture(file))
    ]


def _is_picture(file: str) -> bool:
    return any(part.lower() in PICTURES for part in PurePosixPath(file).parts[:-1])


PUBLISHED = Published(
    source="BACH challenge page",
    noun="labelled photos",
    counts={"all": dict.fromkeys(LABELS.values(), 100)},
)

DATASET = Dataset(
    name="bach",
    title="BACH (ICIAR 2018)",
    licence="CC BY-NC-ND 4.0",
    source="https://zenodo.org/records/3632035",
    about="breast, 4 classes of 100 photos and 100 unlabelled ones; patients known for 145; 30 whole slides",
    looks_for="ICIAR2018_BACH_Challenge, with Photos/Benign/b001.tif and so on, and WSI/A01.svs",
    scan=scan,
    aliases=("batch",),
)
