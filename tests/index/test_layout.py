"""The map: likes lie together, the same archive has the same map, and a damaged one is made anew."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import histoseek as hs
from histoseek.cli import main
from histoseek.errors import InputError
from histoseek.index import Index, Removal, layout
from histoseek.index.layout import has_layout, lay_out, make_layout, read_layout
from histoseek.items import Manifest


def islands(n_rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around five centres, and which centre each belongs to."""
    rng = np.random.default_rng(seed)
    which = rng.integers(0, 5, n_rows)
    vectors = rng.normal(size=(5, 24))[which] + rng.normal(0, 0.25, (n_rows, 24))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), which


def share_of_neighbours_alike(points: np.ndarray, which: np.ndarray) -> float:
    far = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    np.fill_diagonal(far, np.inf)
    near = np.argsort(far, axis=1)[:, :5]
    return float((which[near] == which[:, None]).mean())


@pytest.fixture
def index(tiny: Any, archive: Manifest, tmp_path: Path) -> Index:
    return Index.build(archive, tiny, tmp_path / "x.index")


@pytest.mark.parametrize("sample", [10_000, 150])
def test_items_lie_among_those_like_them(monkeypatch: pytest.MonkeyPatch, sample: int) -> None:
    monkeypatch.setattr(layout, "SAMPLE", sample)
    vectors, which = islands(400)
    told: list[tuple[int, int]] = []
    points = lay_out(lambda rows: vectors[rows], len(vectors), lambda done, total: told.append((done, total)))
    assert points.shape == (400, 2)
    assert points.dtype == np.float32
    assert np.abs(points).max() <= 1 + 1e-6
    assert share_of_neighbours_alike(points, which) > 0.95
    assert told[0] == (0, 400)
    assert told[-1] == (400, 400)


def test_the_same_vectors_have_the_same_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "SAMPLE", 100)
    vectors, _ = islands(200)
    once, again = (lay_out(lambda rows: vectors[rows], 200) for _ in range(2))
    assert np.array_equal(once, again)


def test_a_placed_point_that_equals_one_of_the_sample_lies_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "SAMPLE", 100)
    vectors, _ = islands(100)
    points = lay_out(lambda rows: np.concatenate([vectors, vectors])[rows], 200)
    assert np.abs(points[:100] - points[100:]).max() < 1e-2


@pytest.mark.parametrize("n_rows", [1, 2, 3, 9, 40])
def test_few_items_have_a_map_too(n_rows: int) -> None:
    vectors, _ = islands(n_rows)
    points = lay_out(lambda rows: vectors[rows], n_rows)
    assert np.isfinite(points).all()
    assert np.isfinite(lay_out(lambda rows: vectors[:1].repeat(len(rows), axis=0), n_rows)).all()


def test_a_map_is_kept_for_its_version(index: Index) -> None:
    assert read_layout(index) is None
    assert not has_layout(index)
    made = make_layout(index)
    kept = read_layout(index)
    assert kept is not None
    assert np.array_equal(kept.points, made.points)
    assert has_layout(Index.open(index.path))
    index.remove(Removal(items=["toy/p0_0"]))
    index.refresh()
    assert not has_layout(index)
    assert len(make_layout(index).points) == len(index) == 35


def test_a_damaged_map_is_made_anew(index: Index) -> None:
    made = make_layout(index)
    path = index.path / "map.npy"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    assert read_layout(index) is None
    assert np.array_equal(make_layout(index).points, made.points)
    about = json.loads((index.path / "map.json").read_text())
    (index.path / "map.json").write_text(json.dumps({**about, "method": "none"}))
    assert not has_layout(index)
    for wrong in ("[]", "{", '{"checksum": 1}', ""):
        (index.path / "map.json").write_text(wrong)
        assert read_layout(index) is None


def test_the_map_of_another_archive_at_the_same_place_is_not_shown(index: Index, tiny: Any, tmp_path: Path) -> None:
    make_layout(index)
    Index.build(index.manifest.where("label = 'red'"), tiny, tmp_path / "y.index")
    for name in ("map.npy", "map.json"):
        shutil.copy(index.path / name, tmp_path / "y.index" / name)
    assert read_layout(Index.open(tmp_path / "y.index")) is None


def test_a_read_only_index_has_its_map_in_the_cache(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HISTOSEEK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("histoseek.stores.caching.os.access", lambda *_: False)
    make_layout(index)
    assert not (index.path / "map.json").exists()
    assert list((tmp_path / "cache").rglob("map.json"))
    assert has_layout(index)


def test_the_verb_says_what_it_did(index: Index, capsys: pytest.CaptureFixture[str]) -> None:
    for said in ("", "the map is there already"):
        with pytest.raises(SystemExit) as ended:
            main(["map", str(index.path)])
        assert not ended.value.code
        told = capsys.readouterr()
        assert "36 items on the map" in told.out
        assert said in told.err
    with pytest.raises(SystemExit) as ended:
        main(["map", str(index.path / "none")])
    assert ended.value.code == 2


def test_an_empty_archive_has_no_map(index: Index) -> None:
    index.remove(Removal(where="id != ''"))
    with pytest.raises(InputError, match="holds no items"):
        make_layout(hs.Index.open(index.path))
