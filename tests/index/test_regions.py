"""Hits that lie side by side on a slide become one region."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import shapely

from histoseek.index import Hit, Hits
from histoseek.index.regions import HitRegion, merge_hits
from histoseek.items import Box, Item


def hit(rank: int, box: tuple[int, int, int, int] | None, **known: object) -> Hit:
    given = {"path": "s1.svs", "slide": "s1", "mpp": 0.5, "label": "gland"} | known
    item = Item(id=f"t{rank}", box=None if box is None else Box(*box), **given)  # type: ignore[arg-type]
    return Hit(rank, 1 - rank / 100, item)


def ranks(regions: list[HitRegion]) -> list[list[int]]:
    return [[one.rank for one in region.hits] for region in regions]


@pytest.mark.parametrize(
    ("second", "merged"),
    [
        ((50, 0, 100, 100), True),  # overlaps
        ((100, 0, 100, 100), True),  # touches
        ((100, 100, 100, 100), True),  # at a corner
        ((150, 0, 100, 100), True),  # half a side away
        ((151, 0, 100, 100), False),
        ((0, 151, 100, 100), False),
        ((0, 150, 100, 100), True),
        ((125, 0, 40, 100), False),  # the smaller side counts
        ((120, 0, 40, 100), True),
        ((20, 30, 40, 50), True),  # inside
    ],
)
def test_tiles_up_to_half_a_side_apart_are_one_region(second: tuple[int, int, int, int], merged: bool) -> None:
    both = [hit(1, (0, 0, 100, 100)), hit(2, second)]
    assert ranks(merge_hits(both)) == ([[1, 2]] if merged else [[1], [2]])
    assert ranks(merge_hits(both[::-1])) == ([[1, 2]] if merged else [[1], [2]])


def test_chains_are_one_region_and_slides_are_kept_apart() -> None:
    chain = [hit(at, (100 * (5 - at), 0, 100, 100)) for at in (1, 3, 2)]
    elsewhere = [hit(4, (200, 0, 100, 100), path="s2.svs", slide="s2"), hit(5, None)]
    regions = merge_hits([*chain, *elsewhere])
    assert ranks(regions) == [[1, 2, 3], [4]]
    assert [region.slide for region in regions] == ["s1", "s2"]
    assert merge_hits([hit(1, None)]) == merge_hits([]) == []


def test_a_region_sums_up_its_hits() -> None:
    tiles = [
        hit(1, (0, 0, 100, 100), label="fat"),
        hit(2, (50, 0, 100, 100)),
        hit(3, (100, 100, 100, 100)),
        hit(4, (9000, 0, 100, 100), label=None, mpp=None, slide=None),
    ]
    region, other = merge_hits(tiles)
    assert region.box == Box(0, 0, 200, 200)
    assert region.shape.equals(shapely.union(shapely.box(0, 0, 150, 100), shapely.box(100, 100, 200, 200)))
    assert (region.score, region.label) == (0.99, "gland")
    assert region.mean_score == pytest.approx(0.98)
    assert region.area_mm2 == pytest.approx(25_000 * 0.25 / 1e6)
    assert (other.label, other.area_mm2, other.slide) == (None, None, "s1")


def test_between_equal_labels_that_of_the_best_hit_counts() -> None:
    [region] = merge_hits([hit(2, (0, 0, 9, 9), label="a"), hit(1, (9, 0, 9, 9), label="b")])
    assert region.label == "b"


def test_regions_stand_in_order_of_their_best_hit() -> None:
    rng = np.random.default_rng(0)
    places = rng.permutation(40)
    regions = merge_hits([hit(at + 1, (int(place) * 90, 0, 30, 30)) for at, place in enumerate(places)])
    assert ranks(regions) == [[at + 1] for at in range(40)]


def test_hits_give_their_regions_and_a_csv_with_the_box_in_columns(tmp_path: Path) -> None:
    hits = Hits((hit(1, (0, 5, 100, 90)), hit(2, None)), tmp_path)
    assert ranks(hits.regions()) == [[1]]
    first, second = csv.DictReader(io.StringIO(hits.to_csv()))
    assert [first[f"box_{side}"] for side in ("x", "y", "width", "height")] == ["0", "5", "100", "90"]
    assert [second[f"box_{side}"] for side in ("x", "y", "width", "height")] == [""] * 4
    assert "box" not in first
    assert json.loads(hits.to_json())["hits"][0]["box"] == [0, 5, 100, 90]
