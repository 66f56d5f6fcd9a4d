"""Ctrl-C at the worst moments of a build."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histoseek.encoders import load_encoder
from histoseek.index import Index
from histoseek.items import Item, Manifest
from histoseek.stores import LanceStore


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    rng = np.random.default_rng(0)
    for number in range(6):
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    return Manifest.from_items([Item(f"{n}", f"{n}.png", mpp=0.5) for n in range(6)], tmp_path)


def test_ctrl_c_right_after_a_commit_stores_nothing_twice(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    color = load_encoder("color")
    monkeypatch.setattr("histoseek.index.filling.ROWS_A_COMMIT", 3)
    monkeypatch.setattr("histoseek.stores.opening.LanceStore.create", _created(interrupted, monkeypatch))
    with pytest.raises(KeyboardInterrupt):
        Index.build(manifest, color, tmp_path / "x.index")
    index = Index.build(manifest, color, tmp_path / "x.index", resume=True)
    assert sorted(index.rows.items["id"].to_pylist()) == [str(n) for n in range(6)]
    assert index.about.n_items == 6


def _created(interrupted: object, monkeypatch: pytest.MonkeyPatch) -> object:
    create = LanceStore.create

    def then_fail(*arguments: object) -> LanceStore:
        store = create(*arguments)  # type: ignore[arg-type]
        monkeypatch.setattr(LanceStore, "_acknowledge", interrupted)
        return store

    return then_fail


def test_a_finished_index_stays_open_while_it_is_resumed(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    color = load_encoder("color")
    Index.build(manifest, color, tmp_path / "x.index")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("histoseek.index.build.embed_items", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Index.build(manifest, color, tmp_path / "x.index", resume=True)
    assert len(Index.open(tmp_path / "x.index")) == 6


def test_a_path_that_leads_out_is_skipped_and_the_rest_is_kept(manifest: Manifest, tmp_path: Path) -> None:
    items = [*manifest, Item("out", "/etc/hostname.png", mpp=0.5), Item("up", "../up.png", mpp=0.5)]
    index = Index.build(Manifest.from_items(items, tmp_path), load_encoder("color"), tmp_path / "x.index")
    assert len(index) == 6
    assert (tmp_path / "x.index" / "skipped.csv").read_text(encoding="utf-8").count("leads out of") == 2
