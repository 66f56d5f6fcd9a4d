from __future__ import annotations

from pathlib import Path

import pytest

from histoseek.datasets import find_dataset, prepare, prepare_with_report
from histoseek.errors import InputError

FILES = ["Normal/P1_a.png", "Normal/P2_a.png", "Tumour/P1_b.png", "Tumour/P3_a.png"]


def scan(source: Path, **options):
    dataset = find_dataset("folder")
    return dataset.scan(source, **dataset.read_options(options))


def test_class_folders(tmp_path, plant):
    items = list(prepare("folder", plant(tmp_path, FILES)))
    assert [(item.id, item.label) for item in items] == [(f"folder/{file}", file.split("/")[0]) for file in FILES]
    assert {item.group_source for item in items} == {"image"}
    assert [item.label for item in scan(tmp_path, label="none").items] == [None] * 4


def test_nesting_patients_below_classes_and_flat(tmp_path, plant):
    nested = plant(tmp_path / "a", ["x/y/Normal/P1/1.png", "x/y/Tumour/P2/1.png"])
    assert [item.label for item in scan(nested).items] == ["Normal", "Tumour"]
    flat = scan(plant(tmp_path / "b", ["1.png", "2.jpg"]))
    assert [item.label for item in flat.items] == [None, None]
    assert any("no class sub-folders" in note for note in flat.notes)
    mixed = scan(plant(tmp_path / "c", ["Normal/1.png", "2.png", "Tumour/1.png"]))
    assert [item.label for item in mixed.items] == [None, "Normal", "Tumour"]


@pytest.mark.parametrize(
    "form", ["{split}/{label}/{n}.png", "{label}/{split}/{n}.png", "in/{split}/{label}/deep/{n}.png"]
)
def test_split_folders(tmp_path, plant, form):
    wanted = [("train", "A"), ("train", "B"), ("valid", "A"), ("Test", "B")]
    plant(tmp_path, [form.format(split=split, label=label, n=i) for i, (split, label) in enumerate(wanted)])
    found = sorted((item.split or "", item.label or "") for item in scan(tmp_path).items)
    assert found == [("test", "B"), ("train", "A"), ("train", "B"), ("val", "A")]


def test_one_split_alone_is_still_a_split(tmp_path, plant):
    found = scan(plant(tmp_path, ["train/A/1.png", "train/B/1.png"])).items
    assert [(item.split, item.label) for item in found] == [("train", "A"), ("train", "B")]


def test_groups_by_a_pattern(tmp_path, plant):
    plant(tmp_path, FILES)
    assert [item.group for item in scan(tmp_path, group=r"(P\d)_").items] == ["P1", "P2", "P1", "P3"]
    assert [item.group for item in scan(tmp_path, group=r"(\w+)/(?P<group>P\d)").items] == ["P1", "P2", "P1", "P3"]
    some = scan(tmp_path, group=r"(P[12])_")
    assert [item.group for item in some.items][3] == "folder/Tumour/P3_a.png"
    assert any("1 paths do not fit" in note for note in some.notes)
    with pytest.raises(InputError, match="no regular expression"):
        scan(tmp_path, group="(P")
    with pytest.raises(InputError, match=r"fits no path.*Normal/P1_a"):
        scan(tmp_path, group="(Q)")
    with pytest.raises(InputError, match="brackets"):
        scan(tmp_path, group="P1")


def test_a_table_beside_the_images(tmp_path, plant):
    plant(tmp_path, FILES)
    (tmp_path / "patients.csv").write_text(
        "\ufefffile;patient;mpp;scanner;caption;age\n"
        "Normal/P1_a.png;007;0.5;A;pink, quiet;50\nP2_a.png;008;0.5;B;;61\n"
        "Tumour/P1_b.png;007;9999;A;x;\ngone.png;1;;;;\n",
        encoding="utf-8",
    )
    prepared = prepare_with_report("folder", tmp_path, sidecar="patients.csv")
    rows = list(prepared.manifest)
    assert [row.group for row in rows] == ["007", "008", "007", "folder/Tumour/P3_a.png"]
    assert [row.group_source for row in rows] == ["patient", "patient", "patient", "image"]
    assert [row.label for row in rows] == ["Normal", "Normal", "Tumour", "Tumour"]
    assert [row.mpp for row in rows] == [0.5, 0.5, None, None]
    assert rows[0].caption == "pink, quiet"
    assert [row.extra["scanner"] for row in rows] == ["A", "B", "A", None]
    assert [row.extra["age"] for row in rows] == [50, 61, None, None]
    notes = prepared.summary.notes
    assert any("1 images are not in" in note for note in notes)
    assert any("gone.png" in note for note in notes)


def test_wrong_tables_are_sentences(tmp_path, plant):
    plant(tmp_path, FILES)
    table = tmp_path / "t.csv"
    with pytest.raises(InputError, match=r"no sidecar t\.csv"):
        scan(tmp_path, sidecar="t.csv")
    for text, says in (
        ("name,patient\na,b\n", "no column 'file'"),
        ("file,mpp\nNormal/P1_a.png,half\n", "row 2, column 'mpp': 'half' is no number"),
        ("file,mpp\nNormal/P1_a.png,nan\n", "row 2, column 'mpp'"),
        ("file,label\nNormal/P1_a.png,x\nNormal/P1_a.png,y\n", "row 3.*row 2 already"),
        ("file,label\nother.png,x\n", "names none of the images"),
        ("file,label\nNormal/P1_a.png,x,y\n", "row 2: 3 fields under 2 columns"),
        ("", "is empty"),
        ("file,file\n", "more than one column 'file'"),
    ):
        table.write_text(text)
        with pytest.raises(InputError, match=says):
            scan(tmp_path, sidecar="t.csv")
    table.write_bytes(b"file,label\n\xff\xfe,\xe9\n")
    with pytest.raises(InputError, match="UTF-8"):
        scan(tmp_path, sidecar="t.csv")


def test_a_table_that_was_not_asked_for_is_mentioned(tmp_path, plant):
    plant(tmp_path, FILES)
    (tmp_path / "patients.csv").write_text("file,patient\nNormal/P1_a.png,1\n")
    assert any("-o sidecar=patients.csv" in note for note in scan(tmp_path).notes)


def test_the_same_name_in_two_folders_is_not_guessed(tmp_path, plant):
    plant(tmp_path, ["A/1.png", "B/1.png"])
    (tmp_path / "t.csv").write_text("file,patient\nA/1.png,1\n")
    assert [item.group for item in scan(tmp_path, sidecar="t.csv").items] == ["1", "folder/B/1.png"]
