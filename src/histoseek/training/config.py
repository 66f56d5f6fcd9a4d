"""What a training run is to do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from histoseek.encoders.bundled import DEFAULT
from histoseek.errors import InputError
from histoseek.training.augmentation import Augmentation

Mode = Literal["head", "lora", "full"]
Precision = Literal["f32", "bf16"]

LEARNING_RATE: Mapping[str, float] = {"head": 1e-3, "lora": 5e-4, "full": 5e-5}
"""Where none is given: the fewer weights move, the further each may go."""

DUAL_OBJECTIVES: Mapping[str, float] = {"clip": 1.0, "supcon": 1.0}
IMAGE_OBJECTIVES: Mapping[str, float] = {"supcon": 1.0}


@dataclass(frozen=True)
class TrainConfig:
    """The settings of a training run.

    `base` is the encoder to start from, `objectives` names with weights (empty: chosen by what the base and the data
    have). `mode` says what is trained: a linear `head` on frozen towers, low-rank adapters (`lora`), or everything
    (`full`). A batch holds `batch` items, `per_class` of each class drawn, each seen in `views` views. `rate` is the
    learning rate (None: by mode), reached after the part `warmup` of all steps and led down by a cosine;
    `layer_decay` multiplies it once for every layer below the top; `decay` is AdamW's weight decay, kept off biases,
    norms and positions; `clip` the largest norm of a gradient; `ema` the decay of an averaged copy of the weights that
    is then the one validated and kept (0: none); `max_scale` the largest factor on cosines in `clip` and `siglip`;
    `rank` that of the adapters. `validation` is the share of groups held back where the manifest has no split `val`;
    training stops after `patience` epochs without a better mAP@10. `teacher` is the encoder that `distill` follows.
    `save_every` counts steps between checkpoints.

    Raises:
        InputError: a value makes no sense.
    """

    base: str = DEFAULT
    objectives: Mapping[str, float] = field(default_factory=dict)
    mode: Mode = "lora"
    epochs: int = 10
    batch: int = 32
    per_class: int = 4
    views: int = 2
    rate: float | None = None
    warmup: float = 0.1
    decay: float = 0.05
    layer_decay: float = 0.9
    clip: float = 1.0
    ema: float = 0.0
    max_scale: float = 100.0
    rank: int = 8
    augmentation: Augmentation = field(default_factory=Augmentation)
    label: str = "label"
    validation: float = 0.2
    patience: int = 5
    teacher: str | None = None
    mpp: float | None = None
    precision: Precision = "f32"
    seed: int = 0
    workers: int = 2
    save_every: int = 50

    def __post_init__(self) -> None:
        for name, value, known in (("mode", self.mode, Mode), ("precision", self.precision, Precision)):
            if value not in get_args(known):
                raise InputError(f"there is no {name} {value!r}; choose {', '.join(get_args(known))}")
        for name in ("epochs", "batch", "per_class", "views", "rank", "patience", "workers", "save_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; give a number of at least 1")
        if self.seed < 0:
            raise InputError(f"seed is {self.seed}; give a number of at least 0")
        for name in ("decay", "warmup", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name):g}; give a number from 0 to below 1")
        if not 0 < self.layer_decay <= 1 or not 0 < self.validation < 1:
            raise InputError("layer_decay goes from above 0 to 1, and validation lies between 0 and 1")
        if not (self.clip > 0 and self.max_scale >= 1 and self.learning_rate > 0):
            raise InputError("rate and clip must be above 0, and max_scale at least 1")
        if not all(0 < weight < math.inf for weight in self.objectives.values()):
            raise InputError("weights of objectives must be above 0; leave an objective out instead")
        if self.teacher is not None and self.objectives and "distill" not in self.objectives:
            raise InputError("a teacher is for the objective distill; add it, or leave the teacher out")

    @property
    def learning_rate(self) -> float:
        """The highest learning rate of the run."""
        return LEARNING_RATE[self.mode] if self.rate is None else self.rate

    def plain(self) -> dict[str, Any]:
        """All settings as plain values, for `run.json`."""
        return asdict(self)
