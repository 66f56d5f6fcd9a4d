"""What has changed since a large fast copy was made is kept beside it: a process that starts anew reads no table."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from histoseek.stores import VECTOR, LanceStore
from histoseek.stores import lance as lance_module
from histoseek.stores.difference import damaged_copies, read_difference
from histoseek.stores.exact import nearest
from histoseek.stores.fast import FastCopy, matrix_of

DIM = 8
QUERIES = np.eye(DIM, dtype=np.float32)[:3]

COLD = f"""
import json, sys, numpy as np
from histoseek.stores import LanceStore
rows = LanceStore(sys.argv[1]).rows()
found = rows.nearest(np.eye({DIM}, dtype=np.float32)[:3], 10)
assert 'lancedb' not in sys.modules and 'lance' not in sys.modules, "LanceDB was imported"
ids = [rows.items["id"].take(row).to_pylist() for row in found.rows]
print(json.dumps([type(rows).__name__, rows.items.num_rows, ids, found.scores.tolist()]))
"""


def table(n: int, first: int = 0) -> pa.Table:
    vectors = np.random.default_rng(first).normal(size=(n, DIM))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIM)
    ids = pa.array([f"i{first + row}" for row in range(n)], pa.string())
    groups = pa.array([f"g{(first + row) % 7}" for row in range(n)], pa.string())
    return pa.table({"id": ids, "group": groups, VECTOR: column})


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A large archive with its fast copy."""
    store = LanceStore.create(tmp_path_factory.mktemp("large") / "x", table(0).schema)
    store.add(table(lance_module.FRESH_FROM))
    store.rows()
    return store.home


@pytest.fixture
def large(built: Path, tmp_path: Path) -> LanceStore:
    return LanceStore(shutil.copytree(built, tmp_path / "x"))


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LanceStore:
    """A small archive with its fast copy, kept as large ones are."""
    monkeypatch.setattr(lance_module, "FRESH_FROM", 0)
    monkeypatch.setattr(lance_module, "FRESH_SHARE", np.inf)
    store = LanceStore.create(tmp_path / "x", table(0).schema)
    store.add(table(40))
    store.rows()
    return store


def copies(home: Path) -> list[str]:
    return sorted(path.name for path in home.iterdir() if "fast" in path.name)


def exact(store: LanceStore, k: int = 10) -> tuple[list[list[str]], list[list[float]]]:
    """The answer by the table alone."""
    rows = pa.Table.from_batches(list(store.batches()))
    found = nearest(QUERIES, matrix_of(rows[VECTOR]), k)
    return [rows["id"].take(row).to_pylist() for row in found.rows], found.scores.tolist()


def answered(store: LanceStore, k: int = 10) -> tuple[list[list[str]], list[list[float]]]:
    rows = store.rows()
    found = rows.nearest(QUERIES, k)
    return [rows.items["id"].take(row).to_pylist() for row in found.rows], found.scores.tolist()


