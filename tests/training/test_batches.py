"""Batches: rare classes as often as common ones, positives from different groups, the same again for the same seed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from histoseek.errors import InputError
from histoseek.training.batches import UNLABELLED, BatchPlan, class_group_table, shard


def rows_of(sizes: dict[str | None, dict[str, int]]) -> tuple[list[str | None], list[str]]:
    """Labels and groups of so many rows of each class and group, in a mixed order."""
    rows = [(label, group) for label, groups in sizes.items() for group, n in groups.items() for _ in range(n)]
    order = np.random.default_rng(7).permutation(len(rows))
    return [rows[at][0] for at in order], [rows[at][1] for at in order]


UNEVEN: dict[str | None, dict[str, int]] = {
    "common": {f"p{n}": 20 for n in range(10)},
    "few patients": {"p0": 50, "p1": 4},
    "rare": {"p2": 3, "p3": 1, "p4": 1, "p5": 2},
    "middle": {f"q{n}": 5 for n in range(6)},
}


def plan_of(sizes: dict[str | None, dict[str, int]], batch: int = 12, per_class: int = 4, seed: int = 0) -> BatchPlan:
    return BatchPlan(*rows_of(sizes), batch, per_class, seed)


def classes_of(plan: BatchPlan, rows: Any) -> Counter[str | None]:
    return Counter(plan.labels[row] for row in rows)


@pytest.mark.parametrize("batch", [1, 2, 7, 12, 16, 50, 291])
def test_every_batch_is_full_and_an_epoch_is_as_long_as_the_rows(batch: int) -> None:
    plan = plan_of(UNEVEN, batch)
    batches = plan.epoch(0)
    assert len(batches) == -(-len(plan.labels) // batch)
    for rows in batches:
        assert rows.shape == (batch,)
        assert rows.dtype == np.int64
        assert 0 <= rows.min() <= rows.max() < len(plan.labels)


def test_rare_classes_come_as_often_as_common_ones() -> None:
    plan = plan_of(UNEVEN)
    counts = classes_of(plan, np.concatenate(plan.epoch(0)))
    assert set(counts) == set(UNEVEN)
    assert max(counts.values()) - min(counts.values()) <= 4


def test_each_class_drawn_has_its_rows_in_the_batch() -> None:
    for rows in plan_of(UNEVEN, batch=12, per_class=4).epoch(1):
        assert sorted(classes_of(plan_of(UNEVEN), rows).values()) == [4, 4, 4]


@pytest.mark.parametrize(
    ("batch", "per_class", "expected"),
    [
        (14, 4, [4, 5, 5]),  # what does not divide goes to the classes drawn
        (32, 4, [8, 8, 8, 8]),  # too few classes: each gets more
        (18, 4, [4, 4, 5, 5]),
        (4, 4, [2, 2]),  # two classes all the same
        (2, 4, [2]),
        (8, 1, [2, 2, 2, 2]),
    ],
)
def test_what_does_not_divide_is_dealt_out_evenly(batch: int, per_class: int, expected: list[int]) -> None:
    plan = plan_of(UNEVEN, batch, per_class)
    for rows in plan.epoch(0):
        assert sorted(classes_of(plan, rows).values()) == expected


@pytest.mark.parametrize(("batch", "per_class"), [(12, 4), (32, 8), (40, 10)])
def test_rows_of_a_class_come_from_as_many_groups_as_there_are(batch: int, per_class: int) -> None:
    plan = plan_of(UNEVEN, batch, per_class)
    for number in range(3):
        for rows in plan.epoch(number):
            for label, n in classes_of(plan, rows).items():
                groups = {plan.groups[row] for row in rows if plan.labels[row] == label}
                assert len(groups) == min(n, len(UNEVEN[label])), label


def test_no_row_comes_twice_while_others_of_its_class_are_left() -> None:
    plan = plan_of(UNEVEN, 64, 16)
    repeated = 0
    for rows in plan.epoch(0):
        for label, n in classes_of(plan, rows).items():
            times = Counter(int(row) for row in rows if plan.labels[row] == label)
            size = sum(UNEVEN[label].values())
            assert len(times) == min(n, size), label
            assert max(times.values()) == -(-n // size), label
            repeated += max(times.values()) > 1
    assert repeated, "the rare class must be too small for its place"


def test_an_epoch_reaches_every_row_of_balanced_data() -> None:
    plan = plan_of({name: {f"{name}{n}": 3 for n in range(4)} for name in "abcd"}, 16, 4)
    assert sorted(np.concatenate(plan.epoch(0)).tolist()) == list(range(48))


def test_groups_of_a_class_come_equally_often() -> None:
    plan = plan_of({"a": {"big": 200, **{f"p{n}": 10 for n in range(7)}}, "b": {"x": 30, "y": 30}}, 8, 4)
    rows = np.concatenate(plan.epoch(0))
    counts = Counter(plan.groups[row] for row in rows if plan.labels[row] == "a")
    assert len(counts) == 8
    assert max(counts.values()) - min(counts.values()) <= 1


def test_partners_change_within_an_epoch() -> None:
    plan = plan_of({"a": {f"p{n}": 8 for n in range(8)}, "b": {f"q{n}": 8 for n in range(8)}}, 4, 2)
    pairs = {frozenset(plan.groups[row] for row in rows if plan.labels[row] == "a") for rows in plan.epoch(0)}
    assert len(pairs) > 10


def test_an_epoch_is_decided_by_seed_and_number_alone() -> None:
    def dealt(seed: int, number: int, before: int = 0) -> list[int]:
        plan = plan_of(UNEVEN, seed=seed)
        for earlier in range(before):
            plan.epoch(earlier)
        return [int(row) for row in np.concatenate(plan.epoch(number))]

    assert dealt(0, 3) == dealt(0, 3, before=3)
    assert dealt(0, 3) != dealt(0, 4)
    assert dealt(0, 3) != dealt(1, 3)
    assert sorted(dealt(0, 3)) != sorted(dealt(0, 4)), "epochs choose the same rows"


def test_unlabelled_rows_have_their_share_of_every_batch() -> None:
    plan = plan_of({**UNEVEN, None: {"u0": 60, "u1": 37}}, 12, 4)
    batches = plan.epoch(0)
    share = 12 * 97 / len(plan.labels)
    for rows in batches:
        assert classes_of(plan, rows)[None] in (int(share), int(share) + 1)
    bare = Counter(int(row) for rows in batches for row in rows if plan.labels[row] is None)
    assert len(bare) == 97
    assert max(bare.values()) <= 2


def test_few_unlabelled_rows_are_not_rounded_away() -> None:
    plan = plan_of({**UNEVEN, None: {"u": 2}}, 12, 4)
    bare = [row for rows in plan.epoch(0) for row in rows if plan.labels[row] is None]
    assert len(set(bare)) == 2


def test_rows_without_any_label_all_come() -> None:
    plan = plan_of({None: {"u0": 20, "u1": 11}}, 8, 4)
    rows = np.concatenate(plan.epoch(0))
    assert set(rows.tolist()) == set(range(31))
    assert all(len(set(batch.tolist())) == 8 for batch in plan.epoch(0))


def test_one_class_alone_can_be_dealt() -> None:
    rows = plan_of({"a": {"p": 3, "q": 4}}, 4, 2).epoch(0)
    assert [len(set(batch.tolist())) for batch in rows] == [4, 4]


def test_every_shard_sees_several_classes() -> None:
    plan = plan_of(UNEVEN, 32, 8)
    mixed = [len(classes_of(plan, shard(rows, rank, 2))) for rows in plan.epoch(0) for rank in range(2)]
    assert np.mean(mixed) > 3


@pytest.mark.parametrize("world", [1, 2, 3, 6])
def test_shards_are_the_batch_in_equal_parts(world: int) -> None:
    rows = plan_of(UNEVEN, 12).epoch(0)[0]
    parts = [shard(rows, rank, world) for rank in range(world)]
    assert {len(part) for part in parts} == {12 // world}
    assert np.array_equal(np.concatenate(parts), rows)


@pytest.mark.parametrize(("size", "world", "fitting"), [(12, 5, 10), (31, 2, 30), (3, 4, 4)])
def test_a_batch_that_cannot_be_divided_names_the_flag_and_a_size_that_can(size: int, world: int, fitting: int) -> None:
    with pytest.raises(InputError, match=rf"--batch .* such as {fitting}$"):
        shard(np.arange(size), 0, world)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"labels": [], "groups": []}, "no items"),
        ({"groups": ["p"]}, "2 labels"),
        ({"batch": 0}, "--batch"),
        ({"per_class": 0}, "--per-class"),
        ({"seed": -1}, "--seed"),
    ],
)
def test_plans_that_make_no_sense_are_refused(wrong: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {"labels": ["a", "b"], "groups": ["p", "q"], "batch": 2, "per_class": 1, "seed": 0}
    with pytest.raises(InputError, match=said):
        BatchPlan(**{**given, **wrong})


def test_table_of_classes_and_groups() -> None:
    table = class_group_table(["b", "a", "b", None, "b", "b", "a"], ["p", "p", "q", "r", "p", "p", "s"])
    assert table == [
        {"class": "a", "items": 2, "groups": 2, "largest group": 0.5},
        {"class": "b", "items": 4, "groups": 2, "largest group": 0.75},
        {"class": UNLABELLED, "items": 1, "groups": 1, "largest group": 1.0},
    ]
