"""The gradients of one batch, whole or one process's part of it; as a program, one of several processes: FOLDER."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import nn

from histoseek.training.learner import Learner, Views
from histoseek.training.objectives import Combined


class Image(nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 8)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.layer(pixel_values.flatten(1))


class Text(nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Embedding(9, 8)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.layer(input_ids).mean(1)


def gradients(rank: int, world: int, worded: bool) -> dict[str, torch.Tensor]:
    """The loss and every gradient, the same in all processes."""
    torch.manual_seed(0)
    learner = Learner(
        nn.ModuleDict({"image": Image(), "text": Text()}),
        Combined({"clip": 1.0, "supcon": 1.0, "views": 0.5, "proxy-anchor": 0.1}, dim=8, n_classes=3),
    )
    model = nn.parallel.DistributedDataParallel(learner, find_unused_parameters=True) if world > 1 else learner
    loss, _ = model(part_of_the_batch(rank, world, worded))
    loss.backward()
    found = {name: weight.grad for name, weight in learner.named_parameters() if weight.grad is not None}
    return {"loss": loss.detach().reshape(1), **found}


def part_of_the_batch(rank: int, world: int, worded: bool) -> Views:
    """Eight views, the last of them unreadable; without words, the second half has no text at all."""
    pixels, n = torch.randn(8, 3, 2, 2), 8
    labels = torch.tensor([0, 0, 1, 1, 0, 2, 2, 1])
    groups = torch.tensor([0, 0, 1, 1, 2, 3, 4, 4])
    items = torch.tensor([0, 0, 1, 1, 2, 3, 4, 4])
    codes = torch.tensor([5, 6, 7, 7, 5, 8, -1, -1] if worded else [5, 6, 7, 7, -1, -1, -1, -1])
    mine = slice(rank * n // world, (rank + 1) * n // world)
    known = sorted(set(codes[mine].tolist()) - {-1})
    text_of = torch.tensor([known.index(code) if code >= 0 else -1 for code in codes[mine].tolist()])
    tokens = {"input_ids": torch.tensor([[code, 1] for code in known], dtype=torch.long).reshape(len(known), 2)}
    readable = torch.tensor([True] * 7 + [False])
    return Views(
        pixels[mine], tokens, text_of, codes[mine], labels[mine], groups[mine], items[mine], readable[mine], None
    )


def main(folder: Path) -> None:
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group("gloo")
    for worded in (True, False):
        found = gradients(rank, world, worded)
        if rank == 0:
            save_file(found, folder / str(worded))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
