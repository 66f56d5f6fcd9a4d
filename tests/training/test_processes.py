"""Several processes learn what one does: the gradients of one batch, in two gloo processes with half of it each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.test_run import free_port

CODE = """
import os, sys
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import nn
from histoseek.training.learner import Learner, Views
from histoseek.training.objectives import Combined

class Image(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(12, 8)
    def forward(self, pixel_values):
        return self.layer(pixel_values.flatten(1))

class Text(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Embedding(9, 8)
    def forward(self, input_ids):
        return self.layer(input_ids).mean(1)

out, worded = sys.argv[1], int(sys.argv[2])
rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
if world > 1:
    dist.init_process_group("gloo")
torch.manual_seed(0)
learner = Learner(
    nn.ModuleDict({"image": Image(), "text": Text()}),
    Combined({"clip": 1.0, "supcon": 1.0, "views": 0.5, "proxy-anchor": 0.1}, dim=8, n_classes=3),
)
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
views = Views(
    pixels[mine], tokens, text_of, codes[mine], labels[mine], groups[mine], items[mine], readable[mine], None
)
model = nn.parallel.DistributedDataParallel(learner, find_unused_parameters=True) if world > 1 else learner
loss, _ = model(views)
loss.backward()
if rank == 0:
    gradients = {name: w.grad for name, w in learner.named_parameters() if w.grad is not None}
    save_file({"loss": loss.detach().reshape(1), **gradients}, out)
if world > 1:
    dist.destroy_process_group()
"""


def gradients(out: Path, world: int, worded: bool) -> dict[str, torch.Tensor]:
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(world)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error::FutureWarning", "-c", CODE, str(out), str(int(worded))],
            env=os.environ | shared | {"RANK": str(rank), "OMP_NUM_THREADS": "1"},
        )
        for rank in range(world)
    ]
    assert [process.wait() for process in processes] == [0] * world
    return load_file(out)


@pytest.mark.parametrize("worded", [True, False], ids=["all have texts", "one process has none"])
def test_two_processes_have_the_gradients_of_one(worded: bool, tmp_path: Path) -> None:
    one = gradients(tmp_path / "one", 1, worded)
    two = gradients(tmp_path / "two", 2, worded)
    assert set(one) == set(two) and len(one) > 5
    for name, gradient in one.items():
        torch.testing.assert_close(
            two[name], gradient, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )
    assert any(gradient.abs().max() > 1e-3 for gradient in one.values())
