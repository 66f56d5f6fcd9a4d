from __future__ import annotations

from pathlib import Path

import pytest

from histoseek.datasets import prepare, prepare_with_report
from histoseek.errors import InputError


def table(folder: Path, text: str) -> Path:
    path = folder / "t.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_are_mapped_and_the_rest_is_kept(tmp_path, plant):
    plant(tmp_path, ["a/1.png", "a/2.png"])
    source = table(
        tmp_path,
        "path,diagnosis,case,x,known,code,mpp\n"
        'a/1.png,"carcinoma, in situ",C1,10,true,007,0.5\na\\2.png,,C2,-3,false,008,\n',
    )
    first, second = prepare("csv", source, columns="label=diagnosis,group=case")
    assert (first.label, first.group, first.group_source, first.case) == ("carcinoma, in situ", "C1", "case", "C1")
    assert (second.label, second.path, second.mpp) == (None, "a/2.png", None)
    assert (first.mpp, first.mpp_source) == (0.5, "table")
    assert first.extra == {"x": 10, "known": True, "code": "007"}
    assert second.extra == {"x": -3, "known": False, "code": "008"}
    assert first.box is None


def test_boxes(tmp_path, plant):
    plant(tmp_path, ["1.png"])
    head = "file,label,box_x,box_y,box_width,box_height\n"
    source = table(tmp_path, head + "1.png,A,0,0,2,2\n1.png,B,1,0,2,2\n1.png,B,2,0,2,2\n1.png,A,0,0,2,2\n")
    prepared = prepare_with_report("csv", source, dataset="mine")
    assert [item.id for item in prepared.manifest] == ["mine/1.png#0,0,2,2", "mine/1.png#1,0,2,2"]
    assert [(item.width, item.height) for item in prepared.manifest] == [(2, 2), (2, 2)]
    reasons = sorted(row.reason for row in prepared.skipped)
    assert len(reasons) == 2
    assert "not inside the 3 × 2 image" in reasons[0]
    with pytest.raises(InputError, match="row 2: a box needs all four"):
        prepare("csv", table(tmp_path, head + "1.png,A,0,,2,2\n"))


def test_paths_that_lead_out_and_files_that_are_not_there_are_skipped(tmp_path, plant):
    root = plant(tmp_path / "in", ["1.png"])
    plant(tmp_path, ["out.png"])
    lines = ["path", "1.png", "../out.png", str(tmp_path / "out.png"), str(root / "1.png"), "gone.png", "C:\\x.png"]
    prepared = prepare_with_report("csv", table(root, "\n".join(lines) + "\n"))
    assert [item.path for item in prepared.manifest] == ["1.png"]
    assert len(prepared.skipped) == 5
    elsewhere = table(tmp_path, "path\n1.png\n")
    assert len(prepare("csv", elsewhere, root=str(root))) == 1


def test_wrong_mappings_are_sentences(tmp_path, plant):
    source = table(plant(tmp_path, ["1.png"]), "img,diagnosis,stage\n1.png,x,7\n")
    with pytest.raises(InputError, match=r"columns=path=COLUMN: img, diagnosis, stage"):
        prepare("csv", source)
    assert prepare("csv", source, columns="path=img, label=diagnosis")[0].label == "x"
    with pytest.raises(InputError, match="no column 'organ'"):
        prepare("csv", source, columns="path=img,label=organ")
    with pytest.raises(InputError, match="write FIELD=COLUMN"):
        prepare("csv", source, columns="tag=diagnosis")
    with pytest.raises(InputError, match="row 2, column 'diagnosis': 'x' is no number"):
        prepare("csv", source, columns="path=img,mpp=diagnosis")
    with pytest.raises(InputError, match="is a folder"):
        prepare("csv", tmp_path)


@pytest.mark.real_data
def test_real_tiles(trees):
    source = trees.SHARED / "atlas" / "tiles.csv"
    if not source.is_file():
        pytest.skip("no real tissue beside the checkout")
    prepared = prepare_with_report("csv", source, columns="label=organ,group=case")
    assert len(prepared.manifest) == 5789
    assert prepared.skipped == ()
    assert prepared.summary.groups["all"] == 119
    assert not prepared.summary.audit.errors
    item = prepared.manifest[0]
    assert (item.width, item.height, item.mpp, item.box) == (256, 256, 0.5, None)
    assert isinstance(item.extra["x"], int)
    assert item.extra["mpp_known"] is True
