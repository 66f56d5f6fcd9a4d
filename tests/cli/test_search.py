"""What search draws as the query, and how it counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import histoseek as hs
from histoseek.cli import main
from histoseek.cli.search import _picture
from histoseek.figures.sheet import SIDE
from histoseek.index import Example
from histoseek.items import Box

RED, BLUE, GREEN = (200, 40, 40), (10, 20, 240), (20, 180, 60)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One picture, half red and half blue, whose halves are items; a green picture lies beside it."""
    home = tmp_path_factory.mktemp("search")
    both = Image.new("RGB", (120, 60), RED)
    both.paste(BLUE, (60, 0, 120, 60))
    both.save(home / "both.png")
    Image.new("RGB", (60, 60), GREEN).save(home / "green.png")
    known = {"label": "half", "group": "p", "width": 120, "height": 60}
    items = [
        hs.Item("red", "both.png", box=Box(0, 0, 60, 60), mpp=0.5, **known),  # type: ignore[arg-type]
        hs.Item("blue", "both.png", box=Box(60, 0, 60, 60), mpp=0.5, **known),  # type: ignore[arg-type]
    ]
    hs.Index.build(hs.Manifest.from_items(items, home), hs.load_encoder("color"), home / "x.index")
    return home


def query_field(home: Path, *arguments: str) -> np.ndarray:
    """The pixels [SIDE, SIDE, 3] of the query on the sheet of a search."""
    sheet = home / "sheet.png"
    with pytest.raises(SystemExit) as ended:
        main(["search", str(home / "x.index"), *arguments, "--sheet", str(sheet)])
    assert not ended.value.code
    return np.asarray(Image.open(sheet))[28 : 28 + SIDE, 28 : 28 + SIDE]


def share(field: np.ndarray, colour: tuple[int, int, int]) -> float:
    return float((field == colour).all(axis=2).mean())


def test_an_item_is_drawn_as_its_box_with_a_scale_bar(archive: Path) -> None:
    field = query_field(archive, "--item", "blue", "--keep-group")
    assert share(field, RED) == 0
    assert 0.8 < share(field, BLUE) < 1


def test_the_stated_scale_of_a_picture_gets_a_bar(archive: Path) -> None:
    image = str(archive / "green.png")
    assert share(query_field(archive, "--image", image), GREEN) == 1
    assert 0.8 < share(query_field(archive, "--image", image, "--mpp", "0.5"), GREEN) < 1


def test_a_counter_example_is_never_drawn_as_the_query(archive: Path) -> None:
    field = query_field(archive, "--minus", "--item", "blue", "--item", "red", "--keep-group")
    assert share(field, BLUE) == 0
    assert share(field, RED) > 0.8
    assert _picture(None, [Example("text", "mucin"), Example("item", "42", -0.5)]) == (None, None)


def test_one_group_is_one_group(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query_field(archive, "--item", "blue", "--keep-group")
    assert "half 1 (of 1 group)." in capsys.readouterr().err
