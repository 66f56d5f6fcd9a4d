"""Parts of slides as questions: by opaque ids, inside the slide, and not larger than others can wait for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import histoseek as hs
from histoseek.index import region as region_room
from histoseek.items import Box
from histoseek.phantom import draw_field, make_patient, write_slide
from histoseek.web import budget
from tests.web.conftest import Opened, app_of

SIZE = (1024, 768)
MPP = 0.5
TILE = 128


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> hs.Index:
    """Two patients with a drawn slide each; the right part of the second is bare glass."""
    home = tmp_path_factory.mktemp("Doe_Jane")
    items = []
    for number in (1, 2):
        picture = draw_field(*SIZE, MPP, make_patient(number), number, ("fat", "stroma", "solid tumour")).picture.copy()
        if number == 2:
            picture[:, 512:] = 246
        write_slide(home / f"Doe_{number}.tif", picture, MPP)
        for x in range(0, 512, TILE):
            for y in range(0, SIZE[1], TILE):
                items.append(
                    hs.Item(
                        f"s{number}#{x},{y}", f"Doe_{number}.tif", "toy", "left", f"P{number}", "patient",
                        slide=f"Doe_{number}", box=Box(x, y, TILE, TILE), mpp=MPP, width=TILE, height=TILE,
                    )
                )  # fmt: skip
    manifest = hs.Manifest.from_items(items, home, {"dataset": "toy"})
    return hs.Index.build(manifest, hs.load_encoder("color"), home / "x.index")


def asked(client: TestClient, region: dict[str, Any], **question: Any) -> Any:
    return client.post("/api/v1/search", json={"examples": [{"region": region}], "per_slide": None, **question})


@pytest.fixture
def client(opened: Opened, slides: hs.Index) -> TestClient:
    return opened(slides)


def slide_of(client: TestClient, number: int) -> str:
    return str(app_of(client).state.archive.slide_id(f"Doe_{number}.tif"))


def test_a_box_finds_what_the_library_finds(client: TestClient, slides: hs.Index) -> None:
    box = {"slide": slide_of(client, 1), "x": 130, "y": 260, "width": 120, "height": 120}
    told = asked(client, box, k=5)
    assert told.status_code == 200, told.text
    hits = slides.search(region=f"{slides.root}/Doe_1.tif:130,260,120,120", k=5, exclude_group=True)
    archive = app_of(client).state.archive
    assert [archive.item(hit["id"]).id for hit in told.json()["hits"]] == [hit.item.id for hit in hits]
    assert {hit["patient"] for hit in told.json()["hits"]} == {archive.patient_name(slides.manifest[24])}
    assert "Doe" not in told.text
    hit = told.json()["hits"][0]
    assert hit["slide"]["id"] == slide_of(client, 2) and hit["box"]["width"] == TILE
    assert hit["width_um"] == TILE * MPP and told.json()["warnings"] == []


def test_a_polygon_that_is_the_box_finds_the_same(client: TestClient) -> None:
    slide = slide_of(client, 1)
    box = asked(client, {"slide": slide, "x": 128, "y": 256, "width": 256, "height": 256}, k=5).json()
    corners = [[128, 256], [384, 256], [384, 512], [128, 512]]
    shape = asked(client, {"slide": slide, "polygon": corners}, k=5).json()
    assert [hit["id"] for hit in shape["hits"]] == [hit["id"] for hit in box["hits"]]


def test_slides_are_kept_open_between_questions(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from histoseek.imaging import opening

    opens: list[Path] = []
    real = opening.open_pixels
    monkeypatch.setattr(opening, "open_pixels", lambda path: opens.append(Path(path)) or real(path))
    monkeypatch.setattr(region_room, "open_pixels", lambda path: pytest.fail("a slide was opened for one question"))
    for exclude in (True, False):
        boxes = [{"slide": slide_of(client, 1), "x": x, "y": 0, "width": 100, "height": 100} for x in (0, 200, 300)]
        examples = [{"region": box} for box in boxes]
        answer = client.post("/api/v1/search", json={"examples": examples, "exclude_group": exclude})
        assert answer.status_code == 200, answer.text
    assert [path.name for path in opens] == ["Doe_1.tif"]


def test_regions_of_one_question_are_counted_together(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "A_QUESTION", 20)
    box = {"slide": slide_of(client, 1), "x": 0, "y": 0, "width": 100, "height": 100}
    one = {"examples": [{"region": box, "weight": 1 + nth / 10} for nth in range(10)]}
    assert client.post("/api/v1/search", json=one).status_code == 200  # the same region is embedded once
    many = {"examples": [{"region": {**box, "x": 10 * nth}} for nth in range(10)]}
    refused = client.post("/api/v1/search", json=many)
    assert refused.status_code == 422 and "fewer or smaller" in refused.json()["detail"]


def test_bare_glass_is_said_to_be_blank(client: TestClient) -> None:
    told = asked(client, {"slide": slide_of(client, 2), "x": 600, "y": 100, "width": 200, "height": 200}).json()
    assert "looks blank" in told["warnings"][0]


@pytest.mark.parametrize(
    ("region", "status"),
    [
        ({"x": 1000, "y": 0, "width": 100, "height": 100}, 422),
        ({"x": 5000, "y": 5000, "width": 10, "height": 10}, 422),
        ({"x": 0, "y": 0, "width": 1e7, "height": 1e7}, 422),
        ({"x": 0, "y": 0, "width": 0.0, "height": 10}, 400),
        ({"x": -1, "y": 0, "width": 10, "height": 10}, 400),
        ({"polygon": [[0, 0], [10, 0]]}, 400),
        ({"polygon": [[0, 0], [10, 0], [20, 0]]}, 422),
        ({"polygon": [[0, 0], [100, 100], [100, 0], [0, 80]]}, 422),
        ({"polygon": np.random.default_rng(0).uniform(0, 500, (2000, 2)).tolist()}, 422),
        ({"polygon": [[0, 0], [1e7, 0], [1e7, 1e7]]}, 422),
        ({"polygon": [[0, 0, 0], [1, 1, 1], [2, 2, 2]]}, 400),
        ({"x": 0, "y": 0, "width": 10, "height": 10, "path": "/etc/passwd"}, 400),
    ],
)
def test_regions_that_cannot_be_are_sentences(client: TestClient, region: dict[str, Any], status: int) -> None:
    answer = asked(client, {"slide": slide_of(client, 1), **region})
    assert answer.status_code == status, answer.text
    assert "Doe" not in answer.text and "/" not in answer.json()["detail"]


@pytest.mark.parametrize(
    ("region", "reason"),
    [
        ({"x": 1000, "y": 0, "width": 100, "height": 100}, "does not lie inside the slide: the slide is 1024 × 768"),
        ({"x": 0, "y": 700, "width": 10, "height": 69}, "does not lie inside the slide"),
        ({"polygon": [[0, 0], [10, 0], [20, 0]]}, "has no area"),
        ({"polygon": [[0, 0], [10, 0], [0, 0], [0, 10]]}, "has no area"),
        ({"polygon": [[1024, 0], [1030, 0], [1030, 10]]}, "beyond the border: the slide is 1024 × 768"),
        ({"x": 0, "y": 0, "width": 1e4, "height": 10}, "does not lie inside"),
    ],
)
def test_what_is_wrong_with_a_region_is_told(client: TestClient, region: dict[str, Any], reason: str) -> None:
    answer = asked(client, {"slide": slide_of(client, 1), **region})
    assert answer.status_code == 422 and reason in answer.json()["detail"], answer.text


def test_an_outline_may_go_over_the_border(client: TestClient) -> None:
    corners = [[900, 600], [1100, 600], [1100, 800], [900, 800]]
    assert asked(client, {"slide": slide_of(client, 1), "polygon": corners}).status_code == 200


@pytest.fixture
def flat(tmp_path: Path) -> hs.Index:
    """A PNG with boxes in it, and another patient's."""
    items = []
    for number in (1, 2):
        picture = draw_field(512, 384, MPP, make_patient(number), number, ("fat", "stroma")).picture
        Image.fromarray(picture).save(tmp_path / f"roi{number}.png")
        items += [
            hs.Item(
                f"r{number}#{x}", f"roi{number}.png", "toy", "left", f"P{number}", "patient", box=Box(x, 0, TILE, TILE),
                mpp=MPP, width=TILE, height=TILE,
            )
            for x in range(0, 512, TILE)
        ]  # fmt: skip
    return hs.Index.build(hs.Manifest.from_items(items, tmp_path), hs.load_encoder("color"), tmp_path / "x.index")


