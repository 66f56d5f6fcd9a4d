"""Building on a Ray cluster of two nodes: whatever dies on the way, every item is stored once, with the same vector."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from histoseek.encoders import load_encoder
from histoseek.errors import FingerprintError, InputError
from histoseek.index import Index
from histoseek.index.ray_build import chunks_of, without
from histoseek.index.ray_worker import ChunkWork, embed_chunk
from histoseek.items import Box, Item, Manifest
from histoseek.items.files import skipped_of
from histoseek.stores import VECTOR, open_store
from histoseek.stores.places import joined, read_text
from histoseek.stores.sums import VECTOR_SUM
from tests.index.ray_nodes import ENVIRONMENT, Cluster, two_nodes
from tests.stores.s3_server import S3, s3

__all__ = ["s3"]

needs_ray = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("ray", "lance_ray", "lance")),
    reason="the cluster extra is not installed",
)

PICTURES, BOXES, SIDE = 40, 8, 256
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Pictures of which eight parts each are items, and one file that is no picture."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(3)
    items = []
    for number in range(PICTURES):
        coarse = rng.integers(60, 250, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((4 * SIDE, 2 * SIDE), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
        for part in range(BOXES):
            box = Box(part % 4 * SIDE, part // 4 * SIDE, SIDE, SIDE)
            items.append(Item(f"{number}/{part}", f"{number}.png", mpp=0.5, box=box, extra={"part": part}))
    (folder / "broken.png").write_bytes(b"no picture")
    items.insert(100, Item("broken", "broken.png", mpp=0.5))
    return Manifest.from_items(items, folder)


@pytest.fixture(scope="module")
def manifest(pictures: Manifest) -> Path:
    path = pictures.root / "m.parquet"
    pictures.write(path)
    return path


@pytest.fixture(scope="module")
def expected(pictures: Manifest, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """What a single machine stores."""
    out = tmp_path_factory.mktemp("single") / "x.index"
    Index.build(pictures, load_encoder("color"), out)
    return stored(out)


@pytest.fixture(scope="module")
def cluster(s3: S3) -> Iterator[Cluster]:
    """Two nodes that were told how to reach the object storage."""
    with two_nodes() as nodes:
        yield nodes


def driver(manifest: Path, out: str | Path, address: str, rows_a_commit: int = 20_000) -> subprocess.Popen[str]:
    """A build in a process of its own, that says how far it is."""
    arguments = [str(one) for one in (manifest, out, address, rows_a_commit)]
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.index.ray_driver", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
    )


def wait_for(process: subprocess.Popen[str], n_items: int) -> int:
    """Read along until so many items are through; gives the first number that was told."""
    assert process.stdout is not None
    first = None
    for line in process.stdout:
        word, _, number = line.partition(" ")
        if word == "through":
            first = int(number) if first is None else first
            if int(number) >= n_items:
                return first
    raise AssertionError(process.stderr.read() if process.stderr else "")


def killed_after_a_commit(process: subprocess.Popen[str], out: str | Path) -> int:
    """Kill -9 the driver half-way; returns how many items it has stored."""
    wait_for(process, 150)
    process.kill()
    process.communicate()
    done = open_store(out).count()
    assert 60 <= done < PICTURES * BOXES
    return done


def ended(process: subprocess.Popen[str]) -> None:
    _, complaint = process.communicate(timeout=300)
    assert process.returncode == 0, complaint


def check(table: pa.Table, expected: pa.Table) -> None:
    """Every item once, with all its columns and the same vector."""
    assert table.schema.equals(expected.schema)
    ordered, wanted = table.sort_by("id"), expected.sort_by("id")
    varying = [VECTOR, VECTOR_SUM]  # the last bits depend on the number of threads
    assert ordered.drop_columns(varying).equals(wanted.drop_columns(varying))
    np.testing.assert_allclose(matrix(ordered), matrix(wanted), atol=1e-6, rtol=0)


def matrix(table: pa.Table) -> np.ndarray:
    column = table[VECTOR].combine_chunks()
    return np.asarray(column.flatten()).reshape(-1, column.type.list_size)


def stored(out: str | Path) -> pa.Table:
    return pa.Table.from_batches(open_store(out).batches()).drop_columns(["_rowid"])


def check_whole(out: str | Path, expected: pa.Table) -> None:
    check(stored(out), expected)
    assert skipped_in(out) == ["broken"]
    found = Index.open(out).verify()
    assert (found.n_rows, found.damage, found.remarks) == (len(expected), (), ())


def skipped_in(out: str | Path) -> list[str]:
    return [one.id for one in skipped_of(read_text(joined(out, "skipped.csv")))]


@needs_ray
@pytest.mark.slow
def test_nodes_write_to_object_storage_and_a_single_machine_goes_on(
    manifest: Path, expected: pa.Table, cluster: Cluster, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HISTOSEEK_CACHE", str(tmp_path))
    out = f"{s3.uri}/x.index"
    killed_after_a_commit(driver(manifest, out, cluster.address, 60), out)
    Index.build(Manifest.read(manifest), "color", out, resume=True)
    check_whole(out, expected)


@needs_ray
@pytest.mark.slow
def test_ctrl_c_keeps_what_is_embedded(manifest: Path, cluster: Cluster, tmp_path: Path) -> None:
    process = driver(manifest, tmp_path / "x.index", cluster.address)
    wait_for(process, 100)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    ids = stored(tmp_path / "x.index")["id"].to_pylist()
    assert len(ids) >= 99
    assert len(ids) == len(set(ids))


@needs_ray
@pytest.mark.slow
def test_workers_the_driver_and_a_node_die_on_the_way_and_nothing_changes(
    manifest: Path, expected: pa.Table, cluster: Cluster, tmp_path: Path
) -> None:
    """The last one on this cluster; others would do with the node that is left."""
    out = tmp_path / "x.index"
    process = driver(manifest, out, cluster.address, 60)
    for n_items in (60, 120):
        wait_for(process, n_items)
        cluster.kill_a_working_process()
    done = killed_after_a_commit(process, out)
    process = driver(manifest, out, cluster.address)  # one commit, so that finished chunks lie on the node
    assert wait_for(process, done + 60) > done, "what was stored is embedded again"
    cluster.kill_a_node()
    ended(process)
    check_whole(out, expected)


@needs_ray
def test_the_command_builds_on_a_cluster_of_this_machine_that_listens_on_loopback_only(
    manifest: Path, expected: pa.Table, tmp_path: Path
) -> None:
    out = tmp_path / "x.index"
    code = "from histoseek.index import ray_build; ray_build.CHUNK = 16; from histoseek.cli import main; main()"
    arguments = ["index", str(manifest), "--encoder", "color", "--out", str(out), "--ray", "local"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    addresses: list[str] = []
    processes: set[int] = set()
    while process.poll() is None:
        processes |= offspring(process.pid)
        addresses += listening(processes)
        time.sleep(0.5)
    told, complaint = process.communicate()
    assert process.returncode == 1, complaint  # one item was skipped
    assert told.startswith(f"{len(expected)} items, ")
    assert told.count("\n") == 1
    assert "Warning" not in complaint
    assert len(set(addresses)) >= 3
    assert all(is_loopback(address) for address in addresses), addresses
    check(stored(out), expected)
    assert not [one for one in processes if Path(f"/proc/{one}").exists()]


@needs_ray
def test_an_address_where_nothing_answers_is_told_at_once() -> None:
    code = (
        "from histoseek.errors import ClusterError; from histoseek.index.ray_cluster import connected\n"
        "for address in ('127.0.0.1:9', 'ray://127.0.0.1:9', 'nowhere:port'):\n"
        "    try:\n        with connected(address): pass\n    except ClusterError as error: print(error)"
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=os.environ | ENVIRONMENT)
    lines = told.stdout.splitlines()
    assert [line.partition(" (")[0] for line in lines] == [
        f"no Ray cluster answers at {address}" for address in ("127.0.0.1:9", "ray://127.0.0.1:9", "nowhere:port")
    ]


def test_chunks_hold_every_row_once_and_keep_a_file_together() -> None:
    paths = [f"{number // 30}.png" for number in range(300)] + ["slide.svs"] * 1000
    table = Manifest.from_items([Item(str(n), path) for n, path in enumerate(paths)], "pictures").table
    chunks = list(chunks_of(table, 40))
    assert pa.concat_tables(chunks).equals(table)
    assert {len(chunk) for chunk in chunks[:5]} == {60}
    assert max(len(chunk) for chunk in chunks) == 160
    assert sum(chunk.nbytes for chunk in chunks) < 1.5 * table.nbytes


def test_what_is_stored_is_left_out(pictures: Manifest) -> None:
    assert without(pictures, set()) is pictures
    ids = pictures.table["id"].to_pylist()
    assert without(pictures, set(ids[5:])).table["id"].to_pylist() == ids[:5]


def test_a_node_without_the_images_says_so_instead_of_skipping_them(pictures: Manifest) -> None:
    work = ChunkWork("color", load_encoder("color").fingerprint, str(pictures.root / "away"), 1)
    with pytest.raises(InputError, match=r"node .* does not see the images' folder .*away"):
        embed_chunk(pictures.table.slice(0, 3), work)


def test_a_node_with_another_encoder_is_refused(pictures: Manifest) -> None:
    other = replace(load_encoder("color").fingerprint, weights_sha256="another")
    work = ChunkWork("color", other, str(pictures.root), 1)
    with pytest.raises(FingerprintError, match=r"node .* has another encoder 'color'"):
        embed_chunk(pictures.table.slice(0, 3), work)


def test_a_chunk_of_nothing_readable_is_an_empty_table(pictures: Manifest, expected: pa.Table) -> None:
    work = ChunkWork("color", load_encoder("color").fingerprint, str(pictures.root), 1)
    rows, report = embed_chunk(without(pictures, set(expected["id"].to_pylist())).table, work)
    assert rows.schema.equals(pa.schema(list(expected.schema)[:-2]))
    assert (rows.num_rows, report.n_rows, [one.id for one in report.skipped]) == (0, 0, ["broken"])


def offspring(process: int) -> set[int]:
    """The process and all that descend from it."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # it ended meanwhile
                continue
    found = {process}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def listening(processes: set[int]) -> list[str]:
    """Where these processes listen, as the kernel writes it: an address in hexadecimal, a colon, a port."""
    sockets = set()
    for process in processes:
        try:
            sockets |= {str(handle.readlink()) for handle in Path(f"/proc/{process}/fd").iterdir()}
        except OSError:  # it ended meanwhile
            continue
    lines = [line.split() for kind in ("tcp", "tcp6") for line in Path(f"/proc/net/{kind}").read_text().splitlines()]
    return [line[1] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in sockets]


def is_loopback(address: str) -> bool:
    host = address.partition(":")[0]
    return host in ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")
