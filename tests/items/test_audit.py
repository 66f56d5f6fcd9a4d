from __future__ import annotations

from dataclasses import replace

import pytest

from histoseek.items import Box, Item, Manifest
from histoseek.items.audit import Finding


def clean() -> list[Item]:
    return [
        Item(
            id=f"i{n}",
            path="p",
            label=f"L{n % 2}",
            group=f"g{n}",
            group_source="patient",
            split="train" if n < 5 else "test",
            mpp=0.5,
            sha256=f"{n:064x}",
        )
        for n in range(10)
    ]


def audit(items: list[Item]) -> dict[str, Finding]:
    return {finding.kind: finding for finding in Manifest.from_items(items, ".").audit().findings}


def test_clean_manifest_has_no_findings() -> None:
    assert audit(clean()) == {}


def test_group_in_two_splits_is_an_error() -> None:
    items = clean()
    items[9] = replace(items[9], group="g0")
    found = audit(items)["group-across-splits"]
    assert (found.level, found.n_items, found.examples) == ("error", 2, ("g0",))


@pytest.mark.parametrize("column", ["split", "label", "group"])
def test_identical_image_on_two_sides_is_an_error(column: str) -> None:
    items = clean()
    values = {"split": "test", "label": "L1", "group": "other"}
    twin = replace(items[0], id="twin", **{column: values[column]})
    found = audit([*items, twin])
    found.pop("group-across-splits", None)
    assert set(found) == {f"content-across-{column}s", "duplicates"}
    assert found[f"content-across-{column}s"].level == "error"
    assert found[f"content-across-{column}s"].examples == ("i0", "twin")


def test_two_boxes_of_one_file_are_not_identical() -> None:
    one = replace(clean()[0], box=Box(0, 0, 5, 5))
    assert audit([one, replace(one, id="two", box=Box(5, 0, 5, 5))]) == {}
    assert audit([one, replace(one, id="two")])["duplicates"].n_items == 1


def test_a_user_column_named_content_is_no_trouble() -> None:
    items = [replace(item, extra={"content": "gland"}) for item in clean()]
    assert audit([*items, replace(items[0], id="twin")])["duplicates"].n_items == 1


def test_missing_scale_label_and_group_are_notes() -> None:
    items = clean()
    items[0] = replace(items[0], mpp=None)
    items[1] = replace(items[1], label=None)
    found = audit([*items, Item(id="alone", path="p", label="L0", mpp=0.5)])
    assert {kind: one.n_items for kind, one in found.items()} == {
        "missing-mpp": 1,
        "missing-label": 1,
        "unknown-group": 1,
    }
    assert {one.level for one in found.values()} == {"note"}


def test_imbalance_names_both_labels() -> None:
    many = [replace(clean()[0], id=f"m{n}", sha256=None) for n in range(45)]
    found = audit([*clean(), *many])["imbalance"]
    assert "'L0' has 50 items and 'L1' 5" in found.message


def test_errors_come_first_in_the_lines() -> None:
    items = clean()
    items[0] = replace(items[0], mpp=None)
    items[9] = replace(items[9], group="g0")
    lines = Manifest.from_items(items, ".").audit().lines()
    assert [line[0] for line in lines] == ["!", "-"]
