from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from histoseek.errors import InputError
from histoseek.items import Item, Manifest


def patients(n_groups: int, seed: int = 0) -> Manifest:
    """Patients with 1 to 12 items, mostly of one of four labels."""
    rng = np.random.default_rng(seed)
    items = []
    for group in range(n_groups):
        for nth in range(int(rng.integers(1, 13))):
            label = group % 4 if rng.random() < 0.8 else int(rng.integers(4))
            items.append(Item(id=f"{group}-{nth}", path="p", group=f"g{group}", label=f"L{label}"))
    return Manifest.from_items([items[at] for at in rng.permutation(len(items))], ".")


@pytest.mark.parametrize("seed", range(5))
def test_no_group_is_ever_torn(seed: int) -> None:
    made = patients(60, seed).split({"train": 0.6, "val": 0.2, "test": 0.2}, seed=seed)
    sides: dict[str, set[str | None]] = {}
    for item in made:
        sides.setdefault(item.group, set()).add(item.split)
    assert all(len(side) == 1 for side in sides.values())


def test_splits_come_near_their_shares_for_every_label() -> None:
    made = patients(200).split({"train": 0.7, "test": 0.3})
    whole, test = Counter(item.label for item in made), Counter(item.label for item in made.where(split="test"))
    for label, count in whole.items():
        assert test[label] / count == pytest.approx(0.3, abs=0.03)


def test_same_seed_gives_the_same_split_and_another_seed_another() -> None:
    made = patients(80)
    first, again, other = (made.split({"a": 0.5, "b": 0.5}, seed=seed).table["split"] for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)


def test_every_split_gets_a_group_even_if_groups_are_few() -> None:
    items = [Item(id=str(n), path="p", group="big" if n < 50 else f"g{n}", label="x") for n in range(52)]
    made = Manifest.from_items(items, ".").split({"train": 0.9, "val": 0.05, "test": 0.05})
    assert set(made.table["split"].to_pylist()) == {"train", "val", "test"}


def test_split_by_another_column_and_without_labels() -> None:
    items = [Item(id=str(n), path="p", slide=f"s{n // 5}") for n in range(50)]
    made = Manifest.from_items(items, ".").split({"a": 0.5, "b": 0.5}, by="slide", stratify=None)
    assert Counter(item.split for item in made) == {"a": 25, "b": 25}
    assert all(len({item.split for item in made if item.slide == f"s{n}"}) == 1 for n in range(10))


@pytest.mark.parametrize("shares", [{}, {"a": 0.5}, {"a": 0.5, "b": 0.6}, {"a": 1.5, "b": -0.5}, {"a": float("nan")}])
def test_shares_that_do_not_add_up_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(InputError, match="add up to 1"):
        patients(5).split(shares)


def test_more_splits_than_groups_are_refused() -> None:
    with pytest.raises(InputError, match=r"1 groups .* cannot fill 2 splits"):
        patients(1).split({"a": 0.5, "b": 0.5})


def test_unknown_column_is_refused() -> None:
    with pytest.raises(InputError, match="no column 'hospital'"):
        patients(5).split({"a": 0.5, "b": 0.5}, by="hospital")
