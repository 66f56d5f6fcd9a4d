"""Annotations of slides: what is read from QuPath and ImageScope, and which tiles take which label."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from histoseek.datasets import annotations
from histoseek.datasets.annotations import (
    Annotation,
    Naming,
    explain_qpdata,
    find_annotations,
    label_tiles,
    placed,
    read_annotations,
    read_polygon,
    touched_tiles,
)
from histoseek.errors import InputError

SQUARE = [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]
HOLE = [[2, 2], [4, 2], [4, 4], [2, 4], [2, 2]]


def feature(geometry: Any, **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": {"objectType": "annotation", **properties}}


def polygon(*rings: Sequence[Sequence[float]]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings)}


def read(folder: Path, content: Any) -> list[Annotation]:
    file = folder / "a.geojson"
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return read_annotations(file)


def aperio(folder: Path, *layers: str) -> Path:
    file = folder / "A01.xml"
    file.write_text(f'<Annotations MicronsPerPixel="0.467">{"".join(layers)}</Annotations>', encoding="utf-8")
    return file


def region(points: Sequence[Sequence[float]], inside: str = "", **known: Any) -> str:
    vertices = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in points)
    given = " ".join(f'{name}="{value}"' for name, value in known.items())
    return f"<Region {given}>{inside}<Vertices>{vertices}</Vertices></Region>"


def layer(*regions: str, name: str = "") -> str:
    return f'<Annotation Id="1" Name="{name}"><Regions>{"".join(regions)}</Regions></Annotation>'


@pytest.mark.parametrize("shape", ["collection", "list", "feature"])
def test_geojson_is_a_collection_a_list_or_one_feature(tmp_path: Path, shape: str) -> None:
    one = feature(polygon(SQUARE, HOLE), classification={"name": "Tumor", "color": [200, 0, 0]}, name="left")
    content = {"collection": {"type": "FeatureCollection", "features": [one]}, "list": [one], "feature": one}[shape]
    [found] = read(tmp_path, content)
    assert (found.label, found.name) == ("Tumor", "left")
    assert found.shape.equals(shapely.Polygon(SQUARE, [HOLE]))
    assert found.shape.area == 96


@pytest.mark.parametrize(
    ("properties", "label"),
    [
        ({"classification": {"name": "Tumor"}, "name": "x"}, "Tumor"),
        ({"classification": {"names": ["Tumor", "Positive"]}}, "Tumor: Positive"),
        ({"classification": " Stroma "}, "Stroma"),
        ({"classification": None, "name": "necrosis"}, "necrosis"),
        ({"classification": {}, "name": "necrosis"}, "necrosis"),
        ({}, None),
        ({"name": 3}, None),
    ],
)
def test_label_is_the_class_else_the_name(tmp_path: Path, properties: dict[str, Any], label: str | None) -> None:
    assert [one.label for one in read(tmp_path, [feature(polygon(SQUARE), **properties)])] == [label]


def test_several_polygons_of_one_object_stay_one(tmp_path: Path) -> None:
    far = [[x + 100, y] for x, y in SQUARE]
    many = {"type": "MultiPolygon", "coordinates": [[SQUARE, HOLE], [far]], "plane": {"c": -1, "z": 0, "t": 0}}
    mixed = {"type": "GeometryCollection", "geometries": [{"type": "Point", "coordinates": [1, 1]}, polygon(far)]}
    first, second = read(tmp_path, [feature(many), feature(mixed)])
    assert (first.shape.geom_type, first.shape.area) == ("MultiPolygon", 196)
    assert second.shape.equals(shapely.Polygon(far))


def test_points_lines_and_what_has_no_area_are_passed_over(tmp_path: Path) -> None:
    flat: list[Any] = [
        {"type": "Point", "coordinates": [1, 2]},
        {"type": "LineString", "coordinates": [[0, 0], [5, 5]]},
        {"type": "MultiPoint", "coordinates": [[0, 0], [5, 5]]},
        polygon([[0, 0], [5, 5], [0, 0]]),
        polygon([[0, 0], [5, 5]]),
        polygon(),
        None,
    ]
    assert [one.name for one in read(tmp_path, [*map(feature, flat), feature(polygon(SQUARE), name="area")])] == [
        "area"
    ]


def test_outline_that_crosses_itself_keeps_all_it_went_around(tmp_path: Path) -> None:
    bow_tie = polygon([[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]])
    turns = np.linspace(0, 4 * np.pi, 80)
    twice_around = [[float((9 + at / 9) * np.cos(at)), float((9 + at / 9) * np.sin(at))] for at in turns]
    first, second = read(tmp_path, [feature(bow_tie), feature(polygon(twice_around))])
    assert first.shape.is_valid
    assert first.shape.area == pytest.approx(50)
    assert second.shape.is_valid
    assert second.shape.area > 0.97 * np.pi * 81  # one that is even and odd by turns would leave a ring


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        '{"type": "FeatureCollection"}',
        '{"type": "Topology", "objects": {}}',
        "3",
        "[" * 20_000,
        "[[[[[[[[[[[]]]]]]]]]]]",
        [feature({"type": "Polygon", "coordinates": [[["a", 0], [1, 1], [2, 0]]]})],
        [feature({"type": "Polygon", "coordinates": [[[0], [1, 1], [2, 0]]]})],
        [feature({"type": "Polygon", "coordinates": 4})],
        [feature({"type": "Polygon"})],
        [feature({"coordinates": [SQUARE]})],
        [feature("Polygon")],
        '[{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [NaN, 1], [2, 0]]]}}]',
        '[{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1'
        + "0" * 400
        + ", 1], [2, 0]]]}}]",
    ],
)
def test_broken_geojson_is_one_sentence(tmp_path: Path, content: Any) -> None:
    with pytest.raises(InputError, match=r"a\.geojson"):
        read(tmp_path, content)


def test_a_broken_feature_is_named_by_its_number(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="feature 2"):
        read(tmp_path, [feature(polygon(SQUARE)), feature({"type": "Polygon", "coordinates": [[[None, 1]]]})])


def test_missing_and_huge_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"none\.geojson"):
        read_annotations(tmp_path / "none.geojson")
    monkeypatch.setattr(annotations, "MAX_BYTES", 100)
    with pytest.raises(InputError, match="MB"):
        read(tmp_path, [feature(polygon(SQUARE))])


def test_aperio_label_is_the_attribute_else_the_text_else_the_layer(tmp_path: Path) -> None:
    attribute = '<Attributes><Attribute Name="Description" Id="0" Value="{}"/></Attributes>'
    file = aperio(
        tmp_path,
        layer(region(SQUARE, attribute.format("Benign"), Text="ignored"), name="layer"),
        layer(region(SQUARE, attribute.format(" "), Text=" Carcinoma in situ "), region(SQUARE), name="layer"),
        layer(region(SQUARE)),
    )
    assert [one.label for one in read_annotations(file)] == ["Benign", "Carcinoma in situ", "layer", None]
    assert all(one.shape.equals(shapely.Polygon(SQUARE)) for one in read_annotations(file))


def test_bach_labels_are_told_apart_by_a_part_of_the_word(tmp_path: Path) -> None:
    written = (
        "Benign",
        "Carcinoma in situ",
        "In situ carcinoma",
        "Carcinoma invasive",
        "invasive  carcinoma ",
        "other",
    )
    file = aperio(tmp_path, layer(*(region(SQUARE, Text=text) for text in written)))
    labels = [one.label for one in read_annotations(file, spelling="bach")]
    assert labels == ["Benign", "InSitu", "InSitu", "Invasive", "Invasive", "other"]


def test_negative_regions_are_holes_in_their_layer_only(tmp_path: Path) -> None:
    whole, gone = region(SQUARE, Text="a"), region(HOLE, Text="b", NegativeROA=1)
    first, second = read_annotations(aperio(tmp_path, layer(whole, gone), layer(whole)))
    assert (first.shape.area, second.shape.area) == (96, 100)
    assert read_annotations(aperio(tmp_path, layer(region(HOLE), region(SQUARE, NegativeROA=1)))) == []


def test_rectangles_and_ellipses_are_given_by_corners(tmp_path: Path) -> None:
    corners = [[10, 20], [50, 40]]
    box, four, ellipse, ruler = read_annotations(
        aperio(
            tmp_path,
            layer(
                region(corners, Type=1),
                region([[10, 20], [50, 20], [50, 40], [10, 40]], Type=1),
                region(corners, Type=2),
                region(corners, Type=4),
                region([*corners, [10, 40]], Type=0),
            ),
        )
    )
    assert box.shape.equals(shapely.box(10, 20, 50, 40))
    assert four.shape.equals(box.shape)
    assert ellipse.shape.bounds == pytest.approx((10, 20, 50, 40), abs=0.01)
    assert ellipse.shape.area == pytest.approx(np.pi * 20 * 10, rel=0.01)
    assert ruler.shape.geom_type == "Polygon"  # the triangle: a ruler of two points has no area


@pytest.mark.parametrize(
    "content",
    [
        "",
        "<Annotations>",
        "<ASAP_Annotations><Annotations/></ASAP_Annotations>",
        '<?xml version="1.0" encoding="nonsense"?><Annotations/>',
        '<!DOCTYPE x [<!ENTITY a "b">]><Annotations>&a;</Annotations>',
        "<Annotations><Annotation><Regions><Region><Vertices><Vertex X='1'/></Vertices></Region></Regions></Annotation>"
        "</Annotations>",
        "<Annotations><Annotation><Regions><Region><Vertices><Vertex X='1' Y='1e999'/></Vertices></Region></Regions>"
        "</Annotation></Annotations>",
    ],
)
def test_broken_xml_is_one_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.xml").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.xml"):
        read_annotations(tmp_path / "a.xml")


def test_a_file_cut_anywhere_is_read_or_refused(tmp_path: Path) -> None:
    whole = json.dumps([feature(polygon(SQUARE, HOLE), classification={"name": "Tumor"})])
    for at in range(len(whole)):
        with pytest.raises(InputError):
            read(tmp_path, whole[:at])


def test_annotations_lie_beside_the_slide_or_in_a_folder_which_comes_first(tmp_path: Path) -> None:
    slide, folder = tmp_path / "s" / "A01.svs", tmp_path / "drawn"
    folder.mkdir()
    slide.parent.mkdir()
    assert find_annotations(slide, None) is None
    assert find_annotations(slide, folder) is None
    (slide.parent / "A01.xml").write_text("<?xml version='1.0'?>\n<!-- a -->\n<Annotations><Annotation/></Annotations>")
    assert find_annotations(slide, folder) == slide.parent / "A01.xml"
    (slide.parent / "A01.svs.geojson").write_text("[]")
    assert find_annotations(slide, None) == slide.parent / "A01.svs.geojson"
    (folder / "A01.xml").write_text("<Annotations/>")
    assert find_annotations(slide, folder) == folder / "A01.xml"
    assert find_annotations(slide, None) == slide.parent / "A01.svs.geojson"


def test_other_json_and_xml_of_the_same_name_is_no_annotation(tmp_path: Path) -> None:
    slide = tmp_path / "a.svs"
    (tmp_path / "a.json").write_text('{"scanner": "x", "type": "settings"}')
    (tmp_path / "a.xml").write_text("<ASAP_Annotations><Annotations></Annotations></ASAP_Annotations>")
    assert find_annotations(slide, None) is None
    (tmp_path / "a.xml").write_bytes("<?xml version='1.0' encoding='utf-16'?><Annotations/>".encode("utf-16"))
    assert find_annotations(slide, None) == tmp_path / "a.xml"
    assert read_annotations(tmp_path / "a.xml") == []
    (tmp_path / "a.json").write_text(json.dumps([feature(polygon(SQUARE))]))
    assert find_annotations(slide, None) == tmp_path / "a.json"


def test_qpdata_alone_is_explained_with_the_line_for_qupath(tmp_path: Path) -> None:
    slide = tmp_path / "o'k.svs"
    assert explain_qpdata(slide, None) is None
    (tmp_path / "o'k.qpdata").write_bytes(b"")
    told = explain_qpdata(slide, None) or ""
    home = tmp_path.as_posix()
    assert f"PathIO.readHierarchy(new File('{home}/o\\'k.qpdata'))" in told
    assert f"'{home}/o\\'k.geojson', 'FEATURE_COLLECTION')" in told
    (tmp_path / "o'k.geojson").write_text("[]")
    assert explain_qpdata(slide, None) is None


def test_polygon_of_a_file_is_all_its_areas_together(tmp_path: Path) -> None:
    right = [[x + 5, y] for x, y in SQUARE]
    read(tmp_path, [feature(polygon(SQUARE)), feature(polygon(right))])
    assert read_polygon(tmp_path / "a.geojson", tmp_path / "a.svs").equals(shapely.box(0, 0, 15, 10))
    read(tmp_path, [feature({"type": "Point", "coordinates": [1, 2]})])
    with pytest.raises(InputError, match="no polygon"):
        read_polygon(tmp_path / "a.geojson", tmp_path / "a.svs")


def boxes(*rows: tuple[int, int, int, int]) -> Any:
    return np.array(rows, dtype=np.int64)


def area(label: str | None, x: float, y: float, width: float, height: float) -> Annotation:
    return Annotation(label, shapely.box(x, y, x + width, y + height))


def test_tile_takes_the_label_that_covers_enough_of_it() -> None:
    tiles = boxes((0, 0, 10, 10), (10, 0, 10, 10), (20, 0, 10, 10), (40, 0, 10, 10))
    drawn = [area("a", 0, 0, 15, 10)]
    assert label_tiles(tiles, drawn, 0.5) == ["a", "a", None, None]
    assert label_tiles(tiles, drawn, 0.51) == ["a", None, None, None]
    assert label_tiles(tiles, drawn, 1.0) == ["a", None, None, None]


def test_the_label_with_the_larger_part_wins_and_of_equals_the_first() -> None:
    tile = boxes((0, 0, 10, 10))
    assert label_tiles(tile, [area("a", 0, 0, 4, 10), area("b", 4, 0, 6, 10)], 0.4) == ["b"]
    assert label_tiles(tile, [area("b", 0, 0, 5, 10), area("a", 5, 0, 5, 10)], 0.4) == ["b"]
    assert label_tiles(tile, [area("a", 5, 0, 5, 10), area("b", 0, 0, 5, 10)], 0.4) == ["a"]
    noisy = [area("b", 0, 0, 0.3, 1), area("a", 0.7, 0, 0.3, 1)]  # 1.0 - 0.7 is a little more than 0.3
    assert noisy[1].shape.area > noisy[0].shape.area
    assert label_tiles(boxes((0, 0, 1, 1)), noisy, 0.3) == ["b"]


def test_areas_of_one_label_count_together_but_an_overlap_only_once() -> None:
    tile = boxes((0, 0, 10, 10))
    halves = [area("a", 0, 0, 3, 10), area("a", 5, 0, 3, 10)]
    assert label_tiles(tile, halves, 0.6) == ["a"]
    twice = [area("a", 0, 0, 4, 10), area("a", 0, 0, 4, 10), area("a", 1, 0, 4, 10)]
    assert label_tiles(tile, twice, 0.5) == ["a"]
    assert label_tiles(tile, twice, 0.51) == [None]
    assert label_tiles(tile, [*twice, area("b", 0, 0, 6, 10)], 0.5) == ["b"]


def test_areas_without_a_label_and_areas_that_only_touch_give_none() -> None:
    tile = boxes((0, 0, 10, 10))
    assert label_tiles(tile, [area(None, 0, 0, 10, 10)], 0.5) == [None]
    assert label_tiles(tile, [area("a", 10, 0, 10, 10)], 0.01) == [None]
    assert label_tiles(tile, [], 0.5) == [None]
    assert label_tiles(np.empty((0, 4), dtype=np.int64), [area("a", 0, 0, 1, 1)], 0.5) == []
    for cover in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(InputError, match="above 0"):
            label_tiles(tile, [], cover)


def test_labels_agree_with_the_rule_spelt_out() -> None:
    rng = np.random.default_rng(3)
    tiles = boxes(*((x, y, 20, 15) for x in range(0, 100, 10) for y in range(0, 90, 15)))
    drawn = [
        Annotation("abc"[at % 3], shapely.Point(*rng.uniform(0, 100, 2)).buffer(rng.uniform(3, 30))) for at in range(12)
    ]
    together = {label: shapely.union_all([one.shape for one in drawn if one.label == label]) for label in "abc"}
    wanted = []
    for x, y, width, height in tiles.tolist():
        tile = shapely.box(x, y, x + width, y + height)
        parts = {label: shape.intersection(tile).area / tile.area for label, shape in together.items()}
        best = max(parts, key=lambda label: round(parts[label], 9))
        wanted.append(best if parts[best] >= 0.4 else None)
    assert set(wanted) == {"a", "b", "c", None}
    assert label_tiles(tiles, drawn, 0.4) == wanted


def test_what_an_annotation_touches_is_not_outside() -> None:
    boxes = np.array([[0, 0, 10, 10], [10, 0, 10, 10], [20, 0, 10, 10], [30, 0, 10, 10]])
    annotations = [Annotation("a", shapely.box(0, 0, 4, 10)), Annotation(None, shapely.box(12, 2, 14, 4))]
    assert label_tiles(boxes, annotations, 0.5) == [None] * 4
    assert touched_tiles(boxes, annotations).tolist() == [True, True, False, False]
    assert touched_tiles(boxes, [Annotation("a", shapely.box(0, 0, 10, 10))]).tolist() == [True, False, False, False]
    assert not touched_tiles(boxes, []).any()


def test_slides_of_one_name_do_not_share_an_annotation_file(tmp_path: Path) -> None:
    folder = tmp_path / "drawn"
    for name in ("x.geojson", "b/x.geojson"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    one, two = tmp_path / "a" / "x.svs", tmp_path / "b" / "x.svs"
    assert find_annotations(one, folder, Naming("a", is_alone=False)) is None
    assert find_annotations(two, folder, Naming("b", is_alone=False)) == folder / "b" / "x.geojson"
    assert find_annotations(one, folder, Naming("a")) == folder / "x.geojson"
    (folder / "x.svs.geojson").write_text("{}")
    assert find_annotations(one, folder, Naming("a", is_alone=False)) == folder / "x.svs.geojson"
    beside = tmp_path / "a" / "x.geojson"
    beside.parent.mkdir()
    beside.write_text("{}")
    assert find_annotations(one, None, Naming("a", is_alone=False)) == beside
    assert find_annotations(one, None, Naming("a", False, is_alone_in_folder=False)) is None


def test_geojson_lies_where_qupath_counts_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("histoseek.datasets.annotations.origin_of", lambda path: (1000, 500))
    drawn = [Annotation("a", shapely.box(0, 0, 10, 10))]
    assert placed(drawn, Path("s.geojson"), Path("s.mrxs"))[0].shape.equals(shapely.box(1000, 500, 1010, 510))
    assert placed(drawn, Path("s.xml"), Path("s.mrxs"))[0].shape.equals(drawn[0].shape)
