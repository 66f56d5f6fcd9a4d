from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from histoseek.datasets import find_dataset, prepare, prepare_with_report
from histoseek.datasets.tables import read_fact


def scan(source: Path, **options):
    return find_dataset("bach").scan(source, **options)


def known():
    return {row["file_name"]: f"BACH-P{row['patient_id']}" for row in read_fact("bach_photo_patients.csv")}


def groups_by_split(items):
    return {split: {i.group for i in items if i.split == split} for split in {i.split for i in items}}


def test_the_published_counts_and_patients(bach):
    prepared = prepare_with_report("batch", bach)
    items = list(prepared.manifest)
    assert Counter(item.label for item in items) == dict.fromkeys(("Benign", "InSitu", "Invasive", "Normal"), 100)
    assert {item.id.removeprefix("bach/"): item.group for item in items if item.group_source == "patient"} == known()
    assert Counter(item.group for item in items)["BACH-UNKNOWN"] == 255
    assert prepared.skipped == ()
    assert any("all counts agree" in line for line in prepared.summary.lines())
    assert not prepared.summary.audit.errors
    assert {(item.mpp, item.mpp_source) for item in items} == {(0.42, "dataset-doc")}


def test_the_eva_protocol(bach):
    items = scan(bach).items
    assert Counter(item.split for item in items) == {"train": 268, "test": 132}
    groups = groups_by_split(items)
    assert not groups["train"] & groups["test"]
    assert {f"BACH-P{n}" for n in (14, 16, 17, 18, *range(20, 40))} == groups["test"]
    assert {item.id for item in items if item.split == "test"} >= {"bach/b042.tif", "bach/n068.tif"}


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_the_patient_protocol(bach, seed):
    items = scan(bach, protocol="patients", seed=seed).items
    assert Counter(item.split for item in items) == {"train": 292, "val": 54, "test": 54}
    groups = groups_by_split(items)
    assert not groups["train"] & groups["test"] | groups["train"] & groups["val"] | groups["val"] & groups["test"]
    assert "BACH-UNKNOWN" in groups["train"]
    for split in ("val", "test"):
        assert len({item.label for item in items if item.split == split}) == 4
    assert items == scan(bach, protocol="patients", seed=seed).items


def test_protocols_do_not_depend_on_what_was_downloaded(bach, tmp_path):
    for file in bach.rglob("*.tif"):
        if file.name[-5] in "37":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    for protocol in ("eva", "patients"):
        full = {item.id: item.split for item in scan(bach, protocol=protocol).items}
        assert all(full[item.id] == item.split for item in scan(tmp_path, protocol=protocol).items)
    assert {item.split for item in scan(tmp_path, protocol="none").items} == {None}


def test_a_zero_based_repack_is_not_joined_to_the_patients(tmp_path, plant):
    names = [f"Photos/{label}/{p}{n:03d}.jpeg" for p, label in (("b", "Benign"), ("n", "Normal")) for n in range(100)]
    found = scan(plant(tmp_path, names))
    assert {item.group for item in found.items} == {"BACH-UNKNOWN"}
    assert {item.split for item in found.items} == {"train"}
    assert any("count from 000" in note and "not joined" in note for note in found.notes)
    stated = {item.id: item.group for item in scan(tmp_path, numbering="zero-based").items}
    assert stated["bach/b031.jpeg"] == "BACH-P11"  # b032.tif
    assert stated["bach/b030.jpeg"] == "BACH-UNKNOWN"


def test_a_converted_copy_joins_only_with_proof(tmp_path, plant):
    part = plant(tmp_path / "part", ["Benign/b032.jpg", "Benign/b033.jpg"])
    assert {item.group for item in scan(part).items} == {"BACH-UNKNOWN"}
    assert {item.group for item in scan(part, numbering="official").items} == {"BACH-P11"}
    whole = plant(tmp_path / "whole", [f"Benign/b{n:03d}.png" for n in range(1, 101)])
    assert {item.id: item.group for item in scan(whole).items}["bach/b032.png"] == "BACH-P11"


