from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from histoseek.errors import DamagedError, InputError
from histoseek.stores import VECTOR, LanceStore
from histoseek.stores.fast import FastCopy


def table(n: int, first: int = 0) -> pa.Table:
    vectors = np.eye(8, dtype=np.float32)[np.arange(n) % 8]
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 8)
    ids = pa.array([f"i{first + row}" for row in range(n)], pa.string())
    return pa.table({"id": ids, VECTOR: column})


@pytest.fixture
def store(tmp_path: Path) -> LanceStore:
    made = LanceStore.create(tmp_path / "x", table(0).schema)
    made.add(table(10))
    return made


def copies(store: LanceStore) -> list[str]:
    return sorted(path.name for path in store.home.iterdir() if "fast" in path.name)


def test_fast_copy_is_made_when_rows_are_read_and_named_by_version(store: LanceStore) -> None:
    assert copies(store) == []
    store.rows()
    assert copies(store) == [f"fast-{store.version}"]


def test_stale_fast_copy_is_replaced(store: LanceStore) -> None:
    store.rows()
    store.add(table(5, first=10))
    assert store.rows().items.num_rows == 15
    assert copies(store) == [f"fast-{store.version}"]


def test_version_is_the_one_that_lancedb_counts(store: LanceStore) -> None:
    import lancedb

    for first in range(10, 16):
        store.add(table(1, first))
        assert store.version == lancedb.connect(str(store.home)).open_table("items").version


def test_version_is_read_from_both_ways_of_naming(tmp_path: Path) -> None:
    versions = tmp_path / "items.lance" / "_versions"
    versions.mkdir(parents=True)
    for name in ("9.manifest", "10.manifest", "latest.manifest", "7.txt"):
        (versions / name).touch()
    assert LanceStore(tmp_path).version == 10
    (versions / f"{2**64 - 1 - 12:020d}.manifest").touch()
    assert LanceStore(tmp_path).version == 12


def test_cold_read_does_not_import_lancedb(store: LanceStore) -> None:
    store.rows()
    code = (
        "import sys, numpy as np\n"
        "from histoseek.stores import LanceStore\n"
        f"rows = LanceStore({str(store.home)!r}).rows()\n"
        "assert rows.nearest(np.eye(8, dtype=np.float32)[:1], 3).rows.tolist() == [[0, 8, 1]]\n"
        "assert 'lancedb' not in sys.modules and 'lance' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.parametrize("file", ["fast.json", "vectors.npy", "items.arrow"])
@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
def test_damaged_fast_copy_is_named_and_made_anew(store: LanceStore, file: str, damage: str) -> None:
    store.rows()
    path = store.home / f"fast-{store.version}" / file
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "text": b"[1, 2]"}[damage])
    with pytest.raises(DamagedError, match=f"fast-{store.version} is damaged; delete that folder"):
        FastCopy(path.parent)
    assert store.rows().items.num_rows == 10
    assert FastCopy(path.parent).items.num_rows == 10


def test_fast_copy_with_missing_facts_is_damaged(store: LanceStore) -> None:
    store.rows()
    (store.home / f"fast-{store.version}" / "fast.json").write_text("{}")
    with pytest.raises(DamagedError):
        FastCopy(store.home / f"fast-{store.version}")


def test_fast_copy_of_another_size_is_damaged(store: LanceStore) -> None:
    store.rows()
    path = store.home / f"fast-{store.version}" / "fast.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"dim": 9}))
    with pytest.raises(DamagedError):
        FastCopy(path.parent)


def test_unfinished_fast_copy_is_made_anew(store: LanceStore) -> None:
    store.rows()
    (store.home / f"fast-{store.version}" / "fast.json").unlink()
    assert store.rows().items.num_rows == 10


def test_fast_copy_that_was_deleted_is_made_anew(store: LanceStore) -> None:
    import shutil

    store.rows()
    shutil.rmtree(store.home / f"fast-{store.version}")
    assert store.rows().items.num_rows == 10


def test_folder_without_a_table_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match="holds no table"):
        LanceStore(tmp_path).rows()


def test_table_without_its_data_is_damaged(store: LanceStore) -> None:
    for path in (store.home / "items.lance" / "_versions").iterdir():
        path.write_bytes(b"nothing")
    with pytest.raises(DamagedError, match="manifest is not what was stored"):
        LanceStore(store.home).rows()


def test_second_table_in_one_folder_is_refused(store: LanceStore) -> None:
    with pytest.raises(InputError, match="is there already"):
        LanceStore.create(store.home, table(0).schema)


def test_another_store_sees_what_was_added(store: LanceStore) -> None:
    other = LanceStore(store.home)
    assert len(other.ids()) == 10
    store.add(table(3, first=10))
    assert other.ids() == {f"i{row}" for row in range(13)}
    assert other.rows().items.num_rows == 13


def test_dropped_store_is_gone(store: LanceStore) -> None:
    store.rows()
    store.drop()
    assert not store.exists
    assert copies(store) == []


READER = """
import sys
from histoseek.stores import open_store
def anonymous():
    return int(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")).split()[1]) // 1024
store = open_store(sys.argv[1])
store.count()
before, most, n = anonymous(), 0, 0
for batch in store.batches():
    n += batch.num_rows
    most = max(most, anonymous())
print(n, most - before)
"""


@pytest.mark.slow
def test_reading_all_of_a_table_does_not_hold_it(tmp_path: Path) -> None:
    """One scan over 490 MB of vectors would, for the most part: it reads ahead up to 2 GB."""
    import lancedb

    dim, n, at_once = 512, 240_000, 40_000
    vectors = np.random.default_rng(0).random((at_once, dim), dtype=np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dim)
    rows = pa.table({"id": [f"i{row}" for row in range(at_once)], VECTOR: column})
    made = lancedb.connect(str(tmp_path)).create_table("items", schema=rows.schema)
    for _ in range(0, n, at_once):
        made.add(rows)
    read = subprocess.run([sys.executable, "-c", READER, tmp_path], capture_output=True, text=True, check=True)
    n_read, megabytes = map(int, read.stdout.split())
    assert n_read == n
    assert megabytes < 270, f"{megabytes} MB more than before"


@pytest.mark.parametrize("damage", ["cut", "empty"])
def test_damaged_data_is_told_while_it_is_read(store: LanceStore, damage: str) -> None:
    (data,) = (store.home / "items.lance" / "data").iterdir()
    whole = data.read_bytes()
    data.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"")
    with pytest.raises(DamagedError, match=r"rows of .*items\.lance cannot be read, from number 0 on"):
        list(store.batches())


def test_who_may_only_read_uses_the_copy_that_is_there(
    store: LanceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.rows()
    monkeypatch.setenv("HISTOSEEK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("histoseek.stores.caching.os.access", lambda *_: False)
    assert LanceStore(store.home).rows().items.num_rows == 10
    assert not (tmp_path / "cache").exists()