def test_flat_images_are_asked_with_as_slides_are(opened: Opened, flat: hs.Index) -> None:
    client = opened(flat)
    slides = client.get("/api/v1/slides").json()
    assert len(slides) == 2 and slides[0]["n_items"] == 4
    slide = app_of(client).state.archive.slide_id("roi1.png")
    box = {"slide": slide, "x": 100, "y": 10, "width": 150, "height": 150}
    told = asked(client, box, collapse=False)
    assert told.status_code == 200 and len(told.json()["hits"]) == 4, told.text
    assert told.json()["warnings"] == []
    corners = [[100, 10], [250, 10], [250, 160], [100, 160]]
    shape = asked(client, {"slide": slide, "polygon": corners}, collapse=False)
    assert [hit["id"] for hit in shape.json()["hits"]] == [hit["id"] for hit in told.json()["hits"]]
    own = asked(client, box, exclude_group=False, collapse=False).json()["hits"]
    left = {hit["box"]["x"] for hit in own if hit["slide"]["id"] == slide}
    assert left == {256, 384}  # what the box overlaps is the question itself


def test_a_region_of_a_slide_without_scale_is_a_sentence(opened: Opened, tmp_path: Path) -> None:
    Image.new("RGB", (300, 300), "pink").save(tmp_path / "a.png")
    item = hs.Item("a", "a.png", "toy", box=Box(0, 0, 128, 128), width=128, height=128)
    index = hs.Index.build(hs.Manifest.from_items([item], tmp_path), hs.load_encoder("color"), tmp_path / "x.index")
    client = opened(index)
    slide = app_of(client).state.archive.slide_id("a.png")
    answer = asked(client, {"slide": slide, "x": 0, "y": 0, "width": 100, "height": 100})
    assert answer.status_code == 422 and "how large the pixels" in answer.json()["detail"]


