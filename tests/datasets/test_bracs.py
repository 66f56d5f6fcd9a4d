from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from histoseek.datasets import find_dataset, prepare_with_report
from histoseek.datasets.leaks import split_overlap
from histoseek.errors import InputError
from histoseek.phantom import draw_field, make_patient, write_slide


def scan(source: Path, **options):
    return find_dataset("bracs").scan(source, **options)


def labels(items):
    return {item.id: item.label for item in items}


def test_the_published_table_is_reproduced(bracs_latest, trees):
    prepared = prepare_with_report("bracs", bracs_latest)
    table = prepared.manifest.table
    counted = Counter(zip(table["split"].to_pylist(), table["label"].to_pylist(), strict=True))
    stated = {(s, name): n for s, row in trees.ROIS.items() for name, n in zip(trees.LABELS, row, strict=True)}
    assert counted == stated
    assert prepared.skipped == ()
    assert prepared.summary.groups == {"train": 106, "val": 15, "test": 30, "all": 151}
    assert any("all counts agree" in line and "4539" in line for line in prepared.summary.lines())
    assert not prepared.summary.audit.errors
    item = prepared.manifest[0]
    assert (item.mpp, item.mpp_source, item.group_source) == (0.25, "dataset-doc", "patient")
    assert item.id == f"bracs/{Path(item.path).name}"
    assert (item.width, item.height) == (3, 2)


def test_without_the_table_the_group_is_the_slide_and_a_line_says_so(bracs_latest, tmp_path):
    link = tmp_path / "deep" / "a" / "b" / "c" / "d" / "latest_version"
    link.parent.mkdir(parents=True)
    link.symlink_to(bracs_latest / "BRACS_RoI" / "latest_version")
    found = scan(link)
    assert len({item.group for item in found.items}) == 387
    assert {item.group_source for item in found.items} == {"slide"}
    assert any("BRACS.xlsx not found" in note and "387 groups" in note for note in found.notes)


def test_the_table_is_found_above_the_images_and_can_be_given(bracs_latest, tmp_path):
    below = scan(bracs_latest / "BRACS_RoI" / "latest_version" / "val")
    assert {item.group_source for item in below.items} == {"patient"}
    assert {item.split for item in below.items} == {"val"}  # though the source starts below the split's folder
    elsewhere = shutil.copy(bracs_latest / "BRACS.xlsx", tmp_path / "table.xlsx")
    assert {item.group_source for item in scan(bracs_latest, xlsx=Path(elsewhere)).items} == {"patient"}
    with pytest.raises(InputError, match=r"nowhere\.xlsx"):
        scan(bracs_latest, xlsx=Path("nowhere.xlsx"))


def test_labels_come_from_the_name_never_from_the_digit(tmp_path, plant, trees):
    latest = plant(tmp_path / "new", ["train/3_FEA/BRACS_1_FEA_1.png", "val/4_ADH/BRACS_2_ADH_1.png"])
    before = plant(tmp_path / "old", ["train/4_FEA/BRACS_1_FEA_1.png", "val/3_ADH/BRACS_2_ADH_1.png"])
    wanted = {"bracs/BRACS_1_FEA_1.png": "FEA", "bracs/BRACS_2_ADH_1.png": "ADH"}
    assert labels(scan(latest).items) == labels(scan(before).items) == wanted
    assert {item.extra["release"] for item in scan(latest).items} == {"latest"}
    assert {item.extra["release"] for item in scan(before).items} == {"previous"}


@pytest.mark.parametrize("older", ["previous_versions/Version1_MedIA/Images", "previous", "previous_1", "old"])
def test_one_of_two_releases_is_taken(tmp_path, plant, older):
    new = [f"latest_version/train/3_FEA/BRACS_{i}_FEA_1.png" for i in range(3)]
    old = [f"{older}/train/4_FEA/BRACS_{i}_FEA_1.png" for i in range(2)]
    root = plant(tmp_path / "BRACS_RoI", new + old)
    found = scan(root)
    assert len(found.items) == 3
    assert any("previous release is here too (2 RoIs)" in note for note in found.notes)
    assert sorted(item.path for item in scan(root, release="previous").items) == old


