"""How items flow through reading and encoding: order, full batches, overlap, bounds, and what is left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from histoseek.encoders.encoder import EncoderCard, Fingerprint, Pace, Preprocessing
from histoseek.errors import EncoderError, ImageError, InputError
from histoseek.index import filling
from histoseek.index.embedding import embed_items
from histoseek.index.encoding import Encoding
from histoseek.index.filling import DIGESTS_AHEAD, with_digests
from histoseek.items import Box, Item, sha256_of

SIDE = 8
Rows = NDArray[np.float32]
Views = Sequence[NDArray[np.uint8]]


class Numbered:
    """Reads the number that a picture's colour stands for and gives it as an angle; notes the size of each call."""

    card = EncoderCard("numbered", 2, False, "MIT", True)
    fingerprint = Fingerprint("numbered", "numbered", Preprocessing(SIDE, 0.5))

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.calls: list[int] = []

    def embed_images(self, views: Views) -> Rows:
        self.calls.append(len(views))
        return rows_of([int(view[0, 0, 0]) for view in views])

    def embed_texts(self, texts: Sequence[str]) -> Rows:
        raise EncoderError("no words")


def rows_of(numbers: list[int]) -> Rows:
    angles = np.asarray(numbers) / 100
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def view_of(number: int) -> NDArray[np.uint8]:
    return np.full((SIDE, SIDE, 3), number, np.uint8)


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    """Ten pictures of one view each."""
    for number in range(10):
        Image.fromarray(view_of(number)).save(tmp_path / f"{number}.png")
    return [Item(f"{number}", f"{number}.png", mpp=0.5) for number in range(10)]


def embedded(items: Any, encoder: Any, home: Path, workers: int = 2) -> Iterator[Any]:
    return embed_items(items, lambda item: home / item.path, encoder, workers)


def test_batches_are_filled_across_items_and_order_is_kept(items: list[Item], tmp_path: Path) -> None:
    wide = np.concatenate([view_of(number) for number in (20, 30, 40)], axis=1)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    items.insert(2, Item("wide", "wide.png", mpp=0.5))
    items.insert(5, Item("lost", "lost.png", mpp=0.5))
    encoder = Numbered(Pace(1, 4))
    found = list(embedded(items, encoder, tmp_path))
    assert [one.item.id for one in found] == [item.id for item in items]
    assert encoder.calls == [4, 4, 4, 1]
    mean = rows_of([20, 30, 40]).mean(axis=0)
    for one in found:
        if one.item.id == "lost":
            assert one.vector is None and "lost.png" in one.reason
            continue
        expected = mean / np.linalg.norm(mean) if one.item.id == "wide" else rows_of([int(one.item.id)])[0]
        np.testing.assert_allclose(one.vector, expected, atol=1e-6)


def test_as_many_calls_run_at_a_time_as_the_encoder_says(items: list[Item], tmp_path: Path) -> None:
    together = threading.Barrier(2)  # broken unless two calls meet

    class Meeting(Numbered):
        def embed_images(self, views: Views) -> Rows:
            together.wait(60)
            return super().embed_images(views)

    found = list(embedded(items[:8], Meeting(Pace(2, 2)), tmp_path))
    np.testing.assert_allclose([one.vector for one in found], rows_of(list(range(8))), atol=1e-6)


def test_an_encoder_that_names_no_pace_is_called_by_one_thread_at_a_time(items: list[Item], tmp_path: Path) -> None:
    busy = threading.Lock()

    class Alone(Numbered):
        def embed_images(self, views: Views) -> Rows:
            assert busy.acquire(blocking=False)
            try:
                return super().embed_images(views)
            finally:
                busy.release()

    encoder = Alone(Pace())
    del encoder.pace
    assert len(list(embedded(items * 50, encoder, tmp_path))) == 500
    assert encoder.calls == [64] * 7 + [52]


def test_a_slow_reader_of_vectors_holds_back_what_is_read(items: list[Item], tmp_path: Path) -> None:
    taken = []

    def endless() -> Iterator[Item]:
        while True:
            taken.append(len(taken))
            yield items[len(taken) % 10]

    encoder = Numbered(Pace(2, 4))
    with closing(embedded(endless(), encoder, tmp_path)) as flow:
        next(flow)
    assert len(taken) < 100
    assert sum(encoder.calls) < 100


