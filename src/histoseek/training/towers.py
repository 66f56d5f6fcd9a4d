"""What of an encoder is trained: a head on top, adapters inside, or all of it; and how fast each layer may move."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import takewhile
from typing import Any

import torch
from torch import nn

from histoseek.encoders.torch_encoder import Headed, Towers
from histoseek.errors import EncoderError, needs_extra
from histoseek.training.config import Mode, TrainConfig

BLOCK = re.compile(r"^(.*?\b(?:layers?|blocks|resblocks|stages)\.)(\d+)\.")
BELOW_BLOCKS = re.compile(r"embed|stem|cls_token|pre_layrnorm|position")
NEVER_DECAYED = re.compile(r"position|cls_token|class_embedding|token_type|scale")


def prepare_towers(towers: Towers, dim: int, mode: Mode, rank: int) -> Towers:
    """Make ready what `mode` trains and freeze the rest; adapters are put inside the given networks.

    Raises:
        EncoderError: `lora` was asked for and the networks have no layer that it fits.
    """
    root = root_of(towers)
    root.requires_grad_(mode == "full")
    if mode == "head":
        text = None if towers.text is None else _headed(towers.text, dim)
        return Towers(_headed(towers.image, dim), text, towers.words)
    if mode == "lora":
        _insert_adapters(root, rank)
    return towers


def root_of(towers: Towers) -> nn.ModuleDict:
    """Both towers as one module; what they share counts once."""
    return nn.ModuleDict({"image": towers.image} | ({} if towers.text is None else {"text": towers.text}))


def with_root(towers: Towers, root: nn.Module) -> Towers:
    """The towers that stand in another root, a copy of theirs."""
    parts: Any = root
    return Towers(parts["image"], None if towers.text is None else parts["text"], towers.words)


def merge_adapters(root: nn.Module) -> None:
    """Add every adapter into the layer it stands around, and take it out."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(root.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, own = name.rpartition(".")
            setattr(root.get_submodule(parent), own, module.get_base_layer())


def parameter_groups(root: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """AdamW's groups: rates fall by `layer_decay` a layer from the top; biases, norms and positions do not decay."""
    named = dict(root.named_parameters())
    depths = layer_depths(named)
    top = max(depths.values(), default=0)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, weight in named.items():
        if weight.requires_grad:
            rate = config.learning_rate * config.layer_decay ** (top - depths[name])
            decay = 0.0 if weight.ndim < 2 or NEVER_DECAYED.search(name) else config.decay
            groups.setdefault((rate, decay), []).append(weight)
    return [{"params": weights, "lr": rate, "weight_decay": decay} for (rate, decay), weights in groups.items()]


def layer_depths(names: Iterable[str]) -> dict[str, int]:
    """How high each parameter stands: embeddings and stems below the first block, all that follows the blocks on top.

    Blocks are counted from the top of their own tower, so that towers of different height end alike.
    """
    found = {name: BLOCK.match(name) for name in names}
    tops: dict[str, int] = {}
    for match in found.values():
        if match:
            tops[match[1]] = max(tops.get(match[1], 0), int(match[2]))
    highest = max(tops.values(), default=-1) + 2
    depths = {}
    for name, match in found.items():
        if match:
            depths[name] = highest - 1 - (tops[match[1]] - int(match[2]))
        elif tops and BELOW_BLOCKS.search(name):
            own = max(tops, key=lambda prefix: _parts_shared(prefix, name))
            depths[name] = highest - 2 - tops[own]
        else:
            depths[name] = highest
    return depths


def _parts_shared(one: str, two: str) -> int:
    """How many parts two dotted names have in common from the left."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one.split("."), two.split("."), strict=False)))


def count_parameters(root: nn.Module) -> tuple[int, int]:
    """How many numbers are trained, and how many there are."""
    weights = list(root.parameters())
    return sum(w.numel() for w in weights if w.requires_grad), sum(w.numel() for w in weights)


def set_training(root: nn.Module) -> None:
    """Turn dropout on, and keep batch norms at the statistics they came with.

    Batches are balanced and augmented, so their statistics are not those of an archive, and they would differ
    from process to process.
    """
    root.train()
    for module in root.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def _headed(tower: nn.Module, dim: int) -> Headed:
    """A tower with a head; one that an earlier run left is trained on, not covered by another."""
    headed = tower if isinstance(tower, Headed) else Headed(tower, dim)
    headed.head.requires_grad_(True)
    return headed


def _insert_adapters(root: nn.Module, rank: int) -> None:
    """Low-rank adapters in linear layers and 1 × 1 convolutions (Hu et al., "LoRA", ICLR 2022)."""
    with needs_extra("torch"):
        from peft import LoraConfig, inject_adapter_in_model

    names = [name for name, module in root.named_modules() if _takes_adapter(module)]
    if not names:
        raise EncoderError("this encoder has no layer that LoRA fits; train it with --mode head or full")
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=names), root)


def _takes_adapter(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        return bool(module.kernel_size == (1, 1) and module.groups == 1)
    return isinstance(module, nn.Linear)


def averaged(root: nn.Module, decay: float) -> torch.optim.swa_utils.AveragedModel:
    """A copy of the networks whose weights follow theirs slowly."""
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    return AveragedModel(root, multi_avg_fn=get_ema_multi_avg_fn(decay))
