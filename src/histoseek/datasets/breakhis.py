"""BreakHis (UFPR): breast tumours in eight types at four magnifications."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Literal

from histoseek.datasets.dataset import Dataset, Published, Scan
from histoseek.datasets.walk import IMAGE_SUFFIXES, name_of, walk
from histoseek.items import Item, Skipped

Magnification = Literal["all", "40", "100", "200", "400"]
TYPES = ("A", "F", "PT", "TA", "DC", "LC", "MC", "PC")
COARSE = {"B": "benign", "M": "malignant"}
MPP = {"40": 0.49, "100": 0.20, "200": 0.10, "400": 0.05}
"""Nominal: a 6.5 µm camera pixel behind a 3.3× relay and a 4, 10, 20 or 40× objective."""

_NAME = re.compile(
    rf"SOB_(?P<cls>[BM])_(?P<type>{'|'.join(TYPES)})-(?P<slide>\d{{2}}-(?P<patient>\d+)[A-Z]*)"
    r"-(?P<magnification>40|100|200|400)-\d{3}\.png",
    re.IGNORECASE,
)


def scan(source: Path, *, magnification: Magnification = "all", label: Literal["type", "malignancy"] = "type") -> Scan:
    """Find images; a patient is the digits of the slide's number, whatever letters follow.

    `magnification` keeps one of the four; `label` is the tumour type or benign against malignant.
    """
    tree = walk(source)
    matched = [(file, _NAME.fullmatch(name_of(file))) for file in tree.with_suffix(IMAGE_SUFFIXES)]
    items = [
        _item(file, match, label)
        for file, match in matched
        if match and magnification in ("all", match["magnification"])
    ]
    counted = Counter(item.extra["magnification"] for item in items)
    notes = []
    if len(counted) > 1:
        notes.append(
            f"{len(counted)} magnifications are mixed and show the same tissue; keep one with -o magnification=200"
        )
    strangers = [
        Skipped(file, "not a name of BreakHis, such as SOB_B_A-14-22549AB-40-001.png")
        for file, match in matched
        if not match
    ]
    return Scan(items, [*tree.skipped, *strangers], notes, _published(magnification, label))


def _item(file: str, match: re.Match[str], label: str) -> Item:
    coarse, magnification = COARSE[match["cls"].upper()], match["magnification"]
    return Item(
        id=f"breakhis/{name_of(file)}",
        path=file,
        dataset="breakhis",
        label=match["type"].upper() if label == "type" else coarse,
        group=f"breakhis-P{int(match['patient'])}",
        group_source="patient",
        slide=match["slide"].upper(),
        mpp=MPP[magnification],
        mpp_source="nominal",
        extra={"magnification": int(magnification), "coarse_label": coarse},
    )


_COUNTS = {
    "40": (114, 253, 109, 149, 864, 156, 205, 145),
    "100": (113, 260, 121, 150, 903, 170, 222, 142),
    "200": (111, 264, 108, 140, 896, 163, 196, 135),
    "400": (106, 237, 115, 130, 788, 137, 169, 138),
}


def _published(magnification: str, label: str) -> Published:
    rows = list(_COUNTS.values()) if magnification == "all" else [_COUNTS[magnification]]
    types = dict(zip(TYPES, map(sum, zip(*rows, strict=True)), strict=True))
    benign = sum(types[name] for name in TYPES[:4])
    coarse = {"benign": benign, "malignant": sum(types.values()) - benign}
    return Published(source="Spanhol et al. 2016", counts={"all": types if label == "type" else coarse})


DATASET = Dataset(
    name="breakhis",
    title="BreakHis",
    licence="CC BY 4.0",
    source="https://web.inf.ufpr.br/vri/databases/breast-cancer-histopathological-database-breakhis/",
    about="breast, 8 tumour types at 40, 100, 200 and 400×: 7909 images of 82 patients",
    looks_for="BreaKHis_v1, with names like SOB_B_A-14-22549AB-40-001.png",
    scan=scan,
)
