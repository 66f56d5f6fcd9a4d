"""Drawn tissue of a few patients, and tiny models to train on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from histoseek.encoders.encoder_json import FILE_NAME
from histoseek.items import Item, Manifest, sha256_of
from histoseek.phantom import draw, make_patient, write_picture
from tests.encoders import tiny_models

CLASSES = ("gland", "fat", "lymphoid")
SIDE = 32


def write_tissue(folder: Path, n_patients: int = 8, each: int = 2) -> Manifest:
    """`each` pictures of every class for every patient; the last quarter of the patients has the split `test`."""
    folder.mkdir(parents=True, exist_ok=True)
    items = []
    for number in range(n_patients):
        patient = make_patient(number)
        for kind in CLASSES:
            for nth in range(each):
                name = f"p{number}_{kind}_{nth}.png"
                seed = int(np.random.default_rng((number, nth, len(kind))).integers(2**31))
                write_picture(folder / name, draw(kind, SIDE, SIDE, 1.0, patient, seed), 1.0)
                items.append(
                    Item(
                        id=f"drawn/{name}",
                        path=name,
                        dataset="drawn",
                        label=kind,
                        group=f"p{number}",
                        group_source="patient",
                        split="test" if number >= n_patients * 3 // 4 else None,
                        mpp=1.0,
                        width=SIDE,
                        height=SIDE,
                        sha256=sha256_of(folder / name),
                        caption=f"{kind} tissue\na slide of {kind} cells",
                    )
                )
    return Manifest.from_items(items, folder, {"dataset": "drawn", "licence": "MIT"})


@pytest.fixture(scope="session")
def tissue(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Eight patients with two pictures of each of three classes; the last two are for testing."""
    return write_tissue(tmp_path_factory.mktemp("tissue"))


@pytest.fixture(scope="session")
def clip_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP in the hub's format."""
    return tiny_models.save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def resnet_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny image-only ResNet in the hub's format, with batch norms."""
    return tiny_models.save_resnet(tmp_path_factory.mktemp("resnet"))


@pytest.fixture(scope="session")
def vit_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny ViT whose weights hold no pooler."""
    return tiny_models.save_vit(tmp_path_factory.mktemp("vit"))


@pytest.fixture
def without_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the export at the end of a run, for tests of what comes before it."""
    monkeypatch.setattr("histoseek.training.run.leave_encoder", lambda *_: None)


@pytest.fixture
def model_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the trained network in `model/` only, without the ONNX files, for tests that look at nothing else."""

    def nothing_exported(_: object, draft: Path) -> None:
        draft.mkdir()
        (draft / FILE_NAME).write_text("{}")

    monkeypatch.setattr("histoseek.training.finishing.export_encoder", nothing_exported)
