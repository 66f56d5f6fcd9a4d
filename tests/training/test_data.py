from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from histoseek.errors import InputError
from histoseek.items import Item, Manifest
from histoseek.training.config import TrainConfig
from histoseek.training.data import check_queries, divide


def manifest(n_groups: int = 10, split: str | None = None, **more: object) -> Manifest:
    items = [
        Item(
            id=f"{g}-{n}",
            path=f"{g}-{n}.png",
            label="ab"[n % 2],
            group=f"g{g}",
            split=split,
            mpp=0.5,
            width=64,
            height=64,
        )
        for g in range(n_groups)
        for n in range(4)
    ]
    return Manifest.from_items([replace(item, **more) for item in items], ".")  # type: ignore[arg-type]


def test_validation_groups_are_held_back_whole() -> None:
    data = divide(manifest(), TrainConfig(validation=0.3), 64, 0.5)
    trained = {item.group for item in data.items}
    asked = set(data.pool.where(split="val").table["group"].to_pylist())
    assert len(asked) == 3 and not trained & asked
    assert {item.group for item in data.pool.where(split="train")} <= trained


def test_a_stated_val_split_is_used_and_test_is_left_alone() -> None:
    names = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    table = [replace(item, split=names[int(item.group[1:])]) for item in manifest()]
    data = divide(Manifest.from_items(table, "."), TrainConfig(), 64, 0.5)
    assert {item.group for item in data.items} == {f"g{n}" for n in range(6)}
    assert set(data.pool.where(split="val").table["group"].to_pylist()) == {"g6", "g7"}
    assert not {"g8", "g9"} & set(data.pool.table["group"].to_pylist())


def test_a_large_image_comes_up_once_for_each_of_its_views_up_to_four() -> None:
    data = divide(manifest(width=128, height=64), TrainConfig(), 64, 0.5)
    assert set(Counter(data.rows.tolist()).values()) == {2}
    data = divide(manifest(width=1280, height=640), TrainConfig(), 64, 0.5)
    assert set(Counter(data.rows.tolist()).values()) == {4}


def test_captions_are_said_line_by_line_and_labels_stand_in_prompts_without_them() -> None:
    data = divide(manifest(caption="one\n two \n\n"), TrainConfig(), 64, 0.5)
    assert set(data.texts) == {("one", "two")}
    data = divide(manifest(), TrainConfig(), 64, 0.5)
    assert all(
        len(texts) > 1 and all(text.endswith("a") or text.endswith("b") for text in texts) for texts in data.texts
    )


def test_unlabelled_items_are_trained_on_without_a_class() -> None:
    items = [replace(item, label=None) if item.group in ("g0", "g1") else item for item in manifest()]
    data = divide(Manifest.from_items(items, "."), TrainConfig(), 64, 0.5)
    assert data.classes == ("a", "b") and -1 in data.labels


def test_the_label_may_stand_in_another_column() -> None:
    with pytest.raises(InputError, match="no column 'organ'"):
        divide(manifest(), TrainConfig(label="organ"), 64, 0.5)
    data = divide(manifest(extra={"organ": "colon"}), TrainConfig(label="organ"), 64, 0.5)
    assert data.classes == ("colon",)


def test_items_without_label_do_not_choose_the_epoch() -> None:
    items = [replace(item, label=None) if item.id.endswith("-3") else item for item in manifest()]
    pool = divide(Manifest.from_items(items, "."), TrainConfig(), 64, 0.5).pool
    assert len(pool) == 30 and None not in pool.table["label"].to_pylist()


def test_no_patient_of_the_queries_is_trained_on_or_chooses_the_epoch() -> None:
    data = divide(manifest(), TrainConfig(validation=0.3), 64, 0.5)
    for number in range(10):
        with pytest.raises(InputError, match=f"1 groups .*g{number}"):
            check_queries(data, manifest().where(group=f"g{number}"))
    check_queries(data, Manifest.from_items([Item(id="x", path="x.png", group="someone else")], "."))
    names = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    leaky = [replace(item, split=names[int(item.group[1:])]) for item in manifest()]
    leaky[-1] = replace(leaky[-1], group="g6")
    with pytest.raises(InputError, match="g6"):
        divide(Manifest.from_items(leaky, "."), TrainConfig(), 64, 0.5)


def test_nothing_to_train_on_or_to_check_with_is_said() -> None:
    with pytest.raises(InputError, match="nothing to train on"):
        divide(manifest(split="test"), TrainConfig(), 64, 0.5)
    lonely = Manifest.from_items([replace(item, label=item.group) for item in manifest()], ".")
    with pytest.raises(InputError, match="no validation query can be answered"):
        divide(lonely, TrainConfig(), 64, 0.5)
