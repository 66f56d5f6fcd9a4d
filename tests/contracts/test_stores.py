"""What every store must do, whichever way it reads its rows."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from histoseek.stores import VECTOR, Rows, Store, create_store
from histoseek.stores import lance as lance_module
from tests.stores.s3_server import S3, s3

__all__ = ["s3"]

DIM = 512


def unit(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def some_vectors(n: int, dim: int = DIM, seed: int = 0) -> NDArray[np.float32]:
    """Vectors close together, as those of one tissue are, so that scores nearly tie."""
    rng = np.random.default_rng(seed)
    return unit(rng.normal(size=dim) + 0.02 * rng.normal(size=(n, dim)))


def table(vectors: NDArray[np.float32], first: int = 0) -> pa.Table:
    ids = [f"i{first + row}" for row in range(len(vectors))]
    flat = pa.array(vectors.ravel(), pa.float32())
    column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    groups = [f"g{(first + row) % 7}" for row in range(len(vectors))]
    return pa.table({"id": pa.array(ids, pa.string()), "group": pa.array(groups, pa.string()), VECTOR: column})


def naive(vectors: NDArray[np.float32], query: NDArray[np.float32], k: int, allowed: NDArray[np.bool_]) -> list[int]:
    """The definition: every cosine by itself, then a stable sort."""
    scores = [np.float32(np.sum(row.astype(float) * query.astype(float))) for row in vectors]
    order = sorted(np.flatnonzero(allowed), key=lambda row: (-scores[row], row))
    return [int(row) for row in order[:k]]


Make = Callable[[NDArray[np.float32]], Store]


@pytest.fixture(params=["fast copy", "fresh", "cache", "s3"])
def make(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A function that makes a store of some vectors, kept and read in one of the four ways."""
    home = str(tmp_path / "store")
    if request.param in ("cache", "s3"):
        monkeypatch.setenv("HISTOSEEK_CACHE", str(tmp_path / "cache"))
    if request.param == "s3":
        server: S3 = request.getfixturevalue("s3")
        home = f"{server.uri}/{tmp_path.name}"
    if request.param == "cache":
        monkeypatch.setattr(os, "access", lambda *_: False)
    if request.param == "fresh":
        monkeypatch.setattr(lance_module, "FRESH_FROM", 0)
        monkeypatch.setattr(lance_module, "FRESH_SHARE", np.inf)

    def build(vectors: NDArray[np.float32]) -> Store:
        store = create_store(home, table(vectors).schema)
        if request.param == "fresh":  # the second half comes after the fast copy was made
            store.add(table(vectors[: len(vectors) // 2]))
            store.add(table(some_vectors(1, seed=9), first=10**6))
            store.rows()
            store.remove([f"i{10**6}"])
            store.add(table(vectors[len(vectors) // 2 :], first=len(vectors) // 2))
        else:
            store.add(table(vectors))
        assert type(store.rows()).__name__ == ("FreshRows" if request.param == "fresh" else "FastCopy")
        return store

    return build


def ids_of(rows: Rows) -> list[str]:
    return list(rows.items["id"].to_pylist())


def test_rows_come_back_in_the_order_they_were_added(make: Make) -> None:
    vectors = some_vectors(50)
    store = make(vectors[:30])
    store.add(table(vectors[30:], first=30))
    rows = store.rows()
    assert ids_of(rows) == [f"i{row}" for row in range(50)]
    assert VECTOR not in rows.items.schema.names


def test_vectors_of_some_rows_come_in_the_order_asked(make: Make) -> None:
    vectors = some_vectors(50)
    asked = np.array([7, 3, 49, 3, 0])
    assert np.array_equal(make(vectors).rows().vectors(asked), vectors[asked])


def test_vectors_of_no_rows_are_an_empty_matrix(make: Make) -> None:
    assert make(some_vectors(5)).rows().vectors(np.array([], dtype=np.int64)).shape == (0, DIM)


def test_nearest_is_what_the_definition_says(make: Make) -> None:
    vectors = some_vectors(300)
    queries = some_vectors(5, seed=1)
    found = make(vectors).rows().nearest(queries, 12)
    for query, row in zip(queries, found.rows, strict=True):
        assert row.tolist() == naive(vectors, query, 12, np.ones(300, dtype=bool))
    exact = np.take_along_axis(queries.astype(float) @ vectors.T.astype(float), found.rows, axis=1)
    assert np.abs(found.scores - exact).max() < 1e-6
    assert (found.rows.dtype, found.scores.dtype) == (np.int64, np.float32)


def test_mask_for_all_queries_shuts_rows_out(make: Make) -> None:
    vectors, queries = some_vectors(100), some_vectors(3, seed=1)
    allowed = np.arange(100) % 3 == 0
    found = make(vectors).rows().nearest(queries, 5, allowed)
    for query, row in zip(queries, found.rows, strict=True):
        assert row.tolist() == naive(vectors, query, 5, allowed)


def test_mask_for_each_query_shuts_its_rows_out(make: Make) -> None:
    vectors, queries = some_vectors(100), some_vectors(3, seed=1)
    allowed = np.random.default_rng(2).random((3, 100)) < 0.3
    found = make(vectors).rows().nearest(queries, 5, allowed)
    for query, row, mask in zip(queries, found.rows, allowed, strict=True):
        assert row.tolist() == naive(vectors, query, 5, mask)


def test_short_answers_are_filled_with_minus_one(make: Make) -> None:
    allowed = np.zeros((2, 10), dtype=bool)
    allowed[0, [2, 5]] = True
    found = make(some_vectors(10)).rows().nearest(some_vectors(2, seed=1), 4, allowed)
    assert sorted(found.rows[0, :2]) == [2, 5]
    assert found.rows[0, 2:].tolist() == [-1, -1]
    assert found.rows[1].tolist() == [-1] * 4
    assert np.isneginf(found.scores[1]).all()


def test_k_beyond_the_number_of_rows_gives_them_all(make: Make) -> None:
    found = make(some_vectors(10)).rows().nearest(some_vectors(2, seed=1), 99)
    assert found.rows.shape == (2, 10)
    assert sorted(found.rows[0]) == list(range(10))


def test_equal_scores_are_ordered_by_row(make: Make) -> None:
    vectors = some_vectors(40)
    vectors[[3, 8, 21, 39]] = vectors[3]
    found = make(vectors).rows().nearest(vectors[[3]], 3)
    assert found.rows[0].tolist() == [3, 8, 21]


def test_order_and_scores_do_not_depend_on_the_number_of_queries(make: Make) -> None:
    vectors = some_vectors(3000)
    vectors[1000:1100] = vectors[:100]
    queries = vectors[np.random.default_rng(3).choice(3000, 64, replace=False)]
    rows = make(vectors).rows()
    together = rows.nearest(queries, 20)
    for at, query in enumerate(queries):
        alone = rows.nearest(query[None], 20)
        assert np.array_equal(alone.rows[0], together.rows[at])
        assert np.array_equal(alone.scores[0], together.scores[at])


def test_identical_vectors_have_identical_scores(make: Make) -> None:
    vectors = some_vectors(3000)
    vectors[np.random.default_rng(4).permutation(3000)[:1500]] = vectors[7]
    scores = make(vectors).rows().nearest(vectors[[7]], 1500).scores
    assert len(set(scores[0].tolist())) == 1


def test_removed_rows_are_gone_and_the_others_stay(make: Make) -> None:
    store = make(some_vectors(20))
    assert store.remove([f"i{row}" for row in range(20) if row % 7 == 3] + ["none of ours"]) == 3
    rows = store.rows()
    assert ids_of(rows) == [f"i{row}" for row in range(20) if row % 7 != 3]
    assert rows.nearest(some_vectors(1, seed=1), 20).rows.max() == 16


def test_every_write_makes_a_new_version(make: Make) -> None:
    store = make(some_vectors(20))
    versions = [store.version]
    store.add(table(some_vectors(5), first=20))
    versions.append(store.version)
    store.remove(["i0"])
    versions.append(store.version)
    assert versions == sorted(set(versions))


def test_rows_read_earlier_stay_as_they_were(make: Make) -> None:
    vectors = some_vectors(20)
    store = make(vectors)
    before = store.rows()
    store.remove([f"i{row}" for row in range(0, 20, 7)])
    store.rows()
    assert before.items.num_rows == 20
    assert np.array_equal(before.vectors(np.array([0, 19])), vectors[[0, 19]])


def test_empty_store_finds_nothing(make: Make) -> None:
    rows = make(some_vectors(1)[:0]).rows()
    assert rows.items.num_rows == 0
    assert rows.nearest(some_vectors(2), 5).rows.shape == (2, 0)


def test_ids_with_quotes_can_be_removed(make: Make) -> None:
    store = make(some_vectors(3))
    odd = table(some_vectors(1)).set_column(0, "id", [["it's; DROP TABLE items --"]])
    store.add(odd)
    assert store.remove(["it's; DROP TABLE items --"]) == 1
    assert ids_of(store.rows()) == ["i0", "i1", "i2"]


def test_a_row_whose_id_is_there_takes_the_place_of_the_older(make: Make) -> None:
    vectors = some_vectors(20)
    store = make(vectors)
    changed = some_vectors(2, seed=5)
    store.add(table(changed, first=4))
    rows = store.rows()
    names = ids_of(rows)
    assert sorted(names) == sorted(f"i{row}" for row in range(20))
    assert np.array_equal(rows.vectors(np.array([names.index("i4"), names.index("i5")])), changed)


def test_find_gives_what_nearest_gives(make: Make) -> None:
    rows = make(some_vectors(300)).rows()
    queries = some_vectors(4, seed=1)
    allowed = np.arange(300) % 2 == 0
    for mask in (None, allowed, np.stack([allowed] * 4)):
        one, two = rows.find(queries, 7, mask), rows.nearest(queries, 7, mask)
        assert np.array_equal(one.rows, two.rows)
        assert np.array_equal(one.scores, two.scores)


def test_an_id_that_comes_twice_at_once_is_there_once(make: Make) -> None:
    vectors = some_vectors(4)
    store = make(vectors[:1])
    twice = pa.concat_tables([table(vectors[1:2], first=7), table(vectors[2:3], first=8), table(vectors[3:], first=7)])
    store.add(twice)
    rows = store.rows()
    assert sorted(ids_of(rows)) == ["i0", "i7", "i8"]
    assert np.array_equal(rows.vectors(np.array([ids_of(rows).index("i7")]))[0], vectors[3])
