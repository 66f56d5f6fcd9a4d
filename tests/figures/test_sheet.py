from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from histoseek.errors import InputError
from histoseek.figures import draw_sheet
from histoseek.figures.lettering import elided, font_of, plain
from histoseek.figures.pictures import SYNTHETIC, inside, measure
from histoseek.figures.sheet import MOST, SIDE, _asked_words, common_scale
from histoseek.index.hits import Hit, Hits
from histoseek.items import Box, Item

RED = (200, 40, 40)
BLUE = (10, 20, 240)


def picture(path: Path, size: tuple[int, int] = (60, 40), colour: tuple[int, int, int] = RED) -> Path:
    Image.new("RGB", size, colour).save(path)
    return path


def hits_of(root: Path, n: int, **known: object) -> Hits:
    picture(root / "a.png")
    items = [Item(id=f"i{at}", path="a.png", label="Tumour", group=f"p{at}", **known) for at in range(n)]  # type: ignore[arg-type]
    return Hits(tuple(Hit(at + 1, 0.9 - at / 1000, item) for at, item in enumerate(items)), root)


def count(sheet: Image.Image, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(sheet) == colour).all(axis=2).sum())


def test_grid_grows_with_hits(tmp_path: Path) -> None:
    one_row, two_rows = draw_sheet(hits_of(tmp_path, 5)), draw_sheet(hits_of(tmp_path, 6))
    assert one_row.width == two_rows.width
    assert two_rows.height - one_row.height >= SIDE
    assert count(two_rows, RED) == pytest.approx(6 / 5 * count(one_row, RED), rel=0.01)


def test_query_adds_a_framed_picture(tmp_path: Path) -> None:
    hits = hits_of(tmp_path, 3)
    blue = Image.new("RGB", (50, 50), (10, 20, 240))
    with_query = draw_sheet(hits, blue)
    assert with_query.width > draw_sheet(hits).width
    assert count(with_query, (10, 20, 240)) == SIDE * SIDE
    saved = tmp_path / "q.png"
    blue.save(saved)
    assert draw_sheet(hits, str(saved)).tobytes() == draw_sheet(hits, saved).tobytes() == with_query.tobytes()


def test_missing_broken_and_outside_become_cards(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    whole = picture(tmp_path / "whole.png", (300, 300)).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    items = [Item("1", "none.png"), Item("2", "broken.png"), Item("3", "cut.png"), Item("4", "whole.png")]
    items[3] = Item("4", "whole.png", box=Box(290, 0, 50, 50))
    sheet = draw_sheet(Hits(tuple(Hit(at + 1, 0.5, item) for at, item in enumerate(items)), tmp_path), "nowhere.png")
    assert count(sheet, RED) == 0


def test_empty_and_crowded(tmp_path: Path) -> None:
    assert draw_sheet(Hits((), tmp_path)).width > SIDE
    crowd = draw_sheet(hits_of(tmp_path, MOST + 30))
    assert crowd.tobytes() != b"" and crowd.height < (MOST // 8 + 2) * (SIDE + 80)


def test_pictures_share_one_scale_when_sizes_are_near(tmp_path: Path) -> None:
    small, large = (picture(tmp_path / f"{side}.png", (side, side)) for side in (100, 200))
    near = [measure(small, mpp=0.5), measure(large, mpp=0.5)]
    assert common_scale(near)[0] == pytest.approx(200 * 0.5 / SIDE)
    assert common_scale([measure(small, mpp=0.1), measure(large, mpp=2.0)])[0] is None
    items = [Item("s", "100.png", mpp=0.5), Item("l", "200.png", mpp=0.5)]
    sheet = draw_sheet(Hits(tuple(Hit(at + 1, 0.5, item) for at, item in enumerate(items)), tmp_path))
    side = round(SIDE / 2)
    assert count(sheet, RED) < SIDE * SIDE + side * side
    assert count(sheet, RED) > SIDE * SIDE * 0.8 + side * side * 0.7


def test_synthetic_is_read_from_metadata(tmp_path: Path) -> None:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Description", f"{SYNTHETIC}, drawn")
    Image.new("RGB", (20, 20)).save(tmp_path / "s.png", pnginfo=notes)
    Image.new("RGB", (20, 20)).save(tmp_path / "s.jpg", comment=b"Synthetic tissue")
    assert measure(tmp_path / "s.png").synthetic and measure(tmp_path / "s.jpg").synthetic
    assert not measure(picture(tmp_path / "real.png")).synthetic
    said = [draw_sheet(hits_of(tmp_path, 1, dataset=name)).tobytes() for name in ("bach", "phantom")]
    assert said[0] != said[1]


def test_words_fit_and_odd_letters_pass() -> None:
    assert plain("Carcinomé µm 中") == "Carcinome um ?"
    assert font_of(15).getlength(elided("in situ " * 30, 15, 120)) <= 120
    assert elided("patient-000-left", 15, 90, middle=True).endswith("left"[-2:])
    assert draw_sheet(Hits((), Path(), {"examples": [{"kind": "text", "value": "x" * 900}]})).width


def two_halves(root: Path) -> Item:
    """A picture whose left half is red and whose right half is blue; the item is the right half."""
    both = Image.new("RGB", (120, 60), RED)
    both.paste(BLUE, (60, 0, 120, 60))
    both.save(root / "both.png")
    return Item("right", "both.png", box=Box(60, 0, 60, 60), mpp=0.5)


def test_an_item_as_query_is_drawn_with_its_box_and_scale(tmp_path: Path) -> None:
    item = two_halves(tmp_path)
    empty = Hits((), tmp_path)
    boxed, bare = draw_sheet(empty, item), draw_sheet(empty, replace(item, mpp=None))
    assert count(boxed, RED) == count(bare, RED) == 0
    assert count(bare, BLUE) == SIDE * SIDE
    assert count(bare, BLUE) > count(boxed, BLUE) > 0, "a scale bar covers a part"
    with pytest.raises(InputError, match="leads out"):
        draw_sheet(empty, replace(item, path="../both.png"))


def test_a_query_picture_takes_the_scale_that_is_stated(tmp_path: Path) -> None:
    blue = Image.new("RGB", (50, 50), BLUE)
    empty = Hits((), tmp_path)
    assert count(draw_sheet(empty, blue), BLUE) == SIDE * SIDE
    assert count(draw_sheet(empty, blue, 0.5), BLUE) < SIDE * SIDE
    saved = empty.sheet(tmp_path / "s.png", blue, 0.5)
    assert saved.tobytes() == draw_sheet(empty, blue, 0.5).tobytes()


def test_words_say_what_is_a_counter_example() -> None:
    asked = [{"kind": "text", "value": "mucin", "weight": 1.0}, {"kind": "item", "value": "42", "weight": -0.5}]
    assert _asked_words(Hits((), Path(), {"examples": asked})) == "text: mucin; minus item: 42"


@pytest.mark.parametrize("path", ["/etc/passwd", "../a.png", "a/../../b.png", ""])
def test_paths_stay_inside(path: str, tmp_path: Path) -> None:
    assert inside(tmp_path, path) is None
