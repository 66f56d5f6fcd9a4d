"""The store on object storage, against a real server: nothing acknowledged is lost, whoever else writes or dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from histoseek.errors import DamagedError, InputError, StorageError
from histoseek.stores import VECTOR, RemoteStore
from histoseek.stores import remote as remote_module
from histoseek.stores.caching import cache_home
from histoseek.stores.places import list_names
from tests.stores.s3_server import S3, s3

__all__ = ["s3"]

DIM = 32
VECTORS = pa.list_(pa.float32(), DIM)
ROOT = Path(__file__).parents[2]

WRITER = """
import sys
from histoseek.stores import RemoteStore
from tests.stores.test_remote import table
address, name, adds = sys.argv[1:]
store = RemoteStore(address)
for nth in range(int(adds)):
    store.add(table([f"{name}-{nth}-{row}" for row in range(10)]))
    print("added", nth, flush=True)
"""


def table(ids: list[str], dim: int = DIM) -> pa.Table:
    vectors = np.random.default_rng(0).random((len(ids), dim), dtype=np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dim)
    return pa.table({"id": pa.array(ids, pa.string()), VECTOR: column})


def ids_of(store: RemoteStore) -> list[str]:
    names: list[str] = store.rows().items["id"].to_pylist()
    return names


def started(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", WRITER, *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT)


@pytest.fixture
def store(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RemoteStore:
    monkeypatch.setenv("HISTOSEEK_CACHE", str(tmp_path / "cache"))
    return RemoteStore.create(f"{s3.uri}/{tmp_path.name}/x.index", table([]).schema)


def test_version_is_the_one_that_lancedb_counts(store: RemoteStore) -> None:
    import lancedb

    for nth in range(3):
        assert store.version == lancedb.connect(store.address).open_table("items").version == nth + 1
        store.add(table([f"i{nth}"]))
    assert store.count() == 3
    assert dict(zip(store.schema.names, store.schema.types, strict=True)) == {"id": pa.string(), VECTOR: VECTORS}


def test_new_rows_keep_their_order_beside_replaced_ones(store: RemoteStore) -> None:
    store.add(table([f"i{n}" for n in range(100)]))
    store.add(table([f"i{n}" for n in range(150, 90, -1)]))
    assert ids_of(store)[:91] == [f"i{n}" for n in range(91)]
    assert [name for name in ids_of(store) if int(name[1:]) >= 100] == [f"i{n}" for n in range(150, 99, -1)]


def test_three_processes_add_and_nothing_is_lost_or_doubled(store: RemoteStore) -> None:
    writers = [started(store.address, "b", "6") for _ in range(2)]  # both the same ids
    for nth in range(20):
        store.add(table([f"a{nth}"]))
    for writer in writers:
        writer.communicate(timeout=120)
        assert writer.returncode == 0
    wanted = [f"a{nth}" for nth in range(20)] + [f"b-{nth}-{row}" for nth in range(6) for row in range(10)]
    assert sorted(ids_of(store)) == sorted(wanted)


def test_compaction_while_others_write_loses_nothing(store: RemoteStore) -> None:
    store.add(table([f"old{n}" for n in range(50)]))
    writer = started(store.address, "w", "12")
    assert writer.stdout is not None
    writer.stdout.readline()
    for n in range(3):
        store.remove([f"old{n}"])
        assert store.compact()
    writer.communicate(timeout=120)
    assert writer.returncode == 0
    wanted = [f"old{n}" for n in range(3, 50)] + [f"w-{nth}-{row}" for nth in range(12) for row in range(10)]
    assert sorted(ids_of(store)) == sorted(wanted)


def test_a_writer_killed_between_adds_loses_nothing_acknowledged(store: RemoteStore) -> None:
    with started(store.address, "w", "1000") as writer:
        assert writer.stdout is not None
        for _ in range(5):
            writer.stdout.readline()
        time.sleep(0.01)
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged = 5 + len(writer.stdout.read().splitlines())
    ids = ids_of(store)
    assert len(ids) == len(set(ids))
    assert len(ids) in (10 * acknowledged, 10 * acknowledged + 10)  # whole adds; the last may not have been told
    store.add(table(["after"]))
    assert len(ids_of(store)) == len(ids) + 1


def test_compaction_takes_from_the_storage_what_was_removed(store: RemoteStore) -> None:
    store.add(table([f"i{n}" for n in range(100)]))
    store.add(table(["j"]))
    assert store.remove(["i7", "none of ours"]) == 1
    before = set(list_names(f"{store.table_address}/data"))
    assert store.compact()
    assert not before & set(list_names(f"{store.table_address}/data"))
    assert list_names(f"{store.table_address}/_deletions") == []
    assert store.n_commits == 1
    assert not store.compact()
    assert ids_of(store) == [f"i{n}" for n in range(100) if n != 7] + ["j"]


def test_the_copy_of_another_table_that_had_the_address_is_not_believed(
    store: RemoteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add(table(["old"]))
    assert ids_of(store) == ["old"]
    monkeypatch.setenv("HISTOSEEK_CACHE", str(tmp_path / "another machine"))
    time.sleep(1.1)  # the storage knows when something was written to a second
    store.drop()
    assert not store.exists
    RemoteStore.create(store.address, table([]).schema).add(table(["new"]))
    monkeypatch.setenv("HISTOSEEK_CACHE", str(tmp_path / "cache"))
    assert ids_of(store) == ["new"]


def test_a_damaged_copy_is_fetched_again(store: RemoteStore) -> None:
    store.add(table(["a", "b"]))
    ids_of(store)
    (copy,) = cache_home(store.address).glob("fast-*")
    (copy / "vectors.npy").write_bytes(b"nothing")
    assert ids_of(store) == ["a", "b"]


def test_a_row_that_is_not_what_was_stored_is_told(store: RemoteStore) -> None:
    import lancedb

    store.add(table(["a", "b"]))
    lancedb.connect(store.address).open_table("items").update(where="id = 'b'", values={VECTOR: [0.5] * DIM})
    with pytest.raises(DamagedError, match=r"1 rows of s3://.* are not what was stored, the first 'b'"):
        store.rows()


def test_a_second_table_at_an_address_is_refused(store: RemoteStore) -> None:
    with pytest.raises(InputError, match=r"s3://.*/items\.lance is there already"):
        RemoteStore.create(store.address, table([]).schema)


def test_an_address_without_a_table_is_said(s3: S3) -> None:
    assert not RemoteStore(f"{s3.uri}/nothing").exists
    with pytest.raises(DamagedError, match=r"s3://.*/nothing/items\.lance holds no table"):
        RemoteStore(f"{s3.uri}/nothing").rows()


def test_conflicts_are_tried_again_and_then_told(store: RemoteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_module, "_FIRST_WAIT_S", 0.0)
    opened, calls = store._open, iter(range(100))

    def conflicting(failures: int) -> object:
        def open_() -> object:
            if next(calls) < failures:
                raise RuntimeError("lance error: Retryable commit conflict for version 2")
            return opened()

        return open_

    monkeypatch.setattr(store, "_open", conflicting(3))
    store.add(table(["a"]))
    assert ids_of(store) == ["a"]
    monkeypatch.setattr(store, "_open", conflicting(99))
    with pytest.raises(StorageError, match=r"others are writing to s3://.* all the time"):
        store.add(table(["b"]))


def test_a_storage_that_fails_is_told_in_one_line(store: RemoteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> object:
        raise RuntimeError("lance error: LanceError(IO): Generic S3 error\nand much more")

    monkeypatch.setattr(store, "_open", broken)
    for write in (lambda: store.add(table(["a"])), lambda: store.remove(["a"]), store.compact):
        with pytest.raises(StorageError, match=r"cannot write s3://.*Generic S3 error; .*AWS_ENDPOINT_URL") as told:
            write()
        assert "\n" not in str(told.value)
