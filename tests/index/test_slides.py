"""Drawn slides with planted regions, all the way: prepare, index, search in place and by slide, evaluate."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import histoseek as hs
from histoseek.cli import main
from histoseek.datasets.annotations import read_annotations
from histoseek.errors import EncoderError, ImageError, InputError
from histoseek.evaluation import LevelSettings, evaluate_level, write_levels
from histoseek.figures.heat import draw_heat
from histoseek.index import Example, Region, heat_of, parse_region, picture_of_region
from histoseek.index.matching import METHODS, Bags, similarities, unit_mean
from histoseek.index.origins import rows_of_file
from histoseek.index.representatives import choose
from histoseek.index.whole_search import PREFILTER
from histoseek.index.wholes import wholes_of
from histoseek.items import Box
from histoseek.phantom import write_slide, write_slides


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four patients with two drawn slides each; slide 1 of P01 and of P02 are siblings, and so on."""
    home = tmp_path_factory.mktemp("slides")
    write_slides(home / "slides", 4, 2, size=(1280, 960))
    rows = ["file,patient,label", *(f"{name},{one['patient']},{one['label']}" for name, one in truth(home).items())]
    (home / "slides" / "slides.csv").write_text("\n".join(rows) + "\n")
    manifest = hs.prepare("slides", home / "slides", sidecar="slides.csv", overlap=0.5)
    hs.Index.build(manifest, "mini", home / "x.index")
    return home


@pytest.fixture
def index(home: Path) -> hs.Index:
    return hs.Index.open(home / "x.index")


def truth(home: Path) -> dict[str, dict]:
    return json.loads((home / "slides" / "truth.json").read_text())


def overlap_of(box: Box, other: list[int]) -> float:
    width = min(box.x + box.width, other[0] + other[2]) - max(box.x, other[0])
    height = min(box.y + box.height, other[1] + other[3]) - max(box.y, other[1])
    return max(0, width) * max(0, height) / (box.width * box.height)


def largest(one: dict, kind: str) -> list[int]:
    boxes = [region["box"] for region in one["regions"] if region["kind"] == kind]
    return max(boxes, key=lambda box: box[2] * box[3])


@pytest.mark.parametrize(("name", "kind"), [("P01/P01_S1.tif", "dysplastic gland"), ("P03/P03_S1.tif", "lymphoid")])
def test_a_region_finds_the_planted_kind_in_place_and_never_its_own_patient(
    home: Path, index: hs.Index, name: str, kind: str
) -> None:
    known = truth(home)
    x, y, width, height = largest(known[name], kind)
    hits = index.search(region=f"{home / 'slides' / name}:{x},{y},{width},{height}", k=5)
    assert known[name]["patient"] not in {hit.item.group for hit in hits}
    found = [
        any(region["kind"] == kind and overlap_of(hit.item.box, region["box"]) > 0.3 for region in regions)
        for hit in hits
        for regions in [known[hit.item.path]["regions"]]
    ]
    assert found[0] and sum(found) >= 3


def test_the_own_patient_may_be_let_in_but_not_the_region_itself(home: Path, index: hs.Index) -> None:
    name = "P01/P01_S1.tif"
    x, y, width, height = largest(truth(home)[name], "gland")
    hits = index.search(region=f"{home / 'slides' / name}:{x},{y},{width},{height}", k=20, exclude_group=False)
    assert "P01" in {hit.item.group for hit in hits}
    assert all(overlap_of(hit.item.box, [x, y, width, height]) == 0 for hit in hits if hit.item.path == name)


def test_a_slide_of_the_archive_is_known_under_another_name_too(home: Path, index: hs.Index, tmp_path: Path) -> None:
    copy = tmp_path / "copy.tif"
    copy.write_bytes((home / "slides" / "P01" / "P01_S1.tif").read_bytes())
    hits = index.search(region=f"{copy}:300,300,256,256", k=10)
    assert "P01" not in {hit.item.group for hit in hits}


def test_a_slide_without_digest_is_known_by_its_name(home: Path, index: hs.Index) -> None:
    items = index.rows.items
    bare = items.set_column(items.schema.get_field_index("sha256"), "sha256", pa.nulls(len(items), pa.string()))
    elsewhere = Path("/nowhere/P01_S1.tif")
    rows = rows_of_file(bare, home / "slides", elsewhere)
    assert {items["slide"][row].as_py() for row in rows} == {"P01_S1"}
    assert rows_of_file(items, home / "slides", elsewhere) == []