def test_a_slide_that_is_gone_is_a_sentence_without_its_path(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "Doe").mkdir()
    write_slide(tmp_path / "Doe" / "a.tif", draw_field(256, 256, MPP, make_patient(1), 1, ("fat",)).picture, MPP)
    item = hs.Item("a", "a.tif", "toy", box=Box(0, 0, 128, 128), mpp=MPP, width=128, height=128)
    manifest = hs.Manifest.from_items([item], tmp_path / "Doe")
    index = hs.Index.build(manifest, hs.load_encoder("color"), tmp_path / "x.index")
    client = opened(index)
    slide = app_of(client).state.archive.slide_id("a.tif")
    for change in (Path.unlink, lambda path: path.write_bytes(b"II*\0 no slide any more")):
        change(tmp_path / "Doe" / "a.tif")
        answer = asked(client, {"slide": slide, "x": 0, "y": 0, "width": 100, "height": 100})
        assert answer.status_code == 409 and "gone or damaged" in answer.json()["detail"]
        assert str(tmp_path) not in answer.text and "a.tif" not in answer.text


def test_slides_are_listed_with_pseudonyms(client: TestClient, slides: hs.Index) -> None:
    entries = app_of(client).state.archive.slides()
    assert sorted(entry.source for entry in entries) == ["Doe_1.tif", "Doe_2.tif"]
    assert all(entry.name.startswith("S-") and entry.n_items == 24 and entry.mpp == MPP for entry in entries)
    with Image.open(entries[0].path) as image:
        assert np.asarray(image.convert("RGB")).shape == (SIZE[1], SIZE[0], 3)
