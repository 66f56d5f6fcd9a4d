"""Who learns and who checks: training items, validation items apart by group, and the words that go with each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoseek.errors import InputError
from histoseek.evaluation.words import class_prompts
from histoseek.imaging import plan_views
from histoseek.items import Item, Manifest
from histoseek.training.config import TrainConfig

MOST_VIEWS = 4
"""A large image comes up at most this often in an epoch."""

GALLERY = 1000
"""Training items, at most, among which validation queries look for their like."""

TRAINED = (None, "", "train")
"""Values of the column `split` that may be trained on; all but these and `val` are left alone."""


@dataclass(frozen=True)
class TrainingData:
    """Rows to train on and the pool to validate in.

    `rows` [R] names the item of each row: a large image has several. `labels` and `groups` [N] are codes of
    the items (−1: no label) into `classes` and the sorted groups; `texts` holds what may be said of each item. `pool`
    has the split `val` on its queries.
    """

    manifest: Manifest
    items: tuple[Item, ...]
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    classes: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]
    pool: Manifest

    @property
    def has_texts(self) -> bool:
        """Whether anything is said of any item."""
        return any(self.texts)


def divide(manifest: Manifest, config: TrainConfig, view_px: int, view_mpp: float) -> TrainingData:
    """Divide a manifest by its split column, or by drawing groups, and find each item's class and words.

    Raises:
        InputError: a group is on both sides, nothing is left to train on, or validation could answer nothing.
    """
    if config.label not in manifest.columns:
        raise InputError(f"the manifest has no column {config.label!r}; its columns are: {', '.join(manifest.columns)}")
    train, val = _sides(manifest, config)
    items = tuple(train)
    names = [_label_of(item, config.label) for item in items]
    classes = tuple(sorted({name for name in names if name is not None}))
    groups = sorted({item.group for item in items})
    code = {name: number for number, name in enumerate(groups)}
    return TrainingData(
        manifest=train,
        items=items,
        rows=_rows(items, view_px, view_mpp),
        labels=np.array([-1 if name is None else classes.index(name) for name in names], np.int64),
        groups=np.array([code[item.group] for item in items], np.int64),
        classes=classes,
        texts=_texts(items, names, classes),
        pool=_pool(train, val, config),
    )


def _sides(manifest: Manifest, config: TrainConfig) -> tuple[Manifest, Manifest]:
    splits = manifest.table["split"].to_pylist()
    trained = Manifest(
        manifest.table.filter(pa.array([name in TRAINED for name in splits])), manifest.root, manifest.facts
    )
    held = Manifest(
        manifest.table.filter(pa.array([name not in TRAINED for name in splits])), manifest.root, manifest.facts
    )
    if not len(trained):
        raise InputError("no item has the split 'train' or none at all, so there is nothing to train on")
    _apart(trained, held)
    val = held.where(split="val")
    if len(val):
        _apart(val, held.where("split != 'val'"))
        return trained, val
    shares = {"train": 1 - config.validation, "val": config.validation}
    dealt = trained.split(shares, stratify=config.label, seed=config.seed)
    return dealt.where(split="train"), dealt.where(split="val")


def _apart(trained: Manifest, held: Manifest) -> None:
    shared = sorted(set(trained.table["group"].to_pylist()) & set(held.table["group"].to_pylist()))
    if shared:
        raise InputError(
            f"{len(shared)} groups stand in the split to train on and in another one ({', '.join(shared[:3])}), so "
            "patients would be trained on and asked about; divide the manifest by patients again"
        )


def check_queries(data: TrainingData, queries: Manifest) -> None:
    """Refuse a patient of a later evaluation's queries who is trained on, or helps to choose the epoch.

    Raises:
        InputError: there is one.
    """
    _apart(data.manifest, queries)
    _apart(data.pool.where(split="val"), queries)


def _label_of(item: Item, column: str) -> str | None:
    value: Any = getattr(item, column) if hasattr(item, column) else item.extra.get(column)
    return None if value in (None, "") else str(value)


def _rows(items: tuple[Item, ...], view_px: int, view_mpp: float) -> NDArray[np.int64]:
    """Every item once, and again for every further view that it would be indexed with, up to `MOST_VIEWS`."""
    rows = []
    for number, item in enumerate(items):
        n_views = len(plan_views(item.width or 1, item.height or 1, item.mpp, view_px, view_mpp).corners)
        rows += [number] * min(n_views, MOST_VIEWS)
    return np.array(rows, np.int64)


def _texts(items: tuple[Item, ...], labels: list[str | None], classes: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """An item's captions, one a line of its cell; else the prompts of its class."""
    _, prompts = class_prompts(list(classes), {item.dataset for item in items if item.dataset})
    said = []
    for item, label in zip(items, labels, strict=True):
        captions = tuple(line.strip() for line in (item.caption or "").splitlines() if line.strip())
        said.append(captions or (tuple(prompts[label]) if label is not None else ()))
    return tuple(said)


def _pool(train: Manifest, val: Manifest, config: TrainConfig) -> Manifest:
    """Validation queries and, as their gallery, a sample of the training items; those with a label alone can answer."""
    train, val = train.where(f"{config.label} IS NOT NULL"), val.where(f"{config.label} IS NOT NULL")
    rng = np.random.default_rng(config.seed)
    kept = np.sort(rng.permutation(len(train))[:GALLERY])
    gallery = train.table.take(pa.array(kept))
    column = gallery.schema.get_field_index("split")
    parts = []
    for table, name in ((gallery, "train"), (val.table, "val")):
        parts.append(table.set_column(column, table.schema.field("split"), pa.array([name] * len(table), pa.string())))
    pool = Manifest(pa.concat_tables(parts), train.root, train.facts)
    groups_of: dict[str | None, set[str]] = {}
    for item in pool:
        groups_of.setdefault(_label_of(item, config.label), set()).add(item.group)
    if not any(len(groups_of[_label_of(item, config.label)]) > 1 for item in val if _label_of(item, config.label)):
        raise InputError(
            f"no validation query can be answered: no label in column {config.label!r} of the {len(val)} validation "
            "items occurs in a second group; label more patients, or name another --label"
        )
    return pool