def test_a_name_in_the_folder_of_another_class_is_told(tmp_path, plant):
    found = scan(plant(tmp_path, ["train/3_FEA/BRACS_1_ADH_1.png"]))
    assert found.items[0].label == "ADH"
    assert any("folder of another class" in note for note in found.notes)


def test_slide_numbers_are_compared_as_integers(tmp_path, plant, trees):
    root = plant(tmp_path, ["train/1_PB/BRACS_010_PB_32.png", "train/1_PB/BRACS_1003667_PB_1.png"])
    rows = [("WSI Filename", "Patient Id", "Set"), ("BRACS_10", 5, "Training"), ("BRACS_1003667.svs", 6.0, "Training")]
    trees.sheet(root / "BRACS.xlsx", rows)
    assert [item.group for item in scan(root).items] == ["BRACS-P5", "BRACS-P6"]
    assert scan(root).items[0].slide == "BRACS_010"


def test_header_quirks_of_the_table(tmp_path, plant, trees):
    root = plant(tmp_path, ["train/0_N/BRACS_7_N_1.png"])
    rows = [
        ("BRACS", None, None, None, None),
        (" wsi filename", "Patient  ID ", "RoI ", "WSI label", " Set "),
        ("WSI Filename", "Patient Id", "RoI ", "WSI label", "Set"),
        ("BRACS_7.svs", "12", "-", "N", " training"),
    ]
    trees.sheet(root / "bracs.XLSX", rows, title="Sheet1")
    assert scan(root).items[0].group == "BRACS-P12"


def test_broken_tables_are_sentences(tmp_path, plant, trees):
    root = plant(tmp_path, ["train/0_N/BRACS_7_N_1.png"])
    table = root / "BRACS.xlsx"
    table.write_bytes(b"PK\x03\x04 half a download")
    with pytest.raises(InputError, match="cannot be read as an Excel file"):
        scan(root)
    trees.sheet(table, [("a", "b")])
    with pytest.raises(InputError, match="Patient Id"):
        scan(root)
    trees.sheet(table, [("WSI Filename", "Patient Id"), ("BRACS_7", 1), ("BRACS_07", 2)])
    with pytest.raises(InputError, match=r"row 3.*patient 2"):
        scan(root)


def test_a_folder_split_that_differs_from_the_table_is_told_and_kept(tmp_path, plant, trees):
    root = plant(tmp_path, ["test/0_N/BRACS_7_N_1.png"])
    trees.sheet(root / "BRACS.xlsx", [("WSI Filename", "Patient Id", "Set"), ("BRACS_7", 1, "Training")])
    found = scan(root)
    assert found.items[0].split == "test"
    assert any("BRACS_7: folder test, table train" in note for note in found.notes)


WSIS = {
    "train": (27, 120, 56, 24, 28, 40, 100),
    "val": (10, 11, 9, 6, 8, 9, 12),
    "test": (7, 16, 9, 11, 12, 12, 20),
}
COARSE = {"N": "BT", "PB": "BT", "UDH": "BT", "FEA": "AT", "ADH": "AT", "DCIS": "MT", "IC": "MT"}


@pytest.fixture
def slides(tmp_path, trees):
    """547 slides; patient 67 has three PB slides in train and two N slides in val."""
    rows = [("WSI Filename", "Patient Id", "RoI ", "WSI label", "Set")]
    slide = 100
    for split, numbers in WSIS.items():
        for label, number in zip(trees.LABELS, numbers, strict=True):
            for i in range(number):
                path = tmp_path / f"BRACS_WSI/{split}/Group_{COARSE[label]}/Type_{label}/BRACS_{slide}.svs"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"")
                shared = (split, label) in (("train", "PB"), ("val", "N")) and i < {"train": 3, "val": 2}[split]
                rows.append((f"BRACS_{slide}", 67 if shared else 1000 + slide, "-", label, trees.SETS[split]))
                slide += 1
    trees.sheet(tmp_path / "BRACS.xlsx", rows)
    return tmp_path


