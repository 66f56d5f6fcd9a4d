"""Tiny models in the hub's format and what becomes of them, made once per worker and only when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from histoseek.encoders import Encoder, export_encoder, load_encoder
from tests.encoders.fake_hub import FakeHub, serving


def some_views(side: int, n: int = 7, seed: int = 3) -> list[NDArray[np.uint8]]:
    """Views like stained tissue: each with its own tint, its own size of dark spots, and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side]
    views = []
    for _ in range(n):
        pale, dark = rng.uniform(170, 240, 3), rng.uniform(40, 160, 3)
        fx, fy = rng.uniform(0.05, 0.9, 2)
        spots = (np.sin(fx * x + fy * y) * np.sin(fy * x - fx * y + 1) > rng.uniform(0, 0.7))[..., None]
        views.append(np.clip(np.where(spots, dark, pale) + rng.normal(0, 8, (side, side, 3)), 0, 255).astype(np.uint8))
    return views


@pytest.fixture(scope="session")
def views() -> list[NDArray[np.uint8]]:
    return some_views(32)


@pytest.fixture(scope="session")
def shared_dir(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that the workers of one test run have in common."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "tiny-encoders"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def model_folder(shared_dir: Path) -> Callable[[str], Path]:
    """A tiny model's folder by architecture: clip, siglip, dual, vit, dinov2, resnet; not to be changed."""
    pytest.importorskip("torch")
    from tests.encoders import tiny_models

    return cache(lambda kind: made_once(shared_dir / kind, tiny_models.SAVERS[kind]))


@pytest.fixture(scope="session")
def loaded(model_folder: Callable[[str], Path]) -> Callable[[str], Encoder]:
    """The PyTorch encoder by architecture."""
    return cache(lambda kind: load_encoder(model_folder(kind)))


@pytest.fixture(scope="session")
def exported(loaded: Callable[[str], Encoder], shared_dir: Path) -> Callable[[str], Path]:
    """The encoder folder by architecture; not to be changed."""
    return cache(
        lambda kind: made_once(shared_dir / f"{kind}-exported", lambda out: export_encoder(loaded(kind), out).folder)
    )


def made_once(folder: Path, make: Callable[[Path], Path]) -> Path:
    """Make a folder unless another worker has made it, or is about to have made it."""
    from filelock import FileLock

    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            draft = folder.with_name(f"{folder.name}-draft")
            draft.mkdir()
            make(draft).replace(folder)
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A hub of one's own with an empty cache; nothing leaves the machine."""
    pytest.importorskip("huggingface_hub")
    from huggingface_hub import constants
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    with serving(FakeHub()) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        disable_progress_bars()
        yield hub
        enable_progress_bars()
