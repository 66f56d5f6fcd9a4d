from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import pytest

from histoseek.datasets import find_dataset, prepare, prepare_with_report
from histoseek.datasets.crc_names import read_name
from histoseek.errors import InputError


def scan(source: Path, **options):
    return find_dataset("crc").scan(source, **options)


def torn(items):
    """Groups in more than one fold."""
    folds = defaultdict(set)
    for item in items:
        folds[item.group].add(item.fold)
    return {group for group, found in folds.items() if len(found) > 1}


def test_the_extended_set_is_reproduced(crc, trees):
    prepared = prepare_with_report("crc", crc)
    assert Counter((item.fold, item.label) for item in prepared.manifest) == {
        (fold, label): n for fold in range(3) for label, n in (("Normal", 40), ("Low grade", 40), ("High grade", 20))
    }
    assert {Path(item.path).name: item.fold for item in prepared.manifest} == trees.crc_names()
    assert prepared.summary.groups == {"0": 36, "1": 34, "2": 33, "all": 103}
    assert any("all counts agree" in line for line in prepared.summary.lines())
    assert prepared.skipped == ()
    one = next(item for item in prepared.manifest if item.id == "crc/Grade2_Patient_007_029810_066073.png")
    assert (one.group, one.group_source, one.mpp, one.mpp_source) == ("crc-P007", "patient", 0.5, "nominal-20x")


def test_no_patient_is_in_two_folds(crc):
    items = scan(crc).items
    assert not torn(items)
    test = scan(crc, test_fold=1).items
    assert Counter(item.split for item in test) == {"train": 200, "test": 100}
    assert {item.fold for item in test if item.split == "test"} == {1}
    assert not prepare("crc", crc, test_fold="2").audit().errors
    with pytest.raises(InputError, match="folds are 0, 1 and 2"):
        scan(crc, test_fold=3)


def test_every_old_name_maps_to_the_extended_set_but_two(trees):
    rows = trees.old_rows()
    mapped = {row["stem"]: read_name(trees.old_name(row)).canonical for row in rows}
    extended = set(trees.crc_names())
    assert {stem for stem, name in mapped.items() if not name} == {"Patient_005_03", "Patient_009_01"}
    assert mapped["Patient_009_02"] == "Grade3_Patient_149_1.png"
    found = [name for name in mapped.values() if name]
    assert len(found) == len(set(found)) == 137
    assert set(found) <= extended


def test_the_old_set_alone_takes_the_patients_and_folds_of_the_extended_set(tmp_path, plant, trees):
    root = plant(tmp_path / "CRC_Dataset", map(trees.old_name, trees.old_rows()))
    prepared = prepare_with_report("crc", root)
    items = list(prepared.manifest)
    assert Counter(item.label for item in items) == {"Normal": 71, "Low grade": 33, "High grade": 35}
    assert len({item.group for item in items}) == 38
    assert not torn(items)
    extended = {read_name(name).patient: fold for name, fold in trees.crc_names().items()}
    assert all(item.fold == extended[int(item.group[-3:])] for item in items)
    assert any("all counts agree" in line and "139" in line for line in prepared.summary.lines())


def test_both_sets_together_hold_no_copy(tmp_path, plant, trees):
    plant(tmp_path / "new", trees.crc_names())
    plant(tmp_path / "old", map(trees.old_name, trees.old_rows()))
    found = scan(tmp_path)
    assert len(found.items) == 302
    assert len(found.skipped) == 137
    assert any("137 images of the older set" in note for note in found.notes)
    left = [item for item in found.items if item.path.startswith("old/")]
    assert sorted((item.id, item.group) for item in left) == [
        ("crc/Patient_005_03_Low-Grade.png", "crc-P145"),
        ("crc/Patient_009_01_Low-Grade.png", "crc-P149"),
    ]
    assert not torn(found.items)


CLASSES = {"1": "1_normal", "2": "2_low_grade", "3": "3_high_grade"}


def test_fold_folders_of_the_old_set_are_not_believed(tmp_path, plant, trees):
    rows = trees.old_rows()
    root = plant(tmp_path, [f"raw/mine/fold_{r['fold']}/{CLASSES[r['grade']]}/{trees.old_name(r)}" for r in rows])
    found = scan(root)
    assert len(found.items) == 139
    assert not torn(found.items)
    assert any("tear 9 patients apart" in note for note in found.notes)
    asked = scan(root, folds="folders").items
    assert len(torn(asked)) == 9
    assert {item.fold for item in asked} == {0, 1, 2}


def test_fold_folders_of_the_extended_set_and_of_unnamed_images(tmp_path, plant, trees):
    names = trees.crc_names()
    plant(tmp_path, [f"fold_{fold + 1}/{CLASSES[name[5]]}/{name}" for name, fold in names.items()])
    found = scan(tmp_path)
    assert len(found.items) == 300
    assert found.notes == []
    other = scan(plant(tmp_path / "x", ["fold_2/3_high_grade/a.png", "fold_3/1_normal/a.png"]))
    assert [(item.label, item.fold, item.group_source) for item in other.items] == [
        ("High grade", 1, "image"),
        ("Normal", 2, "image"),
    ]
    assert any("no patient is known" in note for note in other.notes)


def test_internal_case_names(tmp_path, plant):
    found = scan(plant(tmp_path, ["H09-24359_A2H_E_1_6_grade_3_1_2_90.png", "H09-24359_A2H&E_1_7_grade_1.png"]))
    assert {(item.group, item.group_source) for item in found.items} == {("crc-H09-24359", "case")}
    assert sorted(item.label or "" for item in found.items) == ["High grade", "Normal"]
    plant(tmp_path, ["Patient_001_02_Low-Grade.png"])
    assert any("keep them apart" in note for note in scan(tmp_path).notes)


def test_the_name_counts_where_a_class_folder_disagrees(tmp_path, plant):
    found = scan(plant(tmp_path, ["fold_1/1_normal/Grade2_Patient_007_029810_066073.png", "cat.png"]))
    assert found.items[0].label == "Low grade"
    assert any("folder of another class" in note for note in found.notes)
    assert [row.id for row in found.skipped] == ["cat.png"]
