"""The verb heat: a query over a slide, as a picture or a pyramid."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import histoseek as hs
from histoseek.cli import main
from histoseek.cli.heat import _told
from histoseek.imaging import open_pixels
from histoseek.index import Example, heat_of
from histoseek.items import Box
from histoseek.phantom import draw_field, make_patient, write_slide

TILE, MPP = 128, 0.5


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn slide, and an index of its tiles; each tile's label is the kind of tissue it lies in."""
    folder = tmp_path_factory.mktemp("heat")
    field = draw_field(1280, 1024, MPP, make_patient(2), 5, ("fat", "stroma", "solid tumour"))
    write_slide(folder / "s1.tif", field.picture, MPP)
    items = []
    for region in field.regions:
        box = region.box
        for x in range(box.x, box.x + box.width - TILE + 1, TILE):
            for y in range(box.y, box.y + box.height - TILE + 1, TILE):
                place = Box(x, y, TILE, TILE)
                name = f"s1#{x},{y}"
                items.append(hs.Item(name, "s1.tif", slide="s1", label=region.kind, box=place, mpp=MPP))
    hs.Index.build(hs.Manifest.from_items(items, folder), hs.load_encoder("color"), folder / "x.index")
    return folder


def run(home: Path, *arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["heat", str(home / "x.index"), *arguments])
    code = ended.value.code
    assert code is None or isinstance(code, int)
    return code or 0


def test_the_kind_that_is_asked_for_lights_up_where_it_was_planted(home: Path) -> None:
    index = hs.Index.open(home / "x.index")
    items = list(index.manifest)
    kinds = {item.label for item in items}
    assert len(kinds) == 2
    for kind in kinds:
        x, y, width, height = next(item.box for item in items if item.label == kind and item.box)
        heat = heat_of(index, index.embed(Example("region", f"{home / 's1.tif'}:{x},{y},{width},{height}")), "s1")
        same = np.array([item.label == kind for item in items])
        assert heat.scores[same].mean() > heat.scores[~same].mean() + 0.05


def test_a_picture_and_a_pyramid_are_written(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    region = f"{home / 's1.tif'}:300,300,128,128"
    assert run(home, "s1", "--region", region, "--out", str(home / "heat.png")) == 0
    assert "tiles of s1, cosines" in capsys.readouterr().err
    with Image.open(home / "heat.png") as picture:
        assert picture.width >= 1280
    assert run(home, "s1.tif", "--region", region, "--out", str(home / "heat.tif")) == 0
    with closing(open_pixels(home / "heat.tif")) as overlay:
        assert overlay.size[0] * (overlay.mpp or 0) == pytest.approx(1280 * MPP, rel=0.05)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("s1", "--item", "s1#0,0", "--out", "heat.jpg"), ".png or .tif"),
        (("s1", "--out", "heat.png"), "nothing is asked"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(
    home: Path, arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(home, *arguments) == 2
    assert told in capsys.readouterr().err


def test_picture_names_files_without_their_folders() -> None:
    assert _told(Example("image", "/home/me/q.png")) == "image q.png"
    assert _told(Example("region", "/home/me/s.svs:1,2,3,4")) == "region s.svs:1,2,3,4"
    assert _told(Example("region", "in/s.svs:/home/me/roi.geojson", -0.5)) == "minus region s.svs:roi.geojson"
    assert _told(Example("text", "and/or")) == "text and/or"
