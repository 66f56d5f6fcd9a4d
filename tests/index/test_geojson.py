"""What is written for QuPath: GeoJSON by RFC 7946, in QuPath's terms, and read back as it was."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
import shapely
import shapely.geometry

from histoseek.datasets.annotations import find_annotations, read_annotations
from histoseek.errors import InputError
from histoseek.index import Hit, Hits
from histoseek.items import Box, Item


def hit(rank: int, x: int, y: int, **known: object) -> Hit:
    given = {"path": "P1/s1.svs", "slide": "s1", "mpp": 0.5, "label": "gland", "box": Box(x, y, 100, 80)} | known
    return Hit(rank, 0.9 - rank / 1000, Item(id=f"t{rank}", **given))  # type: ignore[arg-type]


def written(hits: list[Hit], folder: Path) -> dict[str, Any]:
    """What each file holds."""
    root = folder / "somewhere"
    paths = Hits(tuple(hits), root).to_geojson(folder / "out")
    assert sorted(folder.joinpath("out").iterdir()) == sorted(paths)
    texts = {path.name: path.read_text(encoding="utf-8") for path in paths}
    assert not any(str(root) in text for text in texts.values())
    return {name: json.loads(text) for name, text in texts.items()}


def of_kind(content: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [one for one in content["features"] if one["properties"]["objectType"] == kind]


HITS = [hit(1, 0, 0), hit(2, 100, 0), hit(3, 130, 100, label=None), hit(4, 5000, 700, label="fat")]


def test_each_region_is_an_annotation_and_each_tile_a_detection(tmp_path: Path) -> None:
    content = written(HITS, tmp_path)["s1.hits.geojson"]
    assert content["type"] == "FeatureCollection"
    wholes, tiles = of_kind(content, "annotation"), of_kind(content, "detection")
    assert len(content["features"]) == len(wholes) + len(tiles) == 6
    assert [one["properties"]["classification"]["name"] for one in wholes] == ["gland", "fat"]
    assert [one["properties"]["classification"]["name"] for one in tiles] == ["gland", "gland", "Histoseek hit", "fat"]
    assert [one["properties"]["measurements"]["Rank"] for one in tiles] == [1, 2, 3, 4]
    assert [one["properties"]["measurements"]["Score"] for one in tiles] == [0.899, 0.898, 0.897, 0.896]
    measured = wholes[0]["properties"]["measurements"]
    assert measured["Tiles"] == 3
    assert measured["Best score"] == 0.899
    assert measured["Mean score"] == 0.898
    assert measured["Area mm2"] == pytest.approx(3 * 8000 * 0.25 / 1e6)


def test_geometry_is_rfc_7946_in_level_0_pixels(tmp_path: Path) -> None:
    content = written(HITS, tmp_path)["s1.hits.geojson"]
    for feature in content["features"]:
        assert feature["type"] == "Feature"
        geometry = feature["geometry"]
        polygons = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
        for rings in polygons:
            for number, ring in enumerate(rings):
                assert len(ring) >= 4
                assert ring[0] == ring[-1]
                assert shapely.LinearRing(ring).is_ccw == (number == 0)
        assert shapely.geometry.shape(geometry).is_valid
    tiles = [shapely.geometry.shape(one["geometry"]) for one in of_kind(content, "detection")]
    assert [tile.bounds for tile in tiles] == [
        (0, 0, 100, 80), (100, 0, 200, 80), (130, 100, 230, 180), (5000, 700, 5100, 780),
    ]  # fmt: skip
    first = shapely.geometry.shape(of_kind(content, "annotation")[0]["geometry"])
    assert first.equals(shapely.union_all(tiles[:3]))
    assert first.geom_type == "MultiPolygon"  # the third tile lies a little apart


def test_a_ring_of_tiles_keeps_its_hole(tmp_path: Path) -> None:
    around = [(x, y) for x in range(4) for y in range(4) if x in (0, 3) or y in (0, 3)]
    hits = [hit(at, 100 * x, 80 * y) for at, (x, y) in enumerate(around, 1)]
    content = written(hits, tmp_path)["s1.hits.geojson"]
    [ring] = of_kind(content, "annotation")
    assert len(ring["geometry"]["coordinates"]) == 2
    assert shapely.geometry.shape(ring["geometry"]).area == 12 * 8000
    [back] = [one for one in read_annotations(tmp_path / "out" / "s1.hits.geojson") if one.name]
    assert back.shape.area == 12 * 8000


def test_ids_are_uuids_of_the_place_and_the_same_in_every_export(tmp_path: Path) -> None:
    first = written(HITS, tmp_path / "a")["s1.hits.geojson"]["features"]
    ids = [one["id"] for one in first]
    assert len(set(ids)) == len(ids)
    assert all(str(uuid.UUID(name)) == name for name in ids)
    assert written(HITS, tmp_path / "b")["s1.hits.geojson"]["features"] == first
    alone = written([hit(9, 5000, 700)], tmp_path / "c")["s1.hits.geojson"]["features"]
    assert {one["id"] for one in alone} == set(ids[-2:])
    other = written([hit(9, 5000, 700, path="P2/s2.svs")], tmp_path / "d")["s2.hits.geojson"]["features"]
    assert not {one["id"] for one in other} & set(ids)


def test_labels_of_an_export_have_colours_of_their_own(tmp_path: Path) -> None:
    names = ("gland", "fat", "mucin", "muscle", "debris", None)
    hits = [hit(at, 1000 * at, 0, label=name) for at, name in enumerate(names, 1)]
    hits += [hit(7, 0, 0, path="s2.svs", label="mucin")]
    found: dict[str, set[tuple[int, ...]]] = {}
    for content in written(hits, tmp_path).values():
        for one in content["features"]:
            label = one["properties"]["classification"]
            found.setdefault(label["name"], set()).add(tuple(label["color"]))
    assert len(found) == 6
    assert all(len(colours) == 1 for colours in found.values())
    assert len(set.union(*found.values())) == 6
    assert all(0 <= part <= 255 for (colour,) in found.values() for part in colour)


def test_export_is_read_back_as_it_was(tmp_path: Path) -> None:
    hits = Hits(tuple(HITS), tmp_path)
    [file] = hits.to_geojson(tmp_path)
    back = read_annotations(file)
    regions = [one for one in back if one.name]
    assert [one.label for one in regions] == [region.label for region in hits.regions()]
    assert all(one.shape.equals(region.shape) for one, region in zip(regions, hits.regions(), strict=True))
    tiles = [one for one in back if not one.name]
    assert [one.label for one in tiles] == ["gland", "gland", "Histoseek hit", "fat"]
    boxes = [one.item.box for one in HITS if one.item.box]
    assert all(
        one.shape.equals(shapely.box(box.x, box.y, box.x + box.width, box.y + box.height))
        for one, box in zip(tiles, boxes, strict=True)
    )


def test_one_file_a_slide_whatever_the_slides_are_called(tmp_path: Path) -> None:
    paths = ("a/x.svs", "b/x.svs", "c/X.tif", "a/b/y.svs", "a_b/z.svs")
    content = written([hit(at, 100 * at, 0, path=path) for at, path in enumerate(paths, 1)], tmp_path)
    assert len(content) == len({name.lower() for name in content}) == 5
    assert {"y.hits.geojson", "z.hits.geojson"} < set(content)
    assert all(len(one["features"]) == 2 for one in content.values())


def test_export_beside_a_slide_leaves_what_was_drawn_there_alone(tmp_path: Path) -> None:
    drawn = tmp_path / "s1.geojson"
    drawn.write_text("[]")
    Hits(tuple(HITS), tmp_path).to_geojson(tmp_path)
    assert drawn.read_text() == "[]"
    drawn.unlink()
    assert find_annotations(tmp_path / "s1.svs", None) is None


def test_hits_that_lie_on_no_slide_cannot_be_exported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none of the hits lies on a slide"):
        Hits((hit(1, 0, 0, box=None),), tmp_path).to_geojson(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_on_a_slide_of_which_a_part_was_scanned_qupath_counts_from_there(tmp_path: Path) -> None:
    moved = hit(1, 1200, 900, extra={"origin_x": 1000, "origin_y": 500})
    for feature in written([moved], tmp_path)["s1.hits.geojson"]["features"]:
        assert shapely.geometry.shape(feature["geometry"]).equals(shapely.box(200, 400, 300, 480))
