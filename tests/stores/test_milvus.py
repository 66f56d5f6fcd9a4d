from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from histoseek.errors import InputError
from histoseek.items.table import SCHEMA
from histoseek.stores.exact import nearest
from histoseek.stores.wanted import Wanted

pytest.importorskip("pymilvus", reason="the cluster extra is not installed")

from histoseek.stores import milvus_index
from histoseek.stores.milvus import MilvusAddress, MilvusStore

DIM = 16
N_ITEMS = 2000
ODD = ["it's", 'say "x"', "back\\slash", "new\nline", "µm 𝄞", " space ", "%", "id", "-", "NULL"]
EXTRAS = [
    pa.field("my µ-column", pa.float32()),
    pa.field("c1", pa.bool_()),
    pa.field("select", pa.timestamp("us", tz="UTC")),
    pa.field('quo"te', pa.date32()),
    pa.field("count", pa.int8()),
]


def schema_of(*extras: pa.Field, dim: int = DIM) -> pa.Schema:
    return pa.schema([*SCHEMA, *extras, pa.field("vector", pa.list_(pa.float32(), dim))])


def unit(rows: NDArray[Any]) -> NDArray[np.float32]:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def table_of(schema: pa.Schema, vectors: NDArray[np.float32], **columns: list[Any]) -> pa.Table:
    n, dim = vectors.shape
    given: dict[str, Any] = {"id": [f"i{row:05d}" for row in range(n)], "path": ["p"] * n, **columns}
    arrays = [
        pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel(), pa.float32()), dim)
        if field.name == "vector"
        else pa.array(given.get(field.name, [None] * n), field.type)
        for field in schema
    ]
    return pa.table(arrays, schema=schema)


