from __future__ import annotations

from histoseek.items import Item


def test_item_without_group_is_a_group_of_its_own() -> None:
    item = Item(id="a", path="a.png")
    assert (item.group, item.group_source) == ("a", "image")


def test_item_keeps_a_stated_group() -> None:
    item = Item(id="a", path="a.png", group="p1", group_source="patient")
    assert (item.group, item.group_source) == ("p1", "patient")
