"""An archive made by an encoder folder: found again, moved, and searched by words."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histoseek.encoders import load_encoder
from histoseek.errors import FingerprintError, HistoseekError
from histoseek.index import Index
from histoseek.items import Item, Manifest
from tests.encoders.conftest import exported, loaded, model_folder, shared_dir

__all__ = ["exported", "loaded", "model_folder", "shared_dir"]
"""Fixtures taken over from the encoders' own tests."""


@pytest.fixture(scope="module")
def home(exported: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported tiny CLIP and three pictures."""
    folder = tmp_path_factory.mktemp("folder")
    shutil.copytree(exported("clip"), folder / "encoder")
    rng = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return folder


def manifest(home: Path) -> Manifest:
    return Manifest.from_items([Item(f"{n}", f"{n}.png", mpp=0.5, width=64, height=64) for n in range(3)], home)


def test_an_index_of_an_encoder_folder_is_searched_by_words_when_opened_again(home: Path) -> None:
    Index.build(manifest(home), load_encoder(home / "encoder"), home / "x.index")
    hits = Index.open(home / "x.index").search(text="tumour", k=3)
    assert sorted(hit.item.id for hit in hits) == ["0", "1", "2"]
    assert Index.open(home / "x.index").search(image=home / "1.png", mpp=0.5, k=1)[0].item.id == "1"


def test_a_moved_encoder_folder_is_said_where_and_another_encoder_is_refused(home: Path) -> None:
    (home / "going").mkdir()
    shutil.copytree(home / "encoder", home / "going" / "encoder")
    Index.build(manifest(home), load_encoder(home / "going" / "encoder"), home / "moved.index")
    (home / "going").rename(home / "gone")
    with pytest.raises(HistoseekError, match="going"):
        Index.open(home / "moved.index").search(text="tumour")
    again = Index.open(home / "moved.index", load_encoder(home / "gone" / "encoder"))
    assert len(again.search(text="tumour", k=2)) == 2
    with pytest.raises(FingerprintError, match="color"):
        Index.open(home / "moved.index", load_encoder("color"))