def test_slides_are_found_by_name_with_label_split_and_patient(slides):
    found = scan(slides)
    assert Counter(item.split for item in found.items) == {"train": 395, "val": 65, "test": 87}
    assert {item.group_source for item in found.items} == {"patient"}
    assert {(item.mpp, item.mpp_source) for item in found.items} == {(0.25, "dataset-doc")}
    assert found.skipped == []


def test_slides_become_tiles_and_are_themselves_compared_with_the_published_ones(slides, trees):
    """Two slides can be read; the empty files beside them are skipped, each with its reason."""
    field = draw_field(640, 512, 0.5, make_patient(0, 0), 1, ("stroma",))
    for label, number in (("N", 100), ("PB", 130)):
        path = slides / f"BRACS_WSI/train/Group_BT/Type_{label}/BRACS_{number}.svs"
        assert path.is_file()
        write_slide(path, field.picture, 0.5)
    prepared = prepare_with_report("bracs", slides, tile_px=64)
    tiles = list(prepared.manifest)
    assert {(item.slide, item.label, item.split) for item in tiles} == {
        ("BRACS_100", "N", "train"),
        ("BRACS_130", "PB", "train"),
    }
    assert {(item.mpp, item.mpp_source) for item in tiles} == {(0.5, "file")}  # nearer than the documentation
    assert {item.extra["coarse_label"] for item in tiles} == {"BT"}
    assert len(prepared.skipped) == 545
    lines = prepared.summary.lines()
    assert not any("slides, published" in line for line in lines)
    (slides / "BRACS_WSI/train/Group_BT/Type_N/BRACS_101.svs").unlink()
    lines = prepare_with_report("bracs", slides, tile_px=64).summary.lines()
    assert "train: 394 slides, published 395 (BRACS official table): 1 fewer" in lines


def test_a_patient_in_two_splits_is_detected_told_and_repaired_on_request(slides):
    plain = scan(slides)
    assert any("BRACS-P67 is in train (3) and val (2)" in note for note in plain.notes)
    assert len(split_overlap(plain.items)) == 1
    majority = scan(slides, repair="majority").items
    assert Counter(item.split for item in majority) == {"train": 397, "val": 63, "test": 87}
    held_out = scan(slides, repair="held-out").items
    assert Counter(item.split for item in held_out) == {"train": 392, "val": 68, "test": 87}
    assert not split_overlap(majority)
    assert not split_overlap(held_out)


def test_rois_win_over_slides_unless_slides_are_asked_for(slides, plant):
    plant(slides, ["BRACS_RoI/latest_version/train/0_N/BRACS_100_N_1.png"])
    assert [item.id for item in scan(slides).items] == ["bracs/BRACS_100_N_1.png"]
    assert len(scan(slides, subset="wsi").items) == 547


def test_partial_and_flat_downloads(tmp_path, plant):
    root = plant(tmp_path / "test" / "x", ["BRACS_264_N_5.png", "other.png"])
    prepared = prepare_with_report("bracs", root)
    assert [item.split for item in prepared.manifest] == [None]  # a folder called test above the source says nothing
    assert [row.id for row in prepared.skipped] == ["other.png"]
    assert any("have no split" in line for line in prepared.summary.lines())
    assert any(line.startswith("test: 0 RoIs, published 570") for line in prepared.summary.lines())


def test_one_roi_fewer_is_said_in_words(tmp_path, plant, trees):
    files = [file for file in trees.roi_files() if file.startswith("test/")]
    prepared = prepare_with_report("bracs", plant(tmp_path, files[1:]))
    assert "test: 569 RoIs, published 570 (BRACS official table): 1 fewer" in prepared.summary.lines()
    assert "test, N: 80 RoIs, published 81 (BRACS official table): 1 fewer" in prepared.summary.lines()
