"""Nothing acknowledged is lost: kills, full and read-only disks, many processes, flipped bits."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from histoseek.cli import main
from histoseek.errors import InputError, StorageError
from histoseek.index import Index, Removal, write_snapshot
from histoseek.index import upkeep as upkeep_module
from histoseek.items import Manifest
from histoseek.stores import LanceStore
from histoseek.stores import fast as fast_module
from histoseek.stores import lance as lance_module
from tests.conftest import TinyEncoder, write_archive
from tests.faults.campaign import run, work_together
from tests.faults.flips import QUERY, answer
from tests.faults.journal import Journal, Promises, marks_of_rows, row_marks, rows_for
from tests.faults.rounds import add_and_remove

N_KILLS = 25
SEED = 20_261_125


def test_nothing_acknowledged_is_lost_through_kills(tmp_path: Path) -> None:
    outcome = run(N_KILLS, SEED, tmp_path)
    print(f"seed {SEED}: {outcome}")
    assert outcome.is_clean, outcome
    assert outcome.kills.total() >= N_KILLS
    assert outcome.rows_added > 0


def test_writers_readers_and_a_compactor_get_along(tmp_path: Path) -> None:
    outcome = work_together(4, SEED, tmp_path)
    assert outcome.is_clean, outcome
    assert (outcome.kills.total(), outcome.rows_added > 0) == (0, True)


def test_the_campaign_would_notice(tmp_path: Path) -> None:
    """What the checks are made of: a lost, a returned and a half-done row are seen."""
    journal = Journal(tmp_path / "journal-w0.jsonl")
    journal.write(what="add", rows={"w0/1": "a", "w0/2": "b"})
    journal.write(what="done")
    journal.write(what="remove", rows=["w0/2"])
    journal.write(what="done")
    journal.write(what="add", rows={"w0/1": "c", "w0/3": "d"})
    promises = Promises.read(journal.path)
    assert (promises.state, promises.pending) == ({"w0/1": "a"}, {"w0/1": "c", "w0/3": "d"})
    assert (promises.rows_added, promises.rows_removed, promises.n_settled) == (2, 1, 2)
    assert promises.broken({"w0/1": "c"}, promises) == []
    assert promises.broken({"w0/2": "b"}, promises) == ["w0/2"]
    with journal.path.open("a") as stream:
        stream.write('{"what": "do')  # cut off by a kill
    assert Promises.read(journal.path).state == {"w0/1": "a"}
    Journal(journal.path).write(what="done")
    assert Promises.read(journal.path).state == {"w0/1": "c", "w0/3": "d"}


# what a killed process leaves


@pytest.mark.parametrize("left", [b"", b'{"files": {"da', b"\0" * 200])
def test_a_ledger_entry_begun_and_not_finished_is_none(home: Path, left: bytes) -> None:
    truth = answer(home)
    (home / "ledger" / ".000000000099-0.json.abc123.json").write_bytes(left)
    for copy in home.glob("fast-*"):
        shutil.rmtree(copy)
    assert answer(home) == truth
    index = Index.open(home, TinyEncoder())
    index.remove(Removal(patients=["p2"]))
    assert index.compact()
    assert len(list((home / "ledger").iterdir())) == 1
    assert index.verify().damage == ()


def test_a_commit_without_its_entry_is_taken_back(home: Path) -> None:
    truth = answer(home)
    newest = max((home / "ledger").iterdir())
    store = LanceStore(home)
    store.remove(["toy/p2_0", "toy/p2_1"])
    max((home / "ledger").iterdir()).unlink()  # as if the writer had died before it wrote it
    assert max((home / "ledger").iterdir()) == newest
    assert answer(home) == truth
    index = Index.open(home, TinyEncoder())
    assert index.remove(Removal(items=["toy/p3_0"])) == ["toy/p3_0"]
    assert {"toy/p2_0", "toy/p2_1"} <= set(index.rows.items["id"].to_pylist())


def test_drafts_of_fast_copies_go_with_the_next_version(home: Path) -> None:
    draft = home / f".fast-{LanceStore(home).version}.xyz"
    draft.mkdir()
    (draft / "vectors.npy").write_bytes(b"SECRET")
    index = Index.open(home, TinyEncoder())
    index.remove(Removal(patients=["p2"]))
    index.search(image=QUERY)
    assert not draft.exists()


def test_a_copy_of_another_table_at_the_same_place_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HISTOSEEK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "access", lambda *_: False)
    for label in ("a", "b"):
        store = LanceStore.create(tmp_path / "x", rows_for(["1"], [label]).schema)
        store.add(rows_for(["1", "2"], [label, label]))
        assert store.rows().items["label"].to_pylist() == [label, label]
        shutil.rmtree(tmp_path / "x")


# many rounds


def test_the_folder_does_not_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep_module, "COMMITS_LEFT", 10)
    sizes, index = add_and_remove(30, tmp_path)
    assert sizes[-1] < 1.5 * sizes[0]
    assert max(sizes[15:]) < 1.3 * max(sizes[:15])
    assert index.verify().damage == ()


# a full disk


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk of its own that is soon full."""
    folder.mkdir()
    if os.geteuid() or shutil.which("mount") is None:
        pytest.skip("a small disk can be mounted by root only")
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "histoseek-test", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def small_files(folder: Path, most_bytes: int) -> Iterator[Path]:
    """No file may grow beyond a size, as under a quota."""
    folder.mkdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        yield folder
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fill_up(store: LanceStore, rng: np.random.Generator) -> tuple[dict[str, str], str]:
    """Add, change and remove until the disk has had enough; what was acknowledged, and the sentence."""
    held: dict[str, str] = {}
    for nth in range(400):
        names = [f"{nth}-{row}" for row in range(200)] + list(held)[:3]
        rows = rows_for(names, [str(nth)] * len(names))
        try:
            store.add(rows)
            held |= row_marks(names, [str(nth)] * len(names), fast_module.matrix_of(rows["vector"]))
            gone = [str(name) for name in rng.choice(list(held), 5, replace=False)]
            store.remove(gone)
            held = {name: mark for name, mark in held.items() if name not in gone}
        except StorageError as error:
            return held, str(error)
    raise AssertionError("the disk did not fill up")


