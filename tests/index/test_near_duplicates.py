"""Near-duplicates are shown once, the best of them, and nothing else is hidden."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from histoseek.encoders.encoder import unit_rows
from histoseek.index import Index
from histoseek.index.near_duplicates import AT_ONCE, FEWEST, SAME, Closeness, NearDuplicates, closeness_of, overlaps
from histoseek.index.query import Rules
from histoseek.index.selecting import within_quotas
from histoseek.items import Box, Item, Manifest, table_of
from histoseek.stores import Rows
from tests.conftest import SIDE, TinyEncoder, draw_square, write_archive

COPY = Item("copy", "copy.png")


def found(index: Index, **rules: Any) -> list[str]:
    return [hit.item.id for hit in index.search(text="red", **rules)]


def test_a_picture_that_was_saved_again_is_hidden(archive: Manifest, tiny: TinyEncoder, tmp_path: Path) -> None:
    items = list(archive)
    red = next(item for item in items if item.label == "red")
    pixels = np.asarray(Image.open(archive.path_of(red))).astype(int)
    changed = Image.fromarray(np.clip(pixels + 1, 0, 255).astype(np.uint8))
    changed.save(Path(archive.root) / "copy.png")
    copy = replace(red, id="toy/copy", path="copy.png", group="another", slide="another", sha256=None)
    index = Index.build(Manifest.from_items([*items, copy], archive.root), tiny, tmp_path / "copies.index")
    everything = found(index, k=100)
    assert {red.id, copy.id} <= set(everything)
    best = min(red.id, copy.id, key=everything.index)
    worse = ({red.id, copy.id} - {best}).pop()
    assert found(index, k=100, collapse=True) == [name for name in everything if name != worse]
    assert found(index, k=3, collapse=True) == [name for name in everything if name != worse][:3]


def test_boxes_that_overlap_by_half_are_shown_once(tmp_path: Path, tiny: TinyEncoder) -> None:
    rng = np.random.default_rng(3)
    draw_square("red", rng, (200, 60)).save(tmp_path / "a.png")
    draw_square("red", rng, (200, 60)).save(tmp_path / "b.png")
    boxes = {"a0": (0, 0), "a7": (7, 0), "a9": (9, 0), "a60": (60, 0), "b0": (0, 0)}
    items = [
        Item(name, f"{name[0]}.png", "toy", "red", name, "patient", box=Box(x, y, SIDE, SIDE), mpp=0.5)
        for name, (x, y) in boxes.items()
    ]
    index = Index.build(Manifest.from_items(items, tmp_path), tiny, tmp_path / "x.index")
    everything = found(index, k=9)
    kept: list[str] = []
    for name in everything:
        near = [other for other in kept if other[0] == name[0] and abs(boxes[other][0] - boxes[name][0]) < SIDE / 2]
        if not near:
            kept.append(name)
    assert found(index, k=9, collapse=True) == kept
    assert {"b0", "a60"} < set(kept) and len(kept) < len(everything)


@pytest.mark.parametrize(
    ("one", "two", "is_same"),
    [
        (Box(0, 0, 10, 10), Box(0, 0, 10, 10), True),
        (Box(0, 0, 10, 10), Box(4, 0, 10, 10), True),
        (Box(0, 0, 10, 10), Box(5, 0, 10, 10), False),
        (Box(0, 0, 10, 10), Box(10, 0, 10, 10), False),
        (Box(0, 0, 10, 10), Box(20, 20, 10, 10), False),
        (Box(0, 0, 100, 100), Box(50, 50, 10, 10), True),
        (Box(0, 0, 100, 100), Box(96, 0, 10, 10), False),
    ],
)
def test_overlap_is_measured_on_the_smaller_box(one: Box, two: Box, is_same: bool) -> None:
    assert overlaps(one, two) is overlaps(two, one) is is_same


def turned(cosine: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A unit vector at a cosine from the first axis."""
    return np.array([cosine, np.sqrt(1 - cosine**2)], dtype=np.float32)


@pytest.mark.parametrize(("cosine", "is_same"), [(SAME - 1e-3, False), (SAME + 1e-3, True), (1.0, True), (-1.0, False)])
def test_vectors_count_above_the_stated_cosine(cosine: float, is_same: bool) -> None:
    items = table_of([Item("a", "a.png"), Item("b", "b.png")])
    vectors = np.stack([turned(1.0), turned(cosine)])
    twins = NearDuplicates(items, np.array([0, 1]), Closeness(lambda rows: vectors[rows]))
    assert not twins.has_twin(0)
    twins.keep(0)
    assert twins.has_twin(1) is is_same
    bare = NearDuplicates(items, np.array([0, 1]), None)  # as on a server, where vectors stay
    bare.keep(0)
    assert not bare.has_twin(1)


def test_many_hits_are_read_in_parts_and_only_as_far_as_needed() -> None:
    n_hits = 5 * AT_ONCE
    items = table_of([Item(f"i{n}", f"{n}.png", group=f"g{n % 2}", group_source="patient") for n in range(n_hits)])
    vectors = np.eye(n_hits, dtype=np.float32)
    vectors[1::2] = vectors[::2]  # every second is the one before again
    read: list[int] = []

    def give(rows: Any) -> Any:
        read.append(len(rows))
        return vectors[rows]

    hits = np.arange(n_hits)
    assert (
        within_quotas(items, hits, Rules(k=AT_ONCE, collapse=True), Closeness(give)).tolist()
        == list(range(0, n_hits, 2))[:AT_ONCE]
    )
    assert read == [AT_ONCE] * 2
    read.clear()
    assert within_quotas(items, hits, Rules(k=9, per_group=1, collapse=True), Closeness(give)).tolist() == [0, 3]
    assert read == [AT_ONCE]


def test_different_pictures_of_one_kind_stay(tmp_path: Path, tiny: TinyEncoder) -> None:
    index = Index.build(write_archive(tmp_path, 6), tiny, tmp_path / "x.index")
    assert found(index, k=24, collapse=True) == found(index, k=24)


def test_where_different_patients_come_close_copies_must_be_closer() -> None:
    """As with an encoder that sees little: all vectors lie in a narrow cone, and copies in a narrower one."""
    rng = np.random.default_rng(1)
    n_patients, width = 40, 32
    cone = unit_rows((1 + 0.03 * rng.normal(size=(n_patients, width))).astype(np.float32))
    copies = unit_rows(cone + 0.0004 * rng.normal(size=cone.shape).astype(np.float32))
    between = np.where(np.eye(n_patients, dtype=bool), -1, cone @ cone.T).max(axis=1)
    assert between.min() > SAME
    vectors = np.concatenate([cone, copies])
    items = table_of([Item(f"{n}", f"{n}.png", group=f"g{n % n_patients}") for n in range(2 * n_patients)])
    groups = np.tile(np.arange(n_patients, dtype=np.int32), 2)
    rows = SimpleNamespace(items=items, groups=groups, vectors=vectors.__getitem__, checked=vectors.__getitem__)
    closeness = closeness_of(cast(Rows, rows))
    assert between.max() < closeness.above < (cone * copies).sum(axis=1).min()
    hits = np.arange(2 * n_patients)
    kept = within_quotas(items, hits, Rules(k=len(hits), collapse=True), closeness)
    assert kept.tolist() == list(range(n_patients))


def test_few_patients_say_nothing_of_how_close_others_come(tmp_path: Path, tiny: TinyEncoder) -> None:
    index = Index.build(write_archive(tmp_path, 4), tiny, tmp_path / "x.index")  # all of a colour are nearly the same
    assert len(index) < FEWEST and index.view.closeness.above == SAME
