"""What a run needs to go on exactly where it stopped: weights that change, the optimizer, and the place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from histoseek.errors import DamagedError
from histoseek.items import written_whole

DIR = "checkpoints"
LAST, BEST = "last.safetensors", "best.safetensors"


@dataclass(frozen=True)
class Place:
    """Where a run stands: steps done in all, the epoch it is in, and the best epoch so far with its score."""

    step: int = 0
    epoch: int = 0
    best_epoch: int = -1
    best_score: float = -1.0


def trained_weights(module: nn.Module) -> dict[str, torch.Tensor]:
    """The weights that training changes, by name."""
    return {name: weight.detach() for name, weight in module.named_parameters() if weight.requires_grad}


def write_checkpoint(path: Path, tensors: Mapping[str, torch.Tensor], place: Place, run: str) -> None:
    """Write tensors and the place whole or not at all; `run` tells one run's checkpoints from another's."""
    kept = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with written_whole(path) as draft:
        save_file(kept, draft, metadata={"place": json.dumps(asdict(place)), "run": run})


def read_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], Place, str]:
    """Read what `write_checkpoint` wrote.

    Raises:
        DamagedError: the file is not whole.
    """
    try:
        with safe_open(path, framework="pt") as file:
            marks = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        return tensors, Place(**json.loads(marks["place"])), marks["run"]
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"{path} cannot be read ({error}); remove it and train again without --resume") from error


def put_weights(module: nn.Module, tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Put trained weights back by name; raises `DamagedError` when one is missing or has another shape."""
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if not weight.requires_grad:
                continue
            if name not in tensors or tensors[name].shape != weight.shape:
                raise DamagedError(f"{path} does not hold the weights {name!r} of this run; train without --resume")
            weight.copy_(tensors[name])


def optimizer_tensors(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's state by the name of the weight it belongs to."""
    return {
        f"{name}/{key}": torch.as_tensor(value)
        for name, weight in module.named_parameters()
        for key, value in optimizer.state.get(weight, {}).items()
    }


def put_optimizer(module: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put the optimizer's state back."""
    states: dict[str, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        weight, _, key = name.rpartition("/")
        states.setdefault(weight, {})[key] = tensor
    for name, weight in module.named_parameters():
        if name in states:
            optimizer.state[weight] = {
                key: tensor if key == "step" else tensor.to(weight.device) for key, tensor in states[name].items()
            }


def under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors whose names begin with `prefix/`, without it."""
    return {name[len(prefix) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}/")}
