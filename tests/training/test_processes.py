"""Several processes learn what one does: the gradients of one batch, in two gloo processes with half of it each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.one_batch import gradients
from tests.training.test_run import free_port

ROOT = Path(__file__).parents[2]
WORDED = pytest.mark.parametrize("worded", [True, False], ids=["all have texts", "one process has none"])


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes computed, in one file for each case."""
    folder = tmp_path_factory.mktemp("halves")
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error::FutureWarning", "-m", "tests.training.one_batch", str(folder)],
            env=os.environ | shared | {"RANK": str(rank)},
            cwd=ROOT,
        )
        for rank in range(2)
    ]
    assert [process.wait() for process in processes] == [0, 0]
    return folder


@WORDED
def test_two_processes_have_the_gradients_of_one(worded: bool, halves: Path) -> None:
    one, two = gradients(0, 1, worded), load_file(halves / str(worded))
    assert set(one) == set(two) and len(one) > 5
    for name, gradient in one.items():
        torch.testing.assert_close(
            two[name], gradient, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )
    assert any(gradient.abs().max() > 1e-3 for gradient in one.values())
