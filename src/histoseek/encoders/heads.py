"""Linear heads that training put on the towers of a model, kept beside its weights."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from histoseek.encoders.torch_encoder import Headed, Towers
from histoseek.errors import DamagedError

HEADS = "heads.safetensors"
"""Holds `image` `[D, D]` and, for a dual encoder, `text` `[D, D]`."""


def write_heads(towers: Towers, folder: Path) -> None:
    """Write the heads of towers that have some."""
    named = {"image": towers.image, "text": towers.text}
    heads = {name: tower.head.weight.detach().cpu() for name, tower in named.items() if isinstance(tower, Headed)}
    if heads:
        save_file(heads, folder / HEADS)


def with_heads(towers: Towers, folder: Path, dim: int) -> Towers:
    """Put the heads that a model folder keeps on its towers.

    Raises:
        DamagedError: the file is not what was written there.
    """
    path = folder / HEADS
    if not path.is_file():
        return towers
    try:
        heads = load_file(path)
    except (SafetensorError, OSError) as error:
        raise DamagedError(f"{path} cannot be read ({error}); copy the folder again") from error
    wanted = {"image"} | ({"text"} if towers.text is not None else set())
    if set(heads) != wanted or any(head.shape != (dim, dim) for head in heads.values()):
        raise DamagedError(f"{path} should hold {' and '.join(sorted(wanted))} of {dim} × {dim}; copy the folder again")
    text = None if towers.text is None else _headed(towers.text, heads["text"])
    return Towers(_headed(towers.image, heads["image"]), text, towers.words)


def _headed(tower: torch.nn.Module, weight: torch.Tensor) -> Headed:
    headed = Headed(tower, len(weight))
    headed.head.weight.data = weight.float()
    return headed