def test_the_archives_own_scale_counts_for_a_region_of_its_slides(home: Path, tmp_path: Path) -> None:
    manifest = hs.prepare("slides", home / "slides" / "P01", mpp=0.25)
    built = hs.Index.build(manifest, "color", tmp_path / "x.index")
    item = built.manifest[3]
    region = Example("region", f"{manifest.path_of(item)}:{','.join(map(str, item.box))}")
    assert built.scale_of_region(region) == 0.25
    assert float(built.embed(region) @ built.embed(Example("item", item.id))) > 0.99999


def test_slides_of_one_name_in_two_patients_are_two(home: Path, index: hs.Index) -> None:
    items = index.rows.items
    names = pa.array([name[-2:] for name in items["slide"].to_pylist()])
    shared = items.set_column(items.schema.get_field_index("slide"), "slide", names)
    wholes = wholes_of(shared, "slide")
    assert [whole.name for whole in wholes] == [f"P0{patient}/S{nth}" for patient in range(1, 5) for nth in (1, 2)]
    assert sum(len(whole.rows) for whole in wholes) == len(items)


def test_pixels_and_micrometres_mean_the_same_place(home: Path, index: hs.Index) -> None:
    slide = home / "slides" / "P02" / "P02_S1.tif"
    mpp = truth(home)["P02/P02_S1.tif"]["mpp"]
    in_px = index.embed(Example("region", Region(slide, (400, 200, 300, 280))))
    in_um = index.embed(Example("region", f"{slide}:{400 * mpp},{200 * mpp},{300 * mpp},{280 * mpp}um"))
    assert np.array_equal(in_px, in_um)
    picture, scale = picture_of_region(Region(slide, (400, 200, 300, 280)), None, 150)
    assert picture.size == (150, 140) and scale == pytest.approx(2 * mpp)


