from __future__ import annotations

from histoseek.datasets import prepare_with_report
from histoseek.datasets.dataset import Published, Scan
from histoseek.datasets.summary import summarise
from histoseek.items import Item, Manifest

STATED = Published("paper", {"train": {"A": 2, "B": 1}}, by="split", groups={"patient": {"train": 2}})


def lines(tmp_path, *sources):
    items = [
        Item(id=str(i), path=f"{i}.png", label=label, split="train", group=f"g{i % 2}", group_source=source)
        for i, (label, source) in enumerate(zip("AAB", sources, strict=True))
    ]
    manifest = Manifest.from_items(items, root=tmp_path)
    return summarise("t", manifest, Scan(items, published=STATED), ()).lines()


def test_groups_that_were_not_compared_are_told(tmp_path):
    mixed = next(line for line in lines(tmp_path, "patient", "patient", "slide") if "all counts agree" in line)
    assert mixed.endswith("groups were not compared: here they are patient, slide")
    assert not any("not compared" in line for line in lines(tmp_path, *["patient"] * 3))


def test_found_and_published_stand_side_by_side(tmp_path):
    rows = [line.split() for line in lines(tmp_path, *["patient"] * 3)]
    assert ["A", "2/2", "2/2"] in rows
    assert ["all", "3/3", "3/3"] in rows
    assert ["groups", "2/2", "2"] in rows


def test_a_partial_download_is_told_in_few_lines(tmp_path, plant, trees):
    files = [file for file in trees.roi_files() if "_1" in file]
    found = prepare_with_report("bracs", plant(tmp_path, files)).summary
    assert [line.split(":")[0] for line in found.agreement] == ["train", "val", "test", "and 19 labels differ"]
