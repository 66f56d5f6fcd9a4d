from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from histoseek.errors import DamagedError
from histoseek.stores import VECTOR, LanceStore
from histoseek.stores.fast import FastCopy

N, DIM = 20_000, 32


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of patients whose rows lie close together, with its fast copy and codes."""
    rng = np.random.default_rng(0)
    patients = np.arange(N) // 50
    vectors = rng.normal(size=(N // 50, DIM))[patients] + rng.normal(size=(N, DIM))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIM)
    rows = pa.table({"id": [f"i{n}" for n in range(N)], "group": [f"g{n}" for n in patients], VECTOR: column})
    store = LanceStore.create(tmp_path_factory.mktemp("codes") / "x", rows.schema)
    store.add(rows)
    store.make_codes()
    return store.home


@pytest.fixture
def copy(home: Path) -> FastCopy:
    opened = LanceStore(home).rows()
    assert isinstance(opened, FastCopy)
    return opened


def recall(copy: FastCopy, queries: np.ndarray, allowed: np.ndarray | None) -> float:
    found, truth = copy.find(queries, 10, allowed).rows, copy.nearest(queries, 10, allowed).rows
    return float(np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(found, truth, strict=True)]))


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1, 0.01])
def test_what_is_found_is_nearly_what_is_nearest(copy: FastCopy, share: float) -> None:
    rng = np.random.default_rng(1)
    asked = rng.choice(N, 100, replace=False)
    allowed = (rng.random(N) < share) & (copy.groups != copy.groups[asked[0]])
    assert recall(copy, copy.vectors(asked), allowed) >= 0.97
    found = copy.find(copy.vectors(asked), 10, allowed)
    assert allowed[found.rows].all()
    exact = np.take_along_axis(copy.vectors(asked).astype(float) @ copy.vectors(np.arange(N)).T, found.rows, axis=1)
    assert np.abs(found.scores - exact).max() < 1e-6


def test_the_recall_that_is_stored_was_measured(copy: FastCopy) -> None:
    tuned = copy.codes.tuned if copy.codes else None
    assert tuned is not None and tuned.recall >= 0.99 and tuned.n_rows == N
    asked = np.random.default_rng(2).choice(N, 200, replace=False)
    masks = copy.groups[None] != copy.groups[asked][:, None]
    assert abs(recall(copy, copy.vectors(asked), masks) - tuned.recall) < 0.02


def test_few_allowed_rows_are_searched_exactly(copy: FastCopy) -> None:
    allowed = np.zeros(N, dtype=bool)
    allowed[np.random.default_rng(3).choice(N, 60, replace=False)] = True
    assert recall(copy, copy.vectors(np.arange(50)), allowed) == 1.0
    allowed[:] = False
    allowed[7] = True
    assert copy.find(copy.vectors(np.arange(3)), 5, allowed).rows.tolist() == [[7, -1, -1, -1, -1]] * 3


def test_more_hits_than_codes_are_good_for_are_ranked_exactly(copy: FastCopy) -> None:
    queries = copy.vectors(np.arange(2))
    assert np.array_equal(copy.find(queries, N // 2).rows, copy.nearest(queries, N // 2).rows)


def test_a_damaged_vector_is_noticed_before_it_answers(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("histoseek.stores.fast.CHECKED_AT_START", 0)
    folder = next(home.glob("fast-*"))
    query = FastCopy(folder).vectors(np.array([123]))
    path = folder / "vectors.npy"
    whole = path.read_bytes()
    try:
        place = len(whole) - N * DIM * 4 + 123 * DIM * 4 + 3
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 64]) + whole[place + 1 :])
        damaged = FastCopy(folder)
        assert damaged.find(damaged.vectors(np.array([19_000])), 3).rows[0, 0] == 19_000
        with pytest.raises(DamagedError, match="is damaged"):
            damaged.find(query, 10)
        with pytest.raises(DamagedError, match="is damaged"):
            damaged.nearest(query, 10)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("name", ["codes.faiss", "codes.json"])
def test_damaged_codes_are_noticed(home: Path, name: str) -> None:
    path = next(home.glob("fast-*")) / name
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:-9])
        with pytest.raises(DamagedError):
            FastCopy(path.parent).find(np.eye(DIM, dtype=np.float32)[:1], 3)
    finally:
        path.write_bytes(whole)


def test_codes_of_another_matrix_are_not_believed(home: Path) -> None:
    path = next(home.glob("fast-*")) / "codes.json"
    whole = path.read_text()
    try:
        path.write_text(json.dumps(json.loads(whole) | {"sha256": "0" * 64}))
        with pytest.raises(DamagedError):
            FastCopy(path.parent).find(np.eye(DIM, dtype=np.float32)[:1], 3)
    finally:
        path.write_text(whole)


def test_a_filter_on_what_lies_far_from_the_query_finds_it_too(tmp_path: Path) -> None:
    """Two centres whose stains move all vectors: asked with a tile of one, filtered to the other."""
    rng = np.random.default_rng(5)
    n, dim = 20_000, 64
    centre = np.arange(n) % 2 == 0
    vectors = rng.normal(size=(n // 50, dim))[np.arange(n) // 50] + 0.7 * rng.normal(size=(n, dim))
    vectors += np.where(centre[:, None], 1.0, -1.0) * rng.normal(size=dim) * 0.8
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dim)
    rows = pa.table({"id": [f"i{m}" for m in range(n)], "group": [f"g{m // 50}" for m in range(n)], VECTOR: column})
    store = LanceStore.create(tmp_path / "x", rows.schema)
    store.add(rows)
    store.make_codes()
    opened = store.rows()
    assert isinstance(opened, FastCopy)
    asked = rng.choice(np.flatnonzero(centre), 100, replace=False)
    assert recall(opened, opened.vectors(asked), ~centre) >= 0.97