def test_test_photos_are_queries_without_a_gallery(bach, tmp_path, plant):
    shutil.copytree(bach, tmp_path / "a")
    plant(tmp_path / "ICIAR2018_BACH_Challenge_TestDataset" / "Photos", [f"test{n}.tif" for n in range(100)])
    prepared = prepare_with_report("bach", tmp_path)
    tests = list(prepared.manifest.where(split="unlabelled"))
    assert len(tests) == 100
    assert {(item.label, item.group) for item in tests} == {(None, "BACH-TEST-UNKNOWN")}
    assert not prepared.summary.audit.errors
    assert any("all counts agree" in line for line in prepared.summary.lines())


def test_ground_truth_is_compared_with_names_and_folders(tmp_path, plant):
    root = plant(tmp_path, ["Photos/Benign/b001.tif", "Photos/Normal/iv001.tif", "Photos/Normal/n002.tif"])
    (root / "Photos/microscopy_ground_truth.csv").write_text("b001.tif,InSitu\niv001.tif,Invasive\nn001.tif,Normal\n")
    found = scan(root)
    assert [item.label for item in found.items] == ["Benign", "Invasive", "Normal"]
    notes = "\n".join(found.notes)
    assert "another class for 1 photos (b001.tif: InSitu)" in notes
    assert "1 photos of microscopy_ground_truth.csv are not here (n001.tif" in notes
    assert "1 photos are not in microscopy_ground_truth.csv (n002.tif" in notes
    assert "folder of another class (Photos/Normal/iv001.tif" in notes


def test_the_challenges_own_patient_table_wins(tmp_path, plant, trees):
    root = plant(tmp_path, ["Benign/b001.tif", "Benign/b032.tif", "Normal/n001.tif"])
    row = [
        "b001.tif",
        "Benign",
        99,
        None,
        "is001.tif",
        "InSitu",
        None,
        None,
        "iv001.tif",
        "Invasive",
        3,
        None,
        "n001",
        "Normal",
        4.0,
    ]
    trees.sheet(root / "ICIAR2018_BACH_dataset_micro_patient.xlsx", [row])
    found = scan(root)
    assert [item.group for item in found.items] == ["BACH-P99", "BACH-UNKNOWN", "BACH-P4"]
    assert any("differs from the published table" in note for note in found.notes)


def test_nesting_debris_and_pictures_of_slides(bach, tmp_path, plant):
    twice = tmp_path / " ICIAR2018_BACH_Challenge" / "ICIAR2018_BACH_Challenge"
    shutil.copytree(bach, twice)
    plant(tmp_path, ["__MACOSX/Photos/Benign/b001.tif", "x/._b002.tif", "x/.DS_Store", "WSI/gt_thumbnails/A01.png"])
    (tmp_path / "x" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "WSI" / "A01.svs").write_bytes(b"")
    prepared = prepare_with_report("bach", tmp_path)
    assert len(prepared.manifest) == 400
    assert prepared.skipped == ()
    assert any("1 whole slides" in line for line in prepared.summary.lines())
    assert {item.id for item in prepared.manifest} == {item.id for item in prepare("bach", bach)}


@pytest.mark.real_data
def test_real_photos_of_a_repack(trees):
    source = trees.SHARED / "bach_sample"
    if not source.is_dir():
        pytest.skip("no real tissue beside the checkout")
    prepared = prepare_with_report("bach", source)
    assert Counter(item.label for item in prepared.manifest) == dict.fromkeys(
        ("Benign", "InSitu", "Invasive", "Normal"), 6
    )
    assert {item.group for item in prepared.manifest} == {"BACH-UNKNOWN"}
    assert {(item.width, item.height) for item in prepared.manifest} == {(1536, 1536)}
    assert prepared.skipped == ()
