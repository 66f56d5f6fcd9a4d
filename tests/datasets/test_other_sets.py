from __future__ import annotations

import pytest

from histoseek.datasets import find_dataset, prepare, prepare_with_report


def test_nct_crc_splits_by_set(tmp_path, plant):
    train = ["NCT-CRC-HE-100K/ADI/ADI-AAAFLCLY.tif", "NCT-CRC-HE-100K/TUM/TUM-AAAFLCLY.tif"]
    other = ["NCT-CRC-HE-100K-NONORM/ADI/ADI-AAAFLCLY.tif"]
    plant(tmp_path, [*train, *other, "CRC-VAL-HE-7K/ADI/ADI-TCGA-EENSRDNW.tif", "ADI/cat.tif"])
    prepared = prepare_with_report("nct-crc", tmp_path)
    assert [(item.split, item.label) for item in prepared.manifest] == [
        ("test", "ADI"),
        ("train", "ADI"),
        ("train", "TUM"),
    ]
    assert {item.group_source for item in prepared.manifest} == {"image"}
    assert [row.id for row in prepared.skipped] == ["ADI/cat.tif"]
    text = "\n".join(prepared.summary.lines())
    assert "any split inside it is tile-level" in text
    assert "1 tiles of the other variant" in text
    assert "test: 1 tiles, published 7180" in text
    assert [item.path for item in prepare("nct_crc", tmp_path, variant="nonorm").where(split="train")] == other


BREAKHIS = [
    "SOB_B_A-14-22549AB-40-001.png",
    "SOB_B_A-14-22549G-100-001.png",
    "SOB_M_DC-14-13412-40-001.png",
    "SOB_M_LC-14-13412-40-001.png",
]


def test_breakhis_patients_are_the_digits(tmp_path, plant):
    plant(tmp_path / "BreaKHis_v1" / "SOB_M_DC_14-13412" / "40X", BREAKHIS)
    items = list(prepare("breakhis", tmp_path))
    assert [item.group for item in items] == ["breakhis-P22549"] * 2 + ["breakhis-P13412"] * 2
    assert [item.label for item in items] == ["A", "A", "DC", "LC"]
    assert [item.mpp for item in items] == [0.49, 0.2, 0.49, 0.49]
    kept = list(prepare("breakhis", tmp_path, magnification="40", label="malignancy"))
    assert [item.label for item in kept] == ["benign", "malignant", "malignant"]


def test_mixed_magnifications_are_told(tmp_path, plant):
    scan = find_dataset("breakhis").scan(plant(tmp_path, BREAKHIS))
    assert any("2 magnifications are mixed" in note for note in scan.notes)


@pytest.mark.parametrize("label, total", [("type", 7909), ("malignancy", 7909)])
def test_breakhis_published_totals(tmp_path, plant, label, total):
    published = find_dataset("breakhis").scan(plant(tmp_path, BREAKHIS), label=label).published
    assert sum(published.counts["all"].values()) == total


def test_nct_crc_published_totals(tmp_path):
    published = find_dataset("nct-crc").scan(tmp_path).published
    assert {part: sum(row.values()) for part, row in published.counts.items()} == {"train": 100_000, "test": 7180}