def test_an_outline_is_a_region(home: Path, index: hs.Index, tmp_path: Path) -> None:
    name = "P01/P01_S1.tif"
    x, y, width, height = largest(truth(home)[name], "gland")
    corners = [[x, y], [x + width, y], [x + width, y + height], [x, y + height], [x, y]]
    outline = tmp_path / "roi.geojson"
    outline.write_text(json.dumps({"type": "Polygon", "coordinates": [corners]}))
    slide = home / "slides" / name
    by_outline = index.embed(Example("region", f"{slide}:{outline}"))
    by_box = index.embed(Example("region", f"{slide}:{x},{y},{width},{height}"))
    assert float(by_outline @ by_box) > 0.999
    corner = [[x, y], [x + 260, y], [x + 260, y + 260], [x, y]]
    outline.write_text(json.dumps({"type": "Polygon", "coordinates": [corner]}))
    triangle = index.embed(Example("region", f"{slide}:{outline}"))
    assert float(triangle @ by_box) < 0.999
    by_corners = index.embed(Example("region", Region(slide, corners=tuple((x, y) for x, y in corner))))
    assert np.array_equal(by_corners, triangle)
    crossed = ((x, y), (x + width, y + height), (x + width, y), (x, y + height))  # a bow tie: a hand may slip
    assert np.isfinite(index.embed(Example("region", Region(slide, corners=crossed)))).all()
    with pytest.raises(InputError, match="has no area"):
        index.embed(Example("region", Region(slide, corners=((x, y), (x + 9, y), (x + 20, y)))))
    assert "polygon of 4 corners" in str(Region(slide, corners=crossed))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("slide.svs", "names no place"),
        ("slide.svs:1,2,3", "is not of the form"),
        ("slide.svs:1,2,a,4", "is not of the form"),
        ("slide.svs:1,2,0,4", "has no area"),
        ("slide.svs:-1,2,3,4", "has no area"),
        ("slide.svs:1,2,nan,4", "has no area"),
    ],
)
def test_a_region_that_is_none_is_refused(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        parse_region(text)


def test_what_can_be_wrong_with_a_region_is_said(home: Path, index: hs.Index, tmp_path: Path) -> None:
    slide = home / "slides" / "P01" / "P01_S1.tif"
    with pytest.raises(InputError, match="does not lie inside the slide, which is 1280 × 960"):
        index.search(region=f"{slide}:1200,0,200,200")
    with pytest.raises(ImageError, match="there is no slide"):
        index.search(region=f"{tmp_path / 'gone.svs'}:0,0,9,9")
    unscaled = write_slide(tmp_path / "unscaled.tif", np.full((300, 300, 3), 180, np.uint8), None)
    with pytest.raises(InputError, match="state µm per pixel with --mpp"):
        index.search(region=f"{unscaled}:0,0,200,200")
    assert len(index.search(region=f"{unscaled}:0,0,200,200", mpp=0.5, k=3)) == 3
    with pytest.raises(InputError, match=r"is a whole slide; ask with a part of it"):
        index.search(image=tmp_path / "x.svs")


def test_hits_go_to_qupath_and_come_back(home: Path, index: hs.Index, tmp_path: Path) -> None:
    hits = index.search(text="gland", k=30)
    written = hits.to_geojson(tmp_path / "out")
    assert {path.name.split(".")[0] for path in written} == {hit.item.slide for hit in hits}
    n_regions = sum(one["properties"]["objectType"] == "annotation" for p in written for one in features(p))
    assert n_regions == len(hits.regions()) < len(hits)
    for path in written:
        boxes = [hit.item.box for hit in hits if hit.item.slide == path.name.split(".")[0]]
        area = sum(one.shape.area for one in read_annotations(path))
        assert area >= sum(box.width * box.height for box in boxes)  # the tiles, and the regions around them


def features(path: Path) -> list[dict]:
    return json.loads(path.read_text())["features"]


def test_the_heat_is_on_what_looks_alike(home: Path, index: hs.Index) -> None:
    x, y, width, height = largest(truth(home)["P01/P01_S1.tif"], "dysplastic gland")
    region = Example("region", f"{home / 'slides' / 'P01/P01_S1.tif'}:{x},{y},{width},{height}")
    heat = heat_of(index, index.vector_of([region]), "P02_S1")
    regions = truth(home)["P02/P02_S1.tif"]["regions"]
    on = {"gland": [], "dysplastic gland": []}
    for box, score in zip(heat.boxes.tolist(), heat.scores.tolist(), strict=True):
        for one in regions:
            if overlap_of(Box(*box), one["box"]) > 0.8:
                on[one["kind"]].append(score)
    assert np.mean(on["dysplastic gland"]) > np.mean(on["gland"]) + 0.05
    assert draw_heat(heat, "a region").width > 1200


def test_the_planted_sibling_is_the_first_slide(home: Path, index: hs.Index) -> None:
    known = {Path(name).stem: one for name, one in truth(home).items()}
    for name, one in known.items():
        for choice in ("mosaic", "diverse"):
            found = index.search_wholes(name, representatives=choice, k=3)
            assert known[found.hits[0].name]["label"] == one["label"]
            assert one["patient"] not in {hit.group for hit in found.hits}
    first = found.hits[0]
    assert [pair.score for pair in first.pairs] == sorted((pair.score for pair in first.pairs), reverse=True)
    assert {pair.query.slide for pair in first.pairs} == {name}
    assert {pair.hit.slide for pair in first.pairs} == {first.name}
    assert len({pair.hit.id for pair in first.pairs}) == len(first.pairs) == 3
    assert found.votes()[1] == first.label


def test_patients_find_the_patient_with_the_same_slides(index: hs.Index, tmp_path: Path) -> None:
    pairs = {"P01": "P02", "P02": "P01", "P03": "P04", "P04": "P03"}
    for name, other in pairs.items():
        assert index.search_wholes(name, "case").hits[0].name == other
    found = index.search_wholes("P01_S1", exclude_group=False)
    assert "P01" in {hit.group for hit in found.hits} and "P01_S1" not in {hit.name for hit in found.hits}
    with pytest.raises(InputError, match=r"holds no slide 'P01_S9'; it holds .*P01_S1"):
        index.search_wholes("P01_S9")
    assert found.sheet(tmp_path / "pairs.png").height > 600
    with pytest.raises(InputError, match=r"name a file that ends in \.png or \.jpg"):
        found.sheet(tmp_path / "pairs")
    assert found.to_csv().count("\n") == len(found.hits) + 1
    assert json.loads(found.to_json())["query"]["method"] == "best-match"


def test_representatives_are_kept_until_the_archive_changes(home: Path, index: hs.Index) -> None:
    first = index.search_wholes("P01_S1").rows()
    kept = next(home.glob("x.index/representatives-*-slide-mosaic-*.npz"))
    before = kept.stat().st_mtime_ns
    assert index.search_wholes("P01_S1").rows() == first
    assert kept.stat().st_mtime_ns == before
    kept.write_bytes(b"torn")
    assert index.search_wholes("P01_S1").rows() == first
    assert kept.stat().st_size > 100
    filtered = index.search_wholes("P01_S1", where="tissue > 0.99")
    assert filtered.hits[0].n_tiles < first[0]["n_tiles"]


def test_the_command_line_tells_slides_and_pairs(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["search", str(home / "x.index"), "--slide", "P01_S1", "-k", "2"])
    assert not ended.value.code
    told = capsys.readouterr()
    assert "P02_S1" in told.out and " ~ " in told.err and "Research use only" in told.err
    with pytest.raises(SystemExit) as ended:
        main(["search", str(home / "x.index"), "--case", "P01", "--text", "gland"])
    assert ended.value.code == 2
    assert "--slide and --case stand alone" in capsys.readouterr().err


def test_levels_are_measured_without_the_own_patient(home: Path, index: hs.Index, tmp_path: Path) -> None:
    reports = evaluate_level(index, "slide", LevelSettings(n_bootstrap=50))
    assert set(reports) == set(METHODS)
    best = reports["best-match"]
    assert best.scores["mMV@1"].value == 1
    assert best.protocol["queries"] == 8 and best.protocol["label"] == "slide_label"
    for row in best.per_query.to_pylist():
        assert not any(name.startswith(row["group"]) for name in row["hit_ids"])
        assert len(row["hit_ids"]) == 6
    write_levels(reports, tmp_path, index.root)
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(tmp_path / "best-match"), str(tmp_path / "mean")])
    assert not ended.value.code
    with pytest.raises(InputError, match="no query can be answered"):
        evaluate_level(index, "case", LevelSettings(label="group"))