@pytest.fixture(scope="module", params=["lite", pytest.param("server", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An address without its collection."""
    if request.param == "server":
        return str(request.getfixturevalue("milvus_server"))
    return f"milvus-lite://{tmp_path_factory.mktemp('lite')}/x.db"


@pytest.fixture
def fresh(place: str) -> Iterator[Callable[..., MilvusStore]]:
    """Makes collections, and drops them afterwards."""
    made: list[MilvusStore] = []

    def make(schema: pa.Schema | None = None) -> MilvusStore:
        address = MilvusAddress.parse(f"{place}/fresh_{uuid4().hex}")
        made.append(MilvusStore.create(address, schema or schema_of()))
        return made[-1]

    yield make
    for store in made:
        store.drop()
        store.close()


@pytest.fixture(scope="module")
def vectors() -> NDArray[np.float32]:
    drawn = unit(np.random.default_rng(7).normal(size=(N_ITEMS, DIM)))
    drawn[500:700] = drawn[3]  # more copies of one image than there are spare candidates
    return drawn


@pytest.fixture(scope="module")
def filled(place: str, vectors: NDArray[np.float32]) -> Iterator[MilvusStore]:
    """Two thousand items of fifty patients, which no test changes."""
    store = MilvusStore.create(MilvusAddress.parse(f"{place}/filled_{uuid4().hex}"), schema_of())
    rows = range(N_ITEMS)
    table = table_of(
        schema_of(),
        vectors,
        group=[None if row % 50 == 49 else f"g{row % 50}" for row in rows],
        label=[None if row % 10 == 0 else ODD[row % 10] for row in rows],
        fold=[None if row % 7 == 0 else row % 5 for row in rows],
    )
    store.add(table.slice(1000))
    store.add(table.slice(0, 1000))
    yield store
    store.drop()
    store.close()


def ids_of(found: Any) -> list[str]:
    return list(found.items["id"].to_pylist())


def test_made_collection_is_there_once_and_empty(fresh: Callable[..., MilvusStore]) -> None:
    schema = schema_of(*EXTRAS)
    store = fresh(schema)
    with pytest.raises(InputError, match=f"{store.address} is there already"):
        MilvusStore.create(store.address, schema)
    assert store.exists and store.count() == 0 and store.ids() == [] and store.dim == DIM
    assert store.schema.equals(pa.schema([field for field in schema if field.name != "vector"]), check_metadata=True)
    assert MilvusStore(store.address).schema == store.schema
    (found,) = store.nearest(np.eye(1, DIM, dtype=np.float32), 5, Wanted())
    assert found.items.num_rows == 0 and found.items.schema == store.schema and len(found.scores) == 0
    assert store.get(["a"]).schema == schema and store.notes() == {}
    store.drop()
    assert not store.exists
    store.drop()


def test_items_come_back_as_they_were_given(fresh: Callable[..., MilvusStore]) -> None:
    schema = schema_of(*EXTRAS)
    store = fresh(schema)
    n = len(ODD)
    columns: dict[str, list[Any]] = {
        "id": [f"{text}/1" for text in ODD],
        "label": ["", None, *ODD[2:]],
        "caption": [text * 1000 for text in ODD],
        "fold": [None, 0, -1, 2**31 - 1, -(2**31), *range(n - 5)],
        "box_x": [None, -(2**63) + 1, 2**63 - 1, 0, -1, *range(n - 5)],
        "mpp": [None, 0.1, -0.0, 1e308, -1e308, 5e-324, float("inf"), float("-inf"), -0.25, 3.0],
        "my µ-column": [None, *np.linspace(-1, 1, n - 1).astype(np.float32)],
        "c1": [None, True, False, *[True] * (n - 3)],
        "select": [None, *(datetime(1969, 12, 31, 23, 59, second) for second in range(n - 1))],
        'quo"te': [None, *(date(1960 + 10 * row, 2, 28) for row in range(n - 1))],
        "count": [None, -128, 127, *[0] * (n - 3)],
    }
    table = table_of(schema, unit(np.random.default_rng(0).normal(size=(n, DIM))), **columns)
    before = store.version
    store.add(table)
    assert store.version > before and store.count() == n
    asked = [columns["id"][row] for row in (3, 1, 0, 3)]
    assert store.get([asked[0], "unknown", *asked[1:]]) == table.take([3, 1, 0, 3])
    assert store.get(columns["id"]) == table
    assert store.ids() == sorted(columns["id"])
    (found,) = store.nearest(np.array([table["vector"][4].as_py()], dtype=np.float32), n, Wanted())
    assert ids_of(found)[0] == columns["id"][4]
    assert found.items.sort_by("id") == table.drop_columns(["vector"]).sort_by("id")


def test_not_a_number_comes_back(fresh: Callable[..., MilvusStore]) -> None:
    store = fresh()
    store.add(table_of(schema_of(), np.eye(2, DIM, dtype=np.float32), mpp=[float("nan"), None]))
    assert np.isnan(store.get(["i00000"])["mpp"][0].as_py()) and store.get(["i00001"])["mpp"][0].as_py() is None
    assert store.ids("mpp != 1") == ["i00000"] and store.ids("NOT mpp < 1") == ["i00000"] and store.ids("mpp > 0") == []


def test_item_of_the_same_id_is_replaced(fresh: Callable[..., MilvusStore]) -> None:
    store = fresh()
    eye = np.eye(4, DIM, dtype=np.float32)
    store.add(table_of(schema_of(), eye, label=["old"] * 4))
    store.add(table_of(schema_of(), eye[[3, 2]], label=["new"] * 2))
    assert store.count() == 4 and store.ids("label = 'old'") == ["i00002", "i00003"]
    best = store.nearest(eye[[0, 3]], 1, Wanted())
    assert [float(one.scores[0]) for one in best] == [0, 1]  # nothing is where i00000 was
    assert ids_of(best[1]) == ["i00000"]


def test_removed_item_is_in_no_answer(fresh: Callable[..., MilvusStore], vectors: NDArray[np.float32]) -> None:
    store = fresh()
    store.add(table_of(schema_of(), vectors[:300]))
    query, gone = vectors[:1], set()
    for _ in range(10):
        best = ids_of(store.nearest(query, 3, Wanted())[0])
        assert not gone & set(best)
        before = store.version
        assert store.remove([best[0], best[0], "unknown"]) == 1
        gone.add(best[0])
        assert store.version > before
    assert store.count() == 290 and not gone & set(store.ids()) and store.get(list(gone)).num_rows == 0
    assert store.remove([]) == 0


@pytest.mark.parametrize("k", [1, 10, 300, N_ITEMS, 5000])
def test_small_collection_is_searched_exactly(filled: MilvusStore, vectors: NDArray[np.float32], k: int) -> None:
    queries = unit(vectors[:12] + 0.1 * np.random.default_rng(1).normal(size=(12, DIM)))
    queries[:4] = vectors[:4]
    expected = nearest(queries, vectors, k)
    found = filled.nearest(queries, k, Wanted())
    for one, rows, scores in zip(found, expected.rows, expected.scores, strict=True):
        assert ids_of(one) == [f"i{row:05d}" for row in rows]
        np.testing.assert_allclose(one.scores, scores, atol=1e-6)
        assert one.scores.dtype == np.float32 and one.items.schema == filled.schema


def test_answers_too_large_to_come_at_once_are_the_same(
    filled: MilvusStore, vectors: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = filled.nearest(vectors[:5], 40, Wanted())
    monkeypatch.setattr("histoseek.stores.milvus_search.ANSWER_BYTES", 50_000)
    for one, other in zip(filled.nearest(vectors[:5], 40, Wanted()), expected, strict=True):
        assert one.items == other.items and (one.scores == other.scores).all()


def test_groups_ids_and_conditions_shut_out(filled: MilvusStore, vectors: NDArray[np.float32]) -> None:
    groups = frozenset(f"g{row}" for row in range(40))
    wanted = Wanted("fold != 3", groups, frozenset(["i00040", "i00041", "unknown"]))
    (found,) = filled.nearest(vectors[41:42], N_ITEMS, wanted)
    allowed = {
        f"i{row:05d}" for row in range(N_ITEMS) if row % 50 >= 40 and row % 7 and row % 5 != 3 and row not in (40, 41)
    }
    assert set(ids_of(found)) == allowed and len(found.scores) == len(allowed)
    assert None in found.items["group"].to_pylist()  # an item of no patient is nobody's


def test_many_groups_can_be_shut_out_and_too_many_are_told(filled: MilvusStore, vectors: NDArray[np.float32]) -> None:
    many = frozenset(f"patient-{row:06d}" for row in range(70_000)) | {f"g{row}" for row in range(48)}
    assert sum(map(len, many)) > 900_000
    (found,) = filled.nearest(vectors[:1], N_ITEMS, Wanted(None, many))
    assert set(found.items["group"].to_pylist()) == {"g48", None}
    with pytest.raises(InputError, match="more than Milvus can be told"):
        filled.nearest(vectors[:1], 1, Wanted(None, frozenset(f"{'x' * 1000}{row}" for row in range(10_000))))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("label IS NULL", lambda label, fold: label is None),
        ("label != 'it''s' AND fold = 3", lambda label, fold: label is not None and fold == 3),
        ("NOT (label = 'say \"x\"' AND fold = 1)", None),
        ("label = 'back\\slash' OR label = 'new\nline' OR label = 'µm 𝄞'", lambda label, _: label in ODD[2:5]),
        ("label LIKE 'back\\%'", lambda label, _: False),
        ("label LIKE '\\%'", lambda label, _: label == "%"),
        ("label LIKE 'µ%' OR fold < 1", lambda label, fold: label == "µm 𝄞" or fold == 0),
        ("fold > 2.5 AND fold < 1e300 AND fold NOT IN (4)", lambda _, fold: fold == 3),
        ("fold = 99 OR id = 'i00003'", lambda label, fold: False),
    ],
)
def test_conditions_keep_what_sql_would_keep(filled: MilvusStore, where: str, expected: Any) -> None:
    rows = [
        (f"i{row:05d}", None if row % 10 == 0 else ODD[row % 10], None if row % 7 == 0 else row % 5)
        for row in range(N_ITEMS)
    ]
    kept = [name for name, label, fold in rows if expected and expected(label, fold)]
    if "i00003" in where:
        kept = ["i00003"]
    if expected is None:  # false as soon as one side is, unknown or true else
        kept = [
            name
            for name, label, fold in rows
            if (label is not None and label != 'say "x"') or (fold is not None and fold != 1)
        ]
    assert filled.ids(where) == kept


def test_conditions_that_cannot_be_asked_are_told_as_elsewhere(filled: MilvusStore) -> None:
    for where, said in [
        ("labl = 'x'", "did you mean 'label'"),
        ("label ILIKE 'x%'", "without its case"),
        ("label LIKE 'a\\b%'", "backslash"),
        ("fold = 'x'", "holds int32"),
    ]:
        with pytest.raises(InputError, match=said):
            filled.nearest(np.eye(1, DIM, dtype=np.float32), 1, Wanted(where))
    if filled.address.is_lite:
        assert len(filled.ids("label LIKE '%slash' OR label LIKE '_s%'")) == 400
    else:
        with pytest.raises(InputError, match="beginning of a text only"):
            filled.ids("label LIKE '%slash'")


def test_long_chain_of_conditions_is_answered_soon(filled: MilvusStore) -> None:
    start = time.monotonic()
    chain = " OR ".join(["label='a' AND fold=1"] * 350 + ["(fold=1 AND label='%')"])
    assert filled.ids(chain) == filled.ids("fold = 1 AND label = '%'") != []
    assert time.monotonic() - start < 5


def test_wrong_questions_are_refused(filled: MilvusStore) -> None:
    with pytest.raises(InputError, match=r"\[Q, 16\]"):
        filled.nearest(np.eye(1, DIM + 1, dtype=np.float32), 1, Wanted())
    with pytest.raises(InputError, match="at most 16384 hits"):
        filled.nearest(np.eye(1, DIM, dtype=np.float32), 20_000, Wanted())
    assert [len(one.scores) for one in filled.nearest(np.eye(2, DIM, dtype=np.float32), 0, Wanted())] == [0, 0]
    assert filled.nearest(np.zeros((0, DIM), dtype=np.float32), 3, Wanted()) == []


def test_items_that_milvus_cannot_hold_are_refused_whole(fresh: Callable[..., MilvusStore]) -> None:
    store = fresh()
    eye = np.eye(2, DIM, dtype=np.float32)
    for table, said in [
        (table_of(schema_of(), eye * 2), "not of unit length"),
        (table_of(schema_of(), eye * np.float32("nan")), "not of unit length"),
        (table_of(schema_of(), eye, id=["a", "a"]), "stands twice"),
        (table_of(schema_of(), eye, id=["a", ""]), "no id"),
        (table_of(schema_of(), eye, caption=["x", "µ" * 40_000]), "'caption' holds a text of 80000 bytes"),
        (table_of(schema_of(), eye, box_x=[1, -(2**63)]), "'box_x' holds a number outside"),
        (table_of(schema_of(EXTRAS[0]), eye), "my µ-column stand on one side only"),
        (table_of(schema_of(), eye).set_column(0, "id", pa.array([1, 2])), "'id' holds int64"),
    ]:
        with pytest.raises(InputError, match=said):
            store.add(table)
    assert store.count() == 0 and store.version == 1


def test_more_ids_than_one_answer_holds(fresh: Callable[..., MilvusStore]) -> None:
    store = fresh(schema_of(dim=2))
    angle = np.linspace(0, 3, 20_000)
    names = [f"{ODD[row % len(ODD)]}\\{row}\"'" for row in range(20_000)]
    rows = table_of(schema_of(dim=2), unit(np.stack([np.cos(angle), np.sin(angle)], axis=1)), id=names)
    store.add(rows)
    assert store.ids() == sorted(names)
    assert store.count() == 20_000
    assert store.ids("id >= 'µ'") == sorted(name for name in names if name >= "µ")
    some = names[::13]
    assert store.get(some)["id"].to_pylist() == some
    assert store.remove(names[:1700]) == 1700 and store.count() == 18_300
    (found,) = store.nearest(np.array([[1, 0]], dtype=np.float32), 2, Wanted())
    assert ids_of(found) == names[1700:1702]


def test_notes_of_any_size_are_kept(fresh: Callable[..., MilvusStore]) -> None:
    store = fresh()
    for notes in ({"text": "µ" * 100_000, "list": [1, None, {"a": 0.1}]}, {"text": "short"}):
        store.set_notes(notes)
        assert store.notes() == notes and MilvusStore(store.address).notes() == notes


def test_columns_of_other_kinds_and_too_many_are_refused(place: str) -> None:
    address = MilvusAddress.parse(f"{place}/never_made")
    with pytest.raises(InputError, match="have 85 columns"):
        MilvusStore.create(address, schema_of(*(pa.field(f"x{n}", pa.int8()) for n in range(65))))
    with pytest.raises(InputError, match="'x' holds list"):
        MilvusStore.create(address, schema_of(pa.field("x", pa.list_(pa.int8()))))
    with pytest.raises(InputError, match="'vector' of float32 lists"):
        MilvusStore.create(address, pa.schema([*SCHEMA, pa.field("vector", pa.list_(pa.float32()))]))
    assert not MilvusStore(address).exists


def test_most_columns_that_fit_are_kept(fresh: Callable[..., MilvusStore]) -> None:
    schema = schema_of(*(pa.field(f"x{n}", pa.int8()) for n in range(43)))
    table = table_of(schema, np.eye(1, DIM, dtype=np.float32), x42=[42])
    store = fresh(schema)
    store.add(table)
    assert store.get(["i00000"]) == table


def test_missing_collection_is_told_in_one_sentence(place: str) -> None:
    store = MilvusStore(MilvusAddress.parse(f"{place}/missing"))
    assert not store.exists
    for ask in (store.count, store.ids, store.notes, lambda: store.remove(["a"]), lambda: store.schema):
        with pytest.raises(InputError, match=f"no archive at {store.address}"):
            ask()


def test_two_stores_see_each_others_writes_at_once(fresh: Callable[..., MilvusStore]) -> None:
    writer = fresh()
    reader = MilvusStore(writer.address)
    seen = reader.version
    eye = np.eye(3, DIM, dtype=np.float32)
    writer.add(table_of(schema_of(), eye))
    assert reader.version > seen and ids_of(reader.nearest(eye[1:2], 1, Wanted())[0]) == ["i00001"]
    writer.remove(["i00001"])
    assert ids_of(reader.nearest(eye[1:2], 3, Wanted())[0]) == ["i00000", "i00002"]
    reader.close()
    assert reader.count() == 2


def test_collection_that_milvus_let_go_of_is_loaded_again(fresh: Callable[..., MilvusStore]) -> None:
    store = fresh()
    store.add(table_of(schema_of(), np.eye(3, DIM, dtype=np.float32)))
    for name in (store.address.collection, store.address.about):
        store._client.release_collection(name, timeout=30)
    assert store.count() == 3 and store.version == 2
    for name in (store.address.collection, store.address.about):
        store._client.release_collection(name, timeout=30)
    assert store.version == 2 and store.count() == 3


def test_large_collection_gets_a_faster_index(
    fresh: Callable[..., MilvusStore], vectors: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milvus_index, "EXACT_ROWS", 500)
    store = fresh()
    distinct = np.delete(vectors, slice(500, 700), axis=0)
    table = table_of(schema_of(), distinct, group=[f"g{row % 10}" for row in range(len(distinct))])
    kinds = []
    for start in (0, 400):
        store.add(table.slice(start, 400 if start == 0 else None))
        (name,) = store._client.list_indexes(store.address.collection)
        kinds.append(store._client.describe_index(store.address.collection, name)["index_type"])
    assert kinds == ["FLAT", "FLAT" if store.address.is_lite else "HNSW"]
    expected = nearest(distinct[:50], distinct, 10)
    found = store.nearest(distinct[:50], 10, Wanted())
    hits = sum(
        len({f"i{row:05d}" for row in rows} & set(ids_of(one))) for one, rows in zip(found, expected.rows, strict=True)
    )
    assert hits >= 0.98 * 500
    assert store.get(["i00007"]) == table.slice(7, 1)  # HNSW keeps the vectors as they are
    assert store.remove(["i00000"]) == 1 and ids_of(store.nearest(distinct[:1], 1, Wanted())[0]) != ["i00000"]
    (found_alone,) = store.nearest(distinct[:1], 2000, Wanted(None, frozenset(f"g{n}" for n in range(9))))
    assert set(found_alone.items["group"].to_pylist()) == {"g9"} and len(found_alone.scores) == 180


def test_silent_and_absent_servers_are_told_within_seconds(tmp_path: Path) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        port = mute.getsockname()[1]
        addresses = [f"milvus://127.0.0.1:{port}/x"]  # nothing listens there yet
        for address in addresses:
            _told_soon(address, "no Milvus answers")
        mute.listen()
        _told_soon(addresses[0], "no Milvus answers")
        _told_soon(addresses[0].replace("milvus:", "milvus+https:"), "no Milvus answers")
    _told_soon("milvus://no-such-host.invalid:1/x", "no Milvus answers")
    _told_soon(f"milvus-lite://{tmp_path}/missing/x.db/x", "make it first", "create")
    (tmp_path / "text.db").write_text("no database")
    _told_soon(f"milvus-lite://{tmp_path}/text.db/x", "cannot be opened")


def _told_soon(address: str, said: str, ask: str = "exists") -> None:
    start = time.monotonic()
    parsed = MilvusAddress.parse(address)
    with pytest.raises(InputError, match=said) as caught:
        MilvusStore.create(parsed, schema_of()) if ask == "create" else MilvusStore(parsed).exists
    assert time.monotonic() - start < 8 and "\n" not in str(caught.value)