def asked_cold(home: Path) -> list[object]:
    run = subprocess.run([sys.executable, "-W", "error", "-c", COLD, home], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return list(json.loads(run.stdout))


def no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on nobody may open the table."""

    def refuse(*_: object) -> None:
        raise AssertionError("the table was opened")

    monkeypatch.setattr(LanceStore, "_at", refuse)


def test_a_new_process_reads_no_table_after_a_large_archive_changed(large: LanceStore) -> None:
    base = large.version
    for change in (
        lambda: large.add(table(60, first=10**6)),
        lambda: large.remove([f"i{row}" for row in range(0, 3000, 50)]),
        lambda: large.add(table(30, first=10**6 + 40)),  # in part again
        lambda: large.remove([f"i{10**6 + row}" for row in range(5)]),
    ):
        change()
        large.rows()  # what the process that wrote does next
        assert copies(large.home) == [f"fast-{base}", f"fast-{base}+{large.version}"]
        ids, scores = exact(large)
        assert asked_cold(large.home) == ["FreshRows", large.count(), ids, scores]


def test_only_what_changed_is_written(large: LanceStore) -> None:
    large.add(table(60, first=10**6))
    large.remove(["i7", "i9"])
    large.rows()
    (folder,) = large.home.glob("fast-*+*")
    assert np.load(folder / "gone.npy").tolist() == [7, 9]
    assert np.load(folder / "vectors.npy").shape == (60, DIM)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 20_000


def test_rows_read_from_the_disk_are_those_made_in_memory(small: LanceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    small.remove(["i3", "i39"])
    small.add(table(9, first=35))
    made = small.rows()
    no_table(monkeypatch)
    read = LanceStore(small.home).rows()
    assert read.items.equals(made.items)
    everything = np.arange(made.items.num_rows)
    assert read.vectors(everything).tobytes() == made.vectors(everything).tobytes()
    assert read.checked(everything).tobytes() == made.vectors(everything).tobytes()
    assert (read.version, read.groups.tolist()) == (made.version, made.groups.tolist())
    assert read.nearest(QUERIES, 5).scores.tobytes() == made.nearest(QUERIES, 5).scores.tobytes()


@pytest.mark.parametrize("remove", [True, False])
def test_nothing_added_or_nothing_removed_is_a_difference_too(
    small: LanceStore, remove: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if remove:
        small.remove(["i3"])
    else:
        small.add(table(2, first=100))
    truth = exact(small)
    small.rows()
    no_table(monkeypatch)
    assert answered(LanceStore(small.home)) == truth


def test_all_may_be_removed(small: LanceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    small.remove([f"i{row}" for row in range(40)])
    small.rows()
    no_table(monkeypatch)
    assert LanceStore(small.home).rows().items.num_rows == 0


def test_without_the_base_all_is_made_anew(small: LanceStore) -> None:
    base = small.version
    small.add(table(2, first=100))
    small.rows()
    shutil.rmtree(small.home / f"fast-{base}")
    assert answered(small) == exact(small)
    assert copies(small.home) == [f"fast-{small.version}"]


def test_with_a_damaged_base_all_is_made_anew(small: LanceStore) -> None:
    path = small.home / f"fast-{small.version}" / "items.arrow"
    small.add(table(2, first=100))
    small.rows()
    path.write_bytes(path.read_bytes()[:-1])
    assert answered(small) == exact(small)
    assert copies(small.home) == [f"fast-{small.version}"]


@pytest.mark.parametrize("file", ["fast.json", "vectors.npy", "items.arrow", "gone.npy"])
@pytest.mark.parametrize("damage", ["cut", "empty", "text", "gone"])
def test_a_damaged_difference_is_made_anew(
    small: LanceStore, file: str, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.remove(["i3"])
    small.add(table(2, first=100))
    truth = exact(small)
    small.rows()
    (folder,) = small.home.glob("fast-*+*")
    whole = (folder / file).read_bytes()
    if damage == "gone":
        (folder / file).unlink()
    else:
        (folder / file).write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "text": b"[1, 2]"}[damage])
    if (folder / "fast.json").is_file():  # without it the folder was never finished, and is none
        told = f"the fast copy {folder} is damaged; delete that folder, it is made anew"
        assert damaged_copies(small.home) == [told]
    assert answered(LanceStore(small.home)) == truth
    assert damaged_copies(small.home) == []
    no_table(monkeypatch)
    assert answered(LanceStore(small.home)) == truth


@pytest.fixture
def other(small: LanceStore) -> LanceStore:
    """Another table, with a copy and a difference of the same versions as `small`, which gets its difference too."""
    small.add(table(2, first=100))
    made = LanceStore.create(small.home.with_name("y"), table(0).schema)
    made.add(table(41))
    made.rows()
    made.add(table(2, first=200))
    for store in (small, made):
        store.rows()
    assert copies(made.home) == copies(small.home) == ["fast-2", "fast-2+3"]
    return made


@pytest.mark.parametrize("names", [["fast-2"], ["fast-2+3"], ["fast-2", "fast-2+3"]])
def test_what_belongs_to_another_table_is_not_believed(small: LanceStore, other: LanceStore, names: list[str]) -> None:
    for name in names:
        shutil.rmtree(small.home / name)
        shutil.copytree(other.home / name, small.home / name)
    assert answered(small) == exact(small)


@pytest.mark.parametrize("wrong", ["base", "mark", "generation"])
def test_a_difference_goes_with_its_own_base_and_version_only(small: LanceStore, other: LanceStore, wrong: str) -> None:
    entry, mark = small.state
    base = FastCopy((other if wrong == "base" else small).home / "fast-2")
    mark = other.state[1] if wrong == "mark" else mark
    entry = entry._replace(generation=entry.generation + (wrong == "generation"))
    assert read_difference(small.home, base, entry, mark) is None
    assert copies(small.home) == ["fast-2"]


def test_a_difference_goes_with_the_next_one_and_with_its_base(small: LanceStore) -> None:
    base = small.version
    for first in (100, 200, 300):
        small.add(table(2, first=first))
        (small.home / f".fast-{base}+{small.version - 1}.left").mkdir()  # by a process that was killed
        small.rows()
        assert copies(small.home) == [f"fast-{base}", f"fast-{base}+{small.version}"]
    assert small.compact()
    assert copies(small.home) == []
    small.rows()
    assert not small.compact()
    assert copies(small.home) == [f"fast-{small.version}"]


def test_too_great_a_difference_is_none(small: LanceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lance_module, "FRESH_SHARE", 0.1)
    base = small.version
    small.add(table(4, first=100))
    small.rows()
    assert copies(small.home) == [f"fast-{base}", f"fast-{base}+{small.version}"]
    small.add(table(1, first=200))
    small.rows()
    assert copies(small.home) == [f"fast-{small.version}"]


def test_a_reader_who_was_overtaken_by_a_compaction_leaves_nothing(
    small: LanceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was removed must not come back to the disk after it was forgotten."""
    small.add(table(2, first=100))
    write = lance_module.write_difference

    def overtaken(*given: object) -> Path:
        other = LanceStore(small.home)
        other.remove(["i100"])
        other.compact()
        return write(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(lance_module, "write_difference", overtaken)
    assert small.rows().items.num_rows == 42  # it began before the removal
    assert copies(small.home) == []


def test_who_may_only_read_keeps_the_difference_in_the_cache(
    small: LanceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = small.version
    small.remove(["i3"])
    monkeypatch.setenv("HISTOSEEK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("histoseek.stores.caching.os.access", lambda *_: False)
    truth = exact(small)
    assert answered(LanceStore(small.home)) == truth
    assert copies(small.home) == [f"fast-{base}"]
    assert [path.name for path in (tmp_path / "cache").glob("histoseek/*/*")] == [f"fast-{base}+{small.version}"]
    no_table(monkeypatch)
    assert answered(LanceStore(small.home)) == truth


def test_who_may_only_read_uses_the_difference_that_is_there(
    small: LanceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.remove(["i3"])
    truth = exact(small)
    small.rows()
    monkeypatch.setenv("HISTOSEEK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("histoseek.stores.caching.os.access", lambda *_: False)
    no_table(monkeypatch)
    assert answered(LanceStore(small.home)) == truth
    assert not (tmp_path / "cache").exists()


def test_codes_are_made_of_a_full_copy_and_serve_below_a_difference(
    small: LanceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faiss", reason="codes need the extra scale")
    small.add(table(400, first=100))
    small.rows()
    small.make_codes()
    base = small.version
    assert copies(small.home) == [f"fast-{base}"]
    small.add(table(2, first=1000))
    truth = exact(small)
    small.rows()
    no_table(monkeypatch)
    cold = LanceStore(small.home).rows()
    assert cold.codes is not None
    assert [cold.items["id"].take(row).to_pylist() for row in cold.find(QUERIES, 10).rows] == truth[0]
    assert damaged_copies(small.home) == []
