"""Everything a run holds in memory: networks, objective, optimizer, processes, and what its views need."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs
from torch import nn

from histoseek.encoders import Encoder, load_encoder
from histoseek.encoders.torch_encoder import Towers
from histoseek.training.augmentation import NONE
from histoseek.training.batches import shard
from histoseek.training.learner import Learner
from histoseek.training.objectives import Combined
from histoseek.training.palette import Palette, fit_palette
from histoseek.training.pictures import Sight, sample_views
from histoseek.training.plan import WORDED, Plan
from histoseek.training.towers import averaged, parameter_groups, prepare_towers, root_of

PALETTE_VIEWS = 512
WAIT = timedelta(hours=12)
SCALE_RATE = 1e-3
"""Learning rate of temperatures and biases."""

PROXY_FACTOR = 100.0
"""Proxies start from nowhere and learn this much faster than the network (Kim et al., CVPR 2020)."""


@dataclass(frozen=True)
class Work:
    """A plan with its networks, optimizer and processes; `model` is the learner as the processes share it."""

    plan: Plan
    accelerator: Accelerator
    towers: Towers
    learner: Learner
    model: nn.Module
    optimizer: torch.optim.AdamW
    average: torch.optim.swa_utils.AveragedModel | None
    sight: Sight
    teacher: Encoder | None

    @property
    def is_main(self) -> bool:
        """Whether this process writes."""
        return bool(self.accelerator.is_main_process)

    @property
    def kept_root(self) -> nn.Module:
        """The weights that are validated and kept: the averaged ones where there are some."""
        return self.learner.root if self.average is None else self.average.module


def set_up(plan: Plan) -> Work:
    """Build the networks, the optimizer and what the views need."""
    config, base = plan.config, plan.base.encoder
    torch.manual_seed(config.seed)
    AcceleratorState._reset_state()  # an earlier run of this process may have had another precision
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),  # encoders know these two
        mixed_precision="bf16" if config.precision == "bf16" else "no",
        kwargs_handlers=[
            DistributedDataParallelKwargs(find_unused_parameters=True),
            InitProcessGroupKwargs(timeout=WAIT),  # the others wait while the first validates and exports
        ],
    )
    shard(plan.data.rows[: plan.batches.batch], accelerator.process_index, accelerator.num_processes)  # or a sentence
    towers = prepare_towers(base.towers, base.card.dim, config.mode, config.rank)
    root = root_of(towers).to(accelerator.device, memory_format=torch.channels_last)
    n_classes = len(plan.data.classes)
    objective = Combined(config.objectives, dim=base.card.dim, n_classes=n_classes, settings=_settings(plan))
    learner = Learner(root, objective).to(accelerator.device)
    groups = parameter_groups(root, config)
    for name, weight in objective.named_parameters():
        rate = config.learning_rate * PROXY_FACTOR if "prox" in name else SCALE_RATE
        groups.append({"params": [weight], "lr": rate, "weight_decay": 0.0})
    for group in groups:
        group["top"] = group["lr"]
    return Work(
        plan=plan,
        accelerator=accelerator,
        towers=towers,
        learner=learner,
        model=accelerator.prepare(learner),
        optimizer=torch.optim.AdamW(groups),
        average=averaged(root, config.ema) if config.ema else None,
        sight=Sight(plan.preprocessing, config.augmentation, config.views, _palette(plan)),
        teacher=None if config.teacher is None else load_encoder(config.teacher),
    )


def _settings(plan: Plan) -> dict[str, dict[str, float]]:
    """Contrast between views and words starts at the base's own temperature, where it has one."""
    settings: dict[str, dict[str, float]] = {
        name: {"max_scale": plan.config.max_scale} for name in WORDED if name in plan.config.objectives
    }
    learnt = plan.base.encoder.log_scale
    if learnt is not None:
        for given in settings.values():
            given["scale"] = math.exp(learnt)
    return settings


def _palette(plan: Plan) -> Palette | None:
    """The colours of the training items, where some views are to take others' colours."""
    if not plan.config.augmentation.transfer:
        return None
    plain = Sight(plan.preprocessing, NONE, 1)
    views = sample_views(plan.data.manifest, plan.data.items, plain, PALETTE_VIEWS, plan.config.seed)
    return fit_palette(views)
