"""NCT-CRC-HE-100K and CRC-VAL-HE-7K: tiles of colorectal tissue in nine classes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from histoseek.datasets.dataset import Dataset, Published, Scan
from histoseek.datasets.walk import IMAGE_SUFFIXES, name_of, walk
from histoseek.items import Item, Skipped

Variant = Literal["norm", "nonorm"]
LABELS = ("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM")
_TILE = re.compile(rf"(?P<label>{'|'.join(LABELS)})-(?P<tcga>TCGA-)?[A-Z]{{8}}\.(?:tiff?|png)", re.IGNORECASE)


def scan(source: Path, *, variant: Variant | None = None) -> Scan:
    """Find tiles; those of the 7K set, whose names say TCGA, are the test split.

    `variant` chooses the colour-normalised 100K set ("norm") or the other, which has the same names.
    """
    tree = walk(source)
    matched = [(file, _TILE.fullmatch(name_of(file))) for file in tree.with_suffix(IMAGE_SUFFIXES)]
    train = {file: _variant(source, file) for file, match in matched if match and not match["tcga"]}
    chosen: Variant = variant or ("norm" if "norm" in train.values() or not train else "nonorm")
    items = [
        _item(file, match["label"].upper(), "test" if match["tcga"] else "train")
        for file, match in matched
        if match and train.get(file, chosen) == chosen
    ]
    notes = []
    if left := sum(found != chosen for found in train.values()):
        notes.append(f"{left} tiles of the other variant are here too: left out; {chosen!r} was taken, see -o variant=")
    if any(item.split == "train" for item in items):
        notes.append(
            "the 100K set names no patients: each tile is a group of its own, and any split inside it is tile-level; "
            "only 100K against 7K (other patients) is honest"
        )
    strangers = [
        Skipped(file, "not a name of NCT-CRC, such as ADI-AAAFLCLY.tif") for file, match in matched if not match
    ]
    return Scan(items, [*tree.skipped, *strangers], notes, PUBLISHED)


def _variant(source: Path, file: str) -> Variant:
    return "nonorm" if "nonorm" in f"{source.name}/{file}".lower() else "norm"


def _item(file: str, label: str, split: str) -> Item:
    return Item(
        id=f"nct-crc/{name_of(file)}",
        path=file,
        dataset="nct-crc",
        label=label,
        split=split,
        mpp=0.5,
        mpp_source="dataset-doc",
    )


PUBLISHED = Published(
    source="Kather et al. 2019, Zenodo 1214456",
    noun="tiles",
    by="split",
    counts={
        "train": dict(zip(LABELS, (10407, 10566, 11512, 11557, 8896, 13536, 8763, 10446, 14317), strict=True)),
        "test": dict(zip(LABELS, (1338, 847, 339, 634, 1035, 592, 741, 421, 1233), strict=True)),
    },
)

DATASET = Dataset(
    name="nct-crc",
    title="NCT-CRC-HE-100K and CRC-VAL-HE-7K",
    licence="CC BY 4.0",
    source="https://zenodo.org/records/1214456",
    about="colon, 9 tissue classes: 100000 tiles to learn from, 7180 of 50 other patients to test with",
    looks_for="NCT-CRC-HE-100K or CRC-VAL-HE-7K, with ADI/ADI-AAAFLCLY.tif and so on",
    scan=scan,
)