def test_a_full_disk_loses_nothing_and_is_told(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "3m") as disk:
        (disk / "ballast").write_bytes(b"\0" * 1_500_000)
        store = LanceStore.create(disk / "x", rows_for(["1"], ["1"]).schema)
        held, told = fill_up(store, np.random.default_rng(SEED))
        assert "the disk is full" in told
        assert store.ids() == LanceStore(disk / "x").ids() == set(held)
        for act in (store.rows, store.compact, lambda: store.add(rows_for(["z"] * 1, ["z"]))):
            try:
                act()
            except StorageError as error:
                assert "full" in str(error)
        (disk / "ballast").unlink()
        seen = marks_of_rows(store.rows())
        assert {name: mark for name, mark in seen.items() if name != "z"} == held
        store.add(rows_for(["last"], ["y"]))
        store.compact()
        seen = marks_of_rows(LanceStore(disk / "x").rows())
        assert {name: mark for name, mark in seen.items() if name not in ("last", "z")} == held
        assert store.ledger.damaged() == []


def test_files_that_may_not_grow_lose_nothing(tmp_path: Path) -> None:
    with small_files(tmp_path / "disk", 20_000) as disk:
        store = LanceStore.create(disk / "x", rows_for(["1"], ["1"]).schema)
        store.add(rows_for(["a", "b"], ["1", "2"]))
        before = marks_of_rows(store.rows())
        many = [f"{row}" for row in range(2000)]
        with pytest.raises(StorageError, match="the disk is full"):
            store.add(rows_for(many, many))
        assert marks_of_rows(LanceStore(disk / "x").rows()) == before
    store.add(rows_for(many, many))
    assert len(marks_of_rows(store.rows())) == 2002


def test_a_search_needs_no_room_for_what_changed_since_a_large_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lance_module, "FRESH_FROM", 0)
    store = LanceStore.create(tmp_path / "x", rows_for(["1"], ["1"]).schema)
    store.add(rows_for([f"{row}" for row in range(100)], ["1"] * 100))
    before = marks_of_rows(store.rows())
    store.remove(["7"])
    del before["7"]
    for most_bytes in (0, 50, 300):  # each stops at another file
        with small_files(tmp_path / f"{most_bytes}", most_bytes):
            assert marks_of_rows(LanceStore(store.home).rows()) == before
        assert len(list(store.home.glob("*fast-*"))) == 1
    assert marks_of_rows(LanceStore(store.home).rows()) == before
    assert len(list(store.home.glob("*fast-*"))) == 2


def test_a_full_disk_is_one_sentence_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from histoseek.encoders import load_encoder

    (tmp_path / "pictures").mkdir()
    manifest = write_archive(tmp_path / "pictures")
    manifest.write(tmp_path / "m.parquet")
    with small_disk(tmp_path / "disk", "2m") as disk:
        Index.build(manifest.where("group = 'p1'"), load_encoder("color"), disk / "x.index")
        (disk / "ballast").write_bytes(b"\0" * 500_000)
        with (disk / "more").open("wb", buffering=0) as stream:
            try:
                while stream.write(b"\0" * 4096):
                    pass
            except OSError:
                pass
        for verb in (
            ["add", disk / "x.index", tmp_path / "m.parquet"],
            ["remove", disk / "x.index", "--patient", "p1"],
        ):
            with pytest.raises(SystemExit) as ended:
                main(["index", *map(str, verb)])
            told = capsys.readouterr().err
            assert (ended.value.code, "full" in told, "bug" in told) == (2, True, False), told
        (disk / "more").unlink()
        index = Index.open(disk / "x.index")
        assert len(index) == 4
        assert index.add(manifest).n_new == 32


# a read-only folder


@contextmanager
def read_only(home: Path) -> Iterator[None]:
    if os.geteuid():
        folders = [home, *(path for path in home.rglob("*") if path.is_dir())]
        for folder in folders:
            folder.chmod(0o555)
        try:
            yield
        finally:
            for folder in folders:
                folder.chmod(0o755)
        return
    if subprocess.run(["mount", "--bind", str(home), str(home)], capture_output=True, check=False).returncode:
        pytest.skip("root may write anywhere, and no disk can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(home)], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", str(home)], check=True)


def test_a_read_only_index_answers_and_refuses_changes(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HISTOSEEK_CACHE", str(tmp_path / "cache"))
    truth = answer(home)
    for copy in home.glob("fast-*"):
        shutil.rmtree(copy)
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    with read_only(home):
        assert answer(home) == truth
        index = Index.open(home, TinyEncoder())
        manifest = Manifest.from_items(list(index.manifest)[:2], index.root)
        for act in (
            lambda: index.remove(Removal(patients=["p2"])),
            index.compact,
            lambda: index.add(manifest),
            lambda: write_snapshot(home, tmp_path / "x.snapshot"),
            lambda: index.store.add(rows_for(["1"], ["1"])),
        ):
            with pytest.raises((StorageError, InputError), match=r"cannot be written to|cannot write"):
                act()
        assert index.verify().damage == ()
        assert len(index.remove(Removal(patients=["p2"]), dry_run=True)) == 4
        assert answer(home) == truth
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before
