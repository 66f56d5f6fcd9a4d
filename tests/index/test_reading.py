"""Pixels read ahead: in order, each file decoded as seldom as can be, and within bounds whatever the items are."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from histoseek.encoders import Encoder, load_encoder
from histoseek.imaging import OpenReaders
from histoseek.imaging.flat import FlatImage
from histoseek.index import reading
from histoseek.index.reading import RUN, Room, Source, Views, read_ahead
from histoseek.items import Box, Item

SIDE = 256


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder("color")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """How often flat images were decoded, and how many pixels of them were held at the same time."""
    told = {"n": 0, "now": 0, "most": 0}
    lock = threading.Lock()
    decode, close = FlatImage._image_decoded, FlatImage.close
    holding: set[int] = set()

    def counting(self: FlatImage, *asked: Any) -> Any:
        with lock:
            if id(self) not in holding:
                holding.add(id(self))
                told["n"] += 1
                told["now"] += self.size[0] * self.size[1]
                told["most"] = max(told["most"], told["now"])
        return decode(self, *asked)

    def closing_it(self: FlatImage) -> None:
        with lock:
            if id(self) in holding:
                holding.remove(id(self))
                told["now"] -= self.size[0] * self.size[1]
        close(self)

    monkeypatch.setattr(FlatImage, "_image_decoded", counting)
    monkeypatch.setattr(FlatImage, "close", closing_it)
    return told


def read(items: Any, home: Path, encoder: Encoder, workers: int, room: int = 10**8) -> Iterator[Views]:
    with closing(OpenReaders()) as readers:
        yield from read_ahead(items, Source(lambda item: home / item.path, encoder, readers, Room(room)), workers)


def boxes(n: int) -> list[Item]:
    """Tiles of one picture, of which each is one view."""
    across = 4
    return [
        Item(f"{at}", "roi.png", box=Box(at % across * SIDE, at // across * SIDE, SIDE, SIDE), mpp=0.5)
        for at in range(n)
    ]


def draw(home: Path, n_rows: int) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (n_rows * SIDE, 4 * SIDE, 3), np.uint8)).save(
        home / "roi.png", compress_level=1
    )


@pytest.mark.parametrize("workers", [1, 32])
def test_many_threads_decode_a_picture_no_more_often(
    workers: int, tmp_path: Path, encoder: Encoder, decoded: dict[str, Any]
) -> None:
    draw(tmp_path, 16)
    found = list(read(boxes(2 * RUN), tmp_path, encoder, workers))
    assert [views.item.id for views in found] == [str(at) for at in range(2 * RUN)]
    assert decoded["n"] == 2


def test_what_a_thread_holds_is_bounded_and_the_rest_follows_in_order(
    tmp_path: Path, encoder: Encoder, decoded: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path, 8)
    monkeypatch.setattr(reading, "BYTES_A_RUN", 3 * SIDE * SIDE * 3)
    longest: list[int] = []
    some = reading._read_some

    def noting(*given: Any) -> Any:
        run = some(*given)
        longest.append(len(run.read))
        return run

    monkeypatch.setattr(reading, "_read_some", noting)
    found = list(read(boxes(RUN), tmp_path, encoder, 2))
    assert [views.item.id for views in found] == [str(at) for at in range(RUN)]
    pixels = np.asarray(Image.open(tmp_path / "roi.png"))
    for at in (0, 3, 4, RUN - 1):  # around the places where a turn ends
        y, x = at // 4 * SIDE, at % 4 * SIDE
        np.testing.assert_array_equal(found[at].pixels[0], pixels[y : y + SIDE, x : x + SIDE])
    assert max(longest) == 3 and decoded["n"] == -(-RUN // 3)


def test_items_with_more_views_than_was_stated_are_left_for_later_in_order(
    tmp_path: Path, encoder: Encoder, decoded: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path, 8)
    monkeypatch.setattr(reading, "BYTES_A_RUN", 33 * SIDE * SIDE * 3)  # each has 32 views, and states one
    items = [Item(f"{at}", "roi.png", mpp=0.5, width=SIDE, height=SIDE) for at in range(7)]
    found = list(read(items, tmp_path, encoder, 2))
    assert [(views.item.id, len(views.pixels)) for views in found] == [(str(at), 32) for at in range(7)]
    assert decoded["n"] == 4


def test_views_that_wait_are_bounded_over_all_threads(
    tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path, 1)
    monkeypatch.setattr(reading, "BYTES_AHEAD", 5 * 4 * SIDE * SIDE * 3)
    taken: list[int] = []

    def endless(**size: int) -> Iterator[Item]:
        while True:
            taken.append(1)
            yield Item(f"{len(taken)}", f"{len(taken) % 2}.png", mpp=0.5, **size)

    for name in ("0.png", "1.png"):
        (tmp_path / name).write_bytes((tmp_path / "roi.png").read_bytes())
    for size, most in (({"width": 4 * SIDE, "height": SIDE}, 5), ({}, 1)):  # of unstated size each counts as a run
        taken.clear()
        with closing(read(endless(**size), tmp_path, encoder, 8)) as flow:
            next(flow)
        assert len(taken) <= most + 3  # one is on its way, and the end of a run shows with the next


def test_pictures_whose_size_nobody_states_are_not_decoded_all_at_once(
    tmp_path: Path, encoder: Encoder, decoded: dict[str, Any]
) -> None:
    for at in range(12):
        Image.fromarray(np.full((300, 400, 3), at, np.uint8)).save(tmp_path / f"{at}.png")
    items = [Item(f"{at}", f"{at}.png", mpp=0.5) for at in range(12)]
    found = list(read(items, tmp_path, encoder, 8, room=2 * 300 * 400))
    assert [int(views.pixels[0][0, 0, 0]) for views in found] == list(range(12))
    assert 300 * 400 <= decoded["most"] <= 2 * 300 * 400 and decoded["n"] == 12


def test_a_picture_larger_than_all_room_is_read_alone(
    tmp_path: Path, encoder: Encoder, decoded: dict[str, Any]
) -> None:
    draw(tmp_path, 1)
    items = [Item(f"{at}", "roi.png", mpp=0.5) for at in range(3)]
    assert len(list(read(items, tmp_path, encoder, 4, room=1000))) == 3
    assert decoded["most"] == 4 * SIDE * SIDE
