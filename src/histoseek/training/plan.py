"""What a run will do, settled before anything is trained."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from dataclasses import dataclass, replace
from typing import Any

from histoseek.encoders.encoder import EncoderCard, Preprocessing
from histoseek.encoders.torch_encoder import TorchEncoder
from histoseek.errors import EncoderError, InputError
from histoseek.items import Manifest
from histoseek.training.batches import BatchPlan, class_group_table
from histoseek.training.config import DUAL_OBJECTIVES, IMAGE_OBJECTIVES, TrainConfig
from histoseek.training.data import TrainingData, check_queries, divide
from histoseek.training.objectives import OBJECTIVES
from histoseek.training.starting import Base, open_base
from histoseek.training.towers import count_parameters, prepare_towers, root_of

WITHOUT_EFFECT = ("workers", "save_every", "base")
"""Settings that may change when a run is resumed: `base` stands in the digest by its fingerprint."""

WORDED = ("clip", "siglip")
"""Objectives that need a text tower and texts."""


@dataclass(frozen=True)
class Plan:
    """What a run will do, before anything is trained."""

    config: TrainConfig
    data: TrainingData
    base: Base
    batches: BatchPlan

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""
        return math.ceil(len(self.data.rows) / self.batches.batch)

    @property
    def n_steps(self) -> int:
        """Batches in all."""
        return self.config.epochs * self.steps_per_epoch

    @property
    def preprocessing(self) -> Preprocessing:
        """How the base sees."""
        return self.base.encoder.fingerprint.preprocessing

    @property
    def digest(self) -> str:
        """What tells this run from any other: its settings, its items and its base."""
        settings = {name: value for name, value in self.config.plain().items() if name not in WITHOUT_EFFECT}
        items = [self.data.manifest.digest, self.data.pool.digest]
        content = [settings, items, self.base.encoder.fingerprint.digest]
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def make_plan(manifest: Manifest, config: TrainConfig, queries: Manifest | None = None) -> Plan:
    """Open the base, divide the manifest and settle what is left open; no group of `queries` may be trained on.

    Raises:
        InputError: the data do not fit the objectives, or a patient is on both sides.
        EncoderError: the base cannot be trained so.
    """
    base = open_base(config.base, config.mpp)
    how = base.encoder.fingerprint.preprocessing
    data = divide(manifest, config, how.view_px, how.mpp)
    if queries is not None:
        check_queries(data, queries)
    settled = replace(config, objectives=dict(config.objectives) or _usual_objectives(base.encoder, data))
    _check_objectives(settled, base.encoder.card, data)
    names = [None if code < 0 else data.classes[code] for code in data.labels[data.rows]]
    groups = [data.items[row].group for row in data.rows]
    batch = min(config.batch, len(data.rows))
    return Plan(settled, data, base, BatchPlan(names, groups, batch, config.per_class, config.seed))


def _usual_objectives(encoder: TorchEncoder, data: TrainingData) -> dict[str, float]:
    return dict(DUAL_OBJECTIVES if encoder.towers.text is not None and data.has_texts else IMAGE_OBJECTIVES)


def _check_objectives(config: TrainConfig, card: EncoderCard, data: TrainingData) -> None:
    for name in config.objectives:
        if name not in OBJECTIVES:
            raise InputError(f"there is no objective {name!r}; choose from {', '.join(OBJECTIVES)}")
    worded = [name for name in WORDED if name in config.objectives]
    if worded and not card.has_text:
        raise EncoderError(
            f"the objective {worded[0]!r} needs words, and {card.name!r} has no text tower; start from a dual encoder "
            "or choose supcon"
        )
    if worded and not data.has_texts:
        raise InputError(
            f"the objective {worded[0]!r} needs words, and no item has a caption or a label; fill the column 'caption' "
            "or choose views"
        )
    if "distill" in config.objectives and config.teacher is None:
        raise InputError("the objective 'distill' follows another encoder; name it with --teacher")


def describe_plan(plan: Plan) -> dict[str, Any]:
    """The plan in plain values: what starts, what is learnt, from how much, in how many steps."""
    data, config, how = plan.data, plan.config, plan.preprocessing
    queries = data.pool.where(split="val")
    return {
        "base": plan.base.card.name,
        "licence of the base": plan.base.card.licence,
        "mode": config.mode,
        "objectives": ", ".join(f"{name} × {weight:g}" for name, weight in config.objectives.items()),
        "view": f"{how.view_px} px at {how.mpp:g} µm/px",
        "training items": len(data.items),
        "training groups": len(set(data.groups.tolist())),
        "items without label": int((data.labels < 0).sum()),
        "items with texts": sum(1 for texts in data.texts if texts),
        "words": _words_after(plan),
        "validation queries": len(queries),
        "validation groups": len(set(queries.table["group"].to_pylist())),
        "batch": f"{plan.batches.batch} items × {config.views} views",
        "steps": f"{config.epochs} epochs × {plan.steps_per_epoch}",
        "learning rate": config.learning_rate,
        "numbers in the networks": f"{count_parameters(root_of(plan.base.encoder.towers))[1]:,}",
        "numbers trained": f"{_n_trained(plan):,}",
    }


def class_rows(plan: Plan) -> list[dict[str, Any]]:
    """The classes with their items and groups, as `--dry-run` shows them."""
    data = plan.data
    labels = [None if code < 0 else data.classes[code] for code in data.labels]
    return class_group_table(labels, [item.group for item in data.items])


def _words_after(plan: Plan) -> str:
    """What training does to searching by words."""
    if not plan.base.card.has_text:
        return "none: the base has no text tower"
    if any(name in plan.config.objectives for name in WORDED):
        return "trained along"
    return "not trained: views move away from the words; add the objective clip to search by words"


def _n_trained(plan: Plan) -> int:
    """How many numbers the mode trains, counted on a copy."""
    encoder, config = plan.base.encoder, plan.config
    towers = prepare_towers(copy.deepcopy(encoder.towers), encoder.card.dim, config.mode, config.rank)
    return count_parameters(root_of(towers))[0]
