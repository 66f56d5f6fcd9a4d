"""The similarity of a query with every tile of a slide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histoseek.errors import InputError
from histoseek.index import Example, Index, heat_of
from histoseek.items import Box, Item, Manifest
from histoseek.phantom import write_slide
from tests.conftest import COLOURS

TILE = 64
SLIDES = {"a/one.tif": "one", "a/two.tif": "a/two", "b/two.tif": "b/two"}


def tiles_of(path: str, slide: str) -> list[Item]:
    places = [(x, y) for y in (0, TILE) for x in (0, TILE, 2 * TILE)]
    return [
        Item(f"{path}#{x},{y}", path, slide=slide, box=Box(x, y, TILE, TILE), mpp=0.5, width=TILE, height=TILE)
        for x, y in places
    ]


@pytest.fixture
def index(tiny: Any, tmp_path: Path) -> Index:
    """Three slides: red, green and blue from left to right, as planted tissue whose place is known."""
    strips = [np.full((2 * TILE, TILE, 3), colour, dtype=np.uint8) for colour in COLOURS.values()]
    for path in SLIDES:
        write_slide(tmp_path / path, np.concatenate(strips, axis=1), 0.5, steps=())
    items = [item for path, slide in SLIDES.items() for item in tiles_of(path, slide)]
    items.insert(2, Item("whole", "a/one.tif", slide="one"))
    return Index.build(Manifest.from_items(items, tmp_path), tiny, tmp_path / "toy.index")


def test_heat_is_the_cosine_with_each_tile_of_that_slide(index: Index) -> None:
    vector = index.vector_of([Example("text", "green")])
    heat = heat_of(index, vector, "one")
    items = [item for item in index.manifest if item.slide == "one" and item.box is not None]
    assert heat.boxes.tolist() == [list(item.box or ()) for item in items]
    wanted = [float(index.embed(Example("item", item.id)) @ vector) for item in items]
    assert heat.scores == pytest.approx(wanted, abs=1e-6)
    assert (heat.slide, heat.path, heat.mpp) == ("one", index.root / "a" / "one.tif", 0.5)


@pytest.mark.parametrize(("words", "place"), [("red", 0), ("green", TILE), ("blue", 2 * TILE)])
def test_words_are_found_where_they_were_planted(index: Index, words: str, place: int) -> None:
    heat = heat_of(index, index.vector_of([Example("text", words)]), "a/two")
    here = heat.boxes[:, 0] == place
    assert heat.scores[here].min() > heat.scores[~here].max() + 0.1
    assert heat.scores[here].min() > 0.99


@pytest.mark.parametrize("name", ["b/two", "b/two.tif", "{root}/b/two.tif", "./b/two.tif"])
def test_a_slide_goes_by_its_name_or_its_file(index: Index, name: str) -> None:
    vector = index.vector_of([Example("text", "red")])
    heat = heat_of(index, vector, name.format(root=index.root))
    assert heat.path == index.root / "b" / "two.tif"
    assert len(heat.scores) == 6


def test_a_slide_that_is_not_there_is_answered_with_those_that_are(index: Index) -> None:
    vector = index.vector_of([Example("text", "red")])
    with pytest.raises(InputError, match=r"no tiles of the slide 'onee'; it holds one"):
        heat_of(index, vector, "onee")


def test_a_name_that_fits_two_slides_is_refused(index: Index) -> None:
    vector = index.vector_of([Example("text", "red")])
    with pytest.raises(InputError, match=r"'two\.tif' may be a/two\.tif or b/two\.tif"):
        heat_of(index, vector, "two.tif")
