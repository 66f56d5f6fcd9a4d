"""What the store relies on where its table lies on object storage: facts of LanceDB, shown against a real server."""

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

from histoseek.stores.places import list_names
from tests.stores.s3_server import S3, s3

__all__ = ["s3"]

DIM = 32
SCHEMA = pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("vector", pa.list_(pa.float32(), DIM))])
V2_TOP = 2**64 - 1

WRITER = """
import sys, lancedb, pyarrow as pa
home, name, adds = sys.argv[1:]
table = lancedb.connect(home).open_table("items")
for nth in range(int(adds)):
    ids = [f"{name}-{nth}-{row}" for row in range(10)]
    table.add(pa.table({"id": ids, "vector": [[0.0] * 32] * 10}, schema=table.schema))
    print("added", nth, flush=True)
"""

READER = """
import sys, lancedb
table = lancedb.connect(sys.argv[1]).open_table("items")
table.search().select(["id"]).limit(1).to_arrow()
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
before, n = peak(), 0
table.checkout(table.version)  # so that every block is of one version
for start in range(0, table.count_rows(), 20_000):
    n += table.search().select(["id", "vector"]).limit(20_000).offset(start).to_arrow().num_rows
print(n, (peak() - before) // 1024)
"""


def rows(names: list[str], dim: int = DIM) -> pa.Table:
    vectors = np.random.default_rng(0).random((len(names), dim), dtype=np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dim)
    return pa.table({"id": names, "vector": column}, schema=SCHEMA if dim == DIM else None)


def version(home: str) -> int:
    """The newest version, from the names of the version files alone: one listing, no LanceDB."""
    names = [name.partition(".")[0] for name in list_names(f"{home}/items.lance/_versions")]
    return max(V2_TOP - int(name) if len(name) == 20 else int(name) for name in names if name.isdigit())


@pytest.fixture
def home(s3: S3, tmp_path: Path) -> str:
    return f"{s3.uri}/{tmp_path.name}/x.index"


def test_a_table_lives_on_object_storage(home: str) -> None:
    import lancedb

    table = lancedb.connect(home).create_table("items", schema=SCHEMA)
    assert version(home) == table.version == 1
    table.add(rows([f"a{n}" for n in range(100)]))
    table.add(rows([f"b{n}" for n in range(100)]))
    table.delete("id IN ('a1', 'b2')")
    assert version(home) == table.version == 4
    assert table.count_rows() == 198
    table.checkout(2)
    assert table.count_rows() == 100
    table.checkout_latest()
    table.optimize()
    assert table.count_rows() == 198
    assert version(home) == table.version == lancedb.connect(home).open_table("items").version


def test_two_processes_append_and_nothing_is_lost(home: str) -> None:
    import lancedb

    table = lancedb.connect(home).create_table("items", schema=SCHEMA)
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, home, name, "10"]) for name in "ab"]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    table.checkout_latest()
    ids = table.to_arrow()["id"].to_pylist()
    assert len(ids) == len(set(ids)) == 200
    assert version(home) == 21


def test_a_writer_killed_between_adds_loses_nothing_acknowledged(home: str) -> None:
    import lancedb

    table = lancedb.connect(home).create_table("items", schema=SCHEMA)
    with subprocess.Popen([sys.executable, "-c", WRITER, home, "w", "1000"], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        for _ in range(7):
            writer.stdout.readline()
        time.sleep(0.01)
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged = 7 + len(writer.stdout.read().splitlines())
    table.checkout_latest()
    ids = table.to_arrow()["id"].to_pylist()
    assert len(ids) == len(set(ids))
    assert len(ids) // 10 in (acknowledged, acknowledged + 1)  # whole adds only; the last may not have been told
    assert len(ids) % 10 == 0
    table.add(rows(["after"]))
    assert table.count_rows() == len(ids) + 1


@pytest.mark.slow
def test_a_whole_table_is_read_in_blocks_without_holding_it(home: str) -> None:
    """One `to_batches` over all rows would not do: it reads up to 2 GB ahead."""
    import lancedb

    dim, n = 512, 160_000
    schema = pa.schema([("id", pa.string()), ("vector", pa.list_(pa.float32(), dim))])
    table = lancedb.connect(home).create_table("items", schema=schema)
    for start in range(0, n, 20_000):
        table.add(rows([f"i{row}" for row in range(start, start + 20_000)], dim))
    read = subprocess.run([sys.executable, "-c", READER, home], capture_output=True, text=True, check=True)
    n_read, megabytes = map(int, read.stdout.split())
    assert n_read == n
    assert megabytes < 200, f"{megabytes} MB more than before, for 328 MB of vectors"