def test_a_long_row_of_unreadable_items_does_not_pile_up(items: list[Item], tmp_path: Path) -> None:
    taken = []

    def mostly_lost() -> Iterator[Item]:
        yield items[0]
        while True:
            taken.append(len(taken))
            yield Item(f"lost{len(taken)}", f"lost{len(taken)}.png", mpp=0.5)

    with closing(embedded(mostly_lost(), Numbered(Pace(1, 64)), tmp_path)) as flow:
        assert next(flow).vector is not None
        assert "lost1.png" in next(flow).reason
    assert len(taken) < 1000


def test_an_error_of_the_encoder_comes_out_and_no_thread_is_left(items: list[Item], tmp_path: Path) -> None:
    class Failing(Numbered):
        def embed_images(self, views: Views) -> Rows:
            if len(self.calls) == 2:
                raise EncoderError("not finite")
            return super().embed_images(views)

    found = []
    with pytest.raises(EncoderError, match="not finite"):
        for one in embedded(items, Failing(Pace(1, 2)), tmp_path):
            found.append(one.item.id)
    assert found == [str(number) for number in range(4)][: len(found)]
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith(("pixels", "encoder"))]


def test_a_picture_that_breaks_off_shifts_no_other_vector(
    items: list[Item], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(np.concatenate([view_of(200)] * 6, axis=1)).save(tmp_path / "long.png")

    class BreaksOff:
        size, mpp, levels = (6 * SIDE, SIDE), 0.5, ((6 * SIDE, SIDE),)
        n_read = 0

        def read(self, box: Box, out: tuple[int, int], *how: str) -> NDArray[np.uint8]:
            self.n_read += 1
            if self.n_read == 4:
                raise ImageError("it breaks off")
            return view_of(200)

        def close(self) -> None:
            pass

    monkeypatch.setattr("histoseek.index.reading.MANY_VIEWS", 3)
    monkeypatch.setattr("histoseek.index.reading.open_pixels", lambda path: BreaksOff())
    items.insert(3, Item("long", "long.png", mpp=0.5))
    found = list(embedded(items, Numbered(Pace(1, 4)), tmp_path))
    assert [one.item.id for one in found] == [item.id for item in items]
    assert (found[3].vector, found[3].reason) == (None, "it breaks off")
    rest = [one.vector for one in found if one.item.id != "long"]
    np.testing.assert_allclose(rest, rows_of(list(range(10))), atol=1e-6)


def test_rows_can_be_taken_over_the_bounds_of_calls() -> None:
    with Encoding(Numbered(Pace(2, 3))) as encoding:
        for number in range(8):
            encoding.put(view_of(number))
        encoding.flush()
        assert encoding.take(0, wait=True).shape[0] == 0  # type: ignore[union-attr]
        for first, n in ((0, 1), (1, 4), (5, 3)):
            rows = encoding.take(n, wait=True)
            assert rows is not None
            np.testing.assert_allclose(rows, rows_of(list(range(first, first + n))), atol=1e-6)
        assert encoding.take(1, wait=False) is None


def test_digests_are_read_ahead_in_order_and_once_a_file(
    items: list[Item], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[Path] = []

    def counting(path: Path) -> str:
        counted.append(path)
        return sha256_of(path)

    def path_of(item: Item) -> Path:
        if item.id == "outside":
            raise InputError("outside of the root")
        return tmp_path / item.path

    monkeypatch.setattr(filling, "sha256_of", counting)
    many = [item for item in items for _ in range(DIGESTS_AHEAD)]
    odd = [Item("known", "0.png", sha256="a" * 64), Item("lost", "lost.png"), Item("outside", "0.png")]
    found = list(with_digests([*odd, *many], path_of))
    assert [one.id for one in found] == [item.id for item in (*odd, *many)]
    assert [one.sha256 for one in found[:3]] == ["a" * 64, None, None]
    assert all(one.sha256 == sha256_of(tmp_path / one.path) for one in found[3:])
    assert sorted(path.name for path in counted) == sorted(["lost.png", *(item.path for item in items)])


def test_digests_come_before_all_items_are_seen(items: list[Item], tmp_path: Path) -> None:
    with closing(with_digests((items[at % 10] for at in range(10**9)), lambda item: tmp_path / item.path)) as flow:
        assert next(flow).sha256 == sha256_of(tmp_path / "0.png")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("digests")]


class Short(Numbered):
    """Gives one row too few."""

    def embed_images(self, views: Views) -> Rows:
        return super().embed_images(views)[:-1]


def test_an_encoder_that_miscounts_is_told(items: list[Item], tmp_path: Path) -> None:
    """Else all vectors from there on would belong to other items."""
    with pytest.raises(EncoderError, match="gave 3 vectors for 4 views"):
        list(embed_items(items, lambda item: tmp_path / item.path, Short(Pace(1, 4))))