def test_similarities_are_those_of_their_definitions() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(12, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    starts = np.array([0, 3, 8])
    parts = np.split(vectors, starts[1:])
    bags = Bags(vectors, np.arange(12), starts, np.stack([unit_mean(part) for part in parts]))
    among = np.array([2, 1])
    for at, other in enumerate(among):
        scores = parts[0] @ parts[other].T
        best, back = scores.max(axis=1), scores.max(axis=0)
        assert similarities(bags, 0, "best-match", among)[at] == pytest.approx(
            (best.mean() + back.mean()) / 2, abs=1e-6
        )
        assert similarities(bags, 0, "median-min", among)[at] == pytest.approx(1 - np.median(1 - best), abs=1e-6)
        mean = float(unit_mean(parts[0]) @ unit_mean(parts[other]))
        assert similarities(bags, 0, "mean", among)[at] == pytest.approx(mean, abs=1e-6)


def test_representatives_cover_looks_and_places() -> None:
    rng = np.random.default_rng(1)
    looks = np.eye(8, dtype=np.float32)[np.repeat(np.arange(4), 60)] + rng.normal(0, 0.02, (240, 8)).astype(np.float32)
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)
    places = rng.uniform(0, 10_000, (240, 2))
    for how in ("mosaic", "diverse"):
        chosen = choose(looks, places, how)
        assert set(chosen // 60) == {0, 1, 2, 3}
        assert len(chosen) == len(set(chosen)) < 40
        assert np.array_equal(chosen, choose(looks, places, how))
    assert choose(looks[:1], places[:1], "mosaic").tolist() == [0]
    assert Counter(choose(np.repeat(looks[:1], 30, axis=0), places[:30], "mosaic") // 30) == {0: 2}
    assert PREFILTER >= 100


def test_an_item_that_is_a_whole_slide_is_told_to_be_tiled(tmp_path: Path) -> None:
    write_slide(tmp_path / "a.tif", np.full((300, 300, 3), 180, np.uint8), 0.5).rename(tmp_path / "a.svs")
    manifest = hs.Manifest.from_items([hs.Item("a", "a.svs", mpp=0.5)], tmp_path)
    with pytest.raises(InputError, match=r"is a whole slide: cut it into tiles with histoseek prepare slides"):
        hs.Index.build(manifest, "color", tmp_path / "x.index")


def test_words_are_refused_where_the_encoder_knows_none(home: Path, tmp_path: Path) -> None:
    manifest = hs.prepare("slides", home / "slides").where("slide = 'P01_S1'")
    built = hs.Index.build(manifest, "color", tmp_path / "c.index")
    with pytest.raises(EncoderError, match="knows no words"):
        built.search(text="gland")
