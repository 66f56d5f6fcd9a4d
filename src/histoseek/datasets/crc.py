"""Colorectal cancer grading (Warwick TIA): the extended set of 300 images, the older 139, and working copies.

Patients are those of the extended set everywhere: patient 1 of the older set is its patient 141. Folds are the
published, patient-disjoint ones; the folds of working copies of the older set are not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from histoseek.datasets.crc_names import NamedImage, read_name
from histoseek.datasets.dataset import Dataset, Published, Scan
from histoseek.datasets.tables import read_fact
from histoseek.datasets.walk import IMAGE_SUFFIXES, walk
from histoseek.errors import InputError
from histoseek.items import Item, Skipped

FACTS = "extended_crc_folds.csv"
LABELS = {1: "Normal", 2: "Low grade", 3: "High grade"}
MPP = 0.5


def scan(source: Path, *, folds: Literal["official", "folders"] = "official", test_fold: int | None = None) -> Scan:
    """Find images under any of their names, with grade, patient and fold.

    `folds` "folders" takes the fold from `fold_k` folders instead of the published table; `test_fold` 0, 1 or 2
    makes that fold the test split and the others train.
    """
    if test_fold not in (None, 0, 1, 2):
        raise InputError(f"test_fold is {test_fold}; the folds are 0, 1 and 2")
    tree = walk(source)
    official = {row["Image_Names"]: int(row["Fold_Ids"]) for row in read_fact(FACTS)}
    by_patient = {read_name(name).patient: fold for name, fold in official.items()}
    found = [read_name(file) for file in tree.with_suffix(IMAGE_SUFFIXES)]
    images = [image for image in found if image.grade is not None]
    strangers = [Skipped(image.file, _STRANGE) for image in found if image.grade is None]
    kept, twice = _without_copies(images)
    items = [_item(image, _fold(image, by_patient, folds), test_fold) for image in kept]
    notes = [
        *_copy_notes(twice),
        *_name_notes(kept),
        *_fold_notes(kept, by_patient, folds),
        *_table_notes(kept, official),
    ]
    return Scan(items, [*tree.skipped, *strangers, *twice], notes, _published(kept))


_STRANGE = (
    "not a name of the CRC grading sets, such as Grade2_Patient_007_029810_066073.png or Patient_001_02_Low-Grade.png"
)


def _without_copies(images: list[NamedImage]) -> tuple[list[NamedImage], list[Skipped]]:
    """Drop images of the older set whose renumbered copy in the extended set is here too."""
    extended = {image.canonical: image.file for image in images if image.scheme == "extended"}
    kept, twice = [], []
    for image in images:
        if image.scheme == "old" and image.canonical in extended:
            twice.append(Skipped(image.file, f"the same image as {extended[image.canonical]} of the extended set"))
        else:
            kept.append(image)
    return kept, twice


def _fold(image: NamedImage, by_patient: dict[int | None, int], folds: str) -> int | None:
    if folds == "folders" or image.patient is None:
        return image.folder_fold
    return by_patient.get(image.patient)


def _item(image: NamedImage, fold: int | None, test_fold: int | None) -> Item:
    split = None if test_fold is None or fold is None else ("test" if fold == test_fold else "train")
    group, group_source = _group(image)
    return Item(
        id=f"crc/{image.name}",
        path=image.file,
        dataset="crc",
        label=LABELS[image.grade or 0],
        group=group,
        group_source=group_source,
        slide=image.slide,
        case=image.case,
        split=split,
        fold=fold,
        mpp=MPP,
        mpp_source="nominal-20x",
        extra={"grade": image.grade, "naming": image.scheme},
    )


def _group(image: NamedImage) -> tuple[str, str]:
    if image.patient is not None:
        return f"crc-P{image.patient:03d}", "patient"
    if image.case is not None:
        return f"crc-{image.case}", "case"
    return "", ""


def _copy_notes(twice: list[Skipped]) -> Iterator[str]:
    if twice:
        yield (
            f"both sets are here: {len(twice)} images of the older set are in the extended one under another name "
            "(patient + 140) and were left out; the older set's own remain, under the extended set's patients"
        )


def _name_notes(images: list[NamedImage]) -> Iterator[str]:
    schemes = Counter(image.scheme for image in images)
    if schemes["tia"] and schemes["tia"] != len(images):
        yield (
            f"{schemes['tia']} images carry case names (H09-…): they are the older set again, and no table joins them "
            "to its patients; keep them apart, or copies will meet"
        )
    if schemes["folder"]:
        yield f"{schemes['folder']} images have only a class folder: no patient is known, each is a group of its own"
    wrong = [image.file for image in images if image.folder_grade not in (None, image.grade)]
    if wrong:
        yield f"{len(wrong)} images lie in the folder of another class ({wrong[0]}, …): the name counts"


def _fold_notes(images: list[NamedImage], by_patient: dict[int | None, int], folds: str) -> Iterator[str]:
    """What the `fold_k` folders would do, and whether they are used."""
    placed = [image for image in images if image.folder_fold is not None and image.patient is not None]
    seen: dict[int | None, set[int | None]] = {}
    for image in placed:
        seen.setdefault(image.patient, set()).add(image.folder_fold)
    torn = sorted(patient for patient, found in seen.items() if len(found) > 1 and patient is not None)
    if torn:
        names = ", ".join(f"crc-P{patient:03d}" for patient in torn[:3])
        yield f"the fold folders tear {len(torn)} patients apart ({names}, …)" + (
            "; the fold column follows them, as you asked"
            if folds == "folders"
            else ": the fold column follows the published patient-level folds instead"
        )
    moved = sum(by_patient.get(image.patient) != image.folder_fold for image in placed)
    if moved and folds == "official":
        yield f"{moved} images lie in a fold folder that is not their published fold; to follow it: -o folds=folders"


def _table_notes(images: list[NamedImage], official: dict[str, int]) -> Iterator[str]:
    unknown = [image.name for image in images if image.scheme == "extended" and image.name not in official]
    if unknown:
        yield f"{len(unknown)} images are not in the published list ({unknown[0]}, …)"
    if images and all(image.scheme == "old" for image in images):
        yield "this is the older set of 139 images: patients carry their numbers of the extended set (patient + 140)"


def _published(images: list[NamedImage]) -> Published | None:
    schemes = {image.scheme for image in images}
    if "extended" in schemes:
        return _EXTENDED
    return _OLD if schemes and schemes <= {"old"} else None


_EXTENDED = Published(
    source="the extended set's fold table",
    by="fold",
    counts={str(fold): dict(zip(LABELS.values(), (40, 40, 20), strict=True)) for fold in range(3)},
    groups={"patient": {"0": 36, "1": 34, "2": 33, "all": 103}},
)
_OLD = Published(
    source="the older set, as counted in HAT-Net",
    counts={"all": dict(zip(LABELS.values(), (71, 33, 35), strict=True))},
    groups={"patient": {"all": 38}},
)

DATASET = Dataset(
    name="crc",
    title="Colorectal cancer grading (Warwick)",
    licence="not stated; its sister set GlaS is for non-commercial research only",
    source="https://warwick.ac.uk/fac/cross_fac/tia/data/extended_crc_grading/",
    about="colon, normal, low and high grade: 300 images of 103 patients in 3 folds, and the older 139 of 38",
    looks_for="a folder with names like Grade2_Patient_007_029810_066073.png (extended set), "
    "Patient_001_02_Low-Grade.png (older set) or fold_1/2_low_grade/…",
    scan=scan,
    aliases=("extended-crc",),
)
