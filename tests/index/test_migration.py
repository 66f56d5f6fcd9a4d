"""Indices of earlier releases: they are read as they are, and brought to the present by the first change.

`data/format-1.zip` was made by version 0.1.0 (commit 7aacf14) with the encoder `color`: six drawn pictures of three
patients in three commits, without a ledger and without checksums.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from histoseek.cli import main
from histoseek.encoders import load_encoder
from histoseek.errors import InputError
from histoseek.index import Index, Removal, restore_snapshot, write_snapshot
from histoseek.index.about import FORMAT
from histoseek.items import Item, Manifest
from histoseek.stores import lance as lance_module
from histoseek.stores.ledger import Ledger
from tests.conftest import draw_square
from tests.faults.journal import marks_of_rows

SAVED = Path(__file__).parent / "data" / "format-1.zip"
IDS = [f"toy/p{patient}_{nth}" for patient in range(3) for nth in range(2)]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An index of version 0.1.0."""
    with zipfile.ZipFile(SAVED) as saved:
        saved.extractall(tmp_path / "old.index")
    return tmp_path / "old.index"


def answer(home: Path) -> list[tuple[str, float]]:
    hits = Index.open(home).search(item="toy/p0_0", k=9, exclude_group=False)
    return [(hit.item.id, round(hit.score, 6)) for hit in hits]


def kept_format(home: Path) -> int:
    return int(json.loads((home / "index.json").read_text())["format"])


def test_the_saved_index_is_what_it_says() -> None:
    with zipfile.ZipFile(SAVED) as saved:
        names = saved.namelist()
        assert json.loads(saved.read("index.json"))["format"] == 1
        assert json.loads(saved.read("index.json"))["root"] == "/archive"
    assert not any(name.startswith("ledger") for name in names)


def test_an_old_index_is_read_and_not_touched(home: Path) -> None:
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file() and "fast-" not in str(path)}
    index = Index.open(home)
    assert (index.about.format, index.about.n_items, sorted(index.rows.items["id"].to_pylist())) == (1, 6, IDS)
    found = answer(home)
    assert (found[0][0], len(found)) == ("toy/p0_1", 5)
    told = index.verify()
    assert (told.damage, told.n_rows) == ((), 6)
    assert "format 1, without checksums" in told.remarks[0]
    after = {path: path.read_bytes() for path in home.rglob("*") if path.is_file() and "fast-" not in str(path)}
    assert after == before


def by_compaction(home: Path) -> None:
    assert Index.open(home).compact()


def by_removal(home: Path) -> None:
    assert Index.open(home).remove(Removal(items=["toy/p2_1"])) == ["toy/p2_1"]


def by_adding(home: Path) -> None:
    root = home.parent / "archive"
    root.mkdir()
    draw_square("red", np.random.default_rng(9)).save(root / "new.png")
    index = Index.open(home, load_encoder("color"), root)
    assert index.add(Manifest.from_items([Item("toy/new", "new.png", mpp=0.5)], root)).n_new == 1


@pytest.mark.parametrize("change", [by_compaction, by_removal, by_adding])
def test_the_first_change_brings_an_old_index_to_the_present(home: Path, change: object) -> None:
    before, truth = marks_of_rows(Index.open(home).rows), answer(home)
    change(home)  # type: ignore[operator]
    index = Index.open(home)
    assert (kept_format(home), index.about.format) == (FORMAT, FORMAT)
    after = marks_of_rows(index.rows)
    shared = before.keys() & after.keys()
    assert len(shared) >= 5
    assert {name: before[name] for name in shared} == {name: after[name] for name in shared}
    assert [hit for hit in answer(home) if hit[0] in shared] == [hit for hit in truth if hit[0] in shared]
    index.compact()
    told = index.verify()
    assert (told.damage, told.remarks, told.n_rows) == ((), (), len(after))
    assert len(list((home / "items.lance" / "_versions").glob("*.manifest"))) == 1
    data = next((home / "items.lance" / "data").iterdir())
    raw = bytearray(data.read_bytes())
    raw[len(raw) // 3] ^= 1
    data.write_bytes(raw)
    assert index.verify().damage


def test_adding_what_is_there_keeps_an_old_index_honest(home: Path) -> None:
    index = Index.open(home, load_encoder("color"))
    same = Manifest.from_items(list(index.manifest), "/archive")
    assert index.add(same).n_same == 6
    assert "format 1, without checksums" in Index.open(home).verify().remarks[0]
    assert Index.open(home).compact()
    assert Index.open(home).verify().remarks == ()


@pytest.mark.parametrize("moment", ["before the ledger", "within it", "an empty ledger"])
def test_an_upgrade_that_was_killed_is_done_again(home: Path, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, truth = marks_of_rows(Index.open(home).rows), answer(home)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "acknowledge" if moment == "before the ledger" else "record", killed)
        with pytest.raises(KeyboardInterrupt):
            Index.open(home).compact()
    if moment == "an empty ledger":
        (home / "ledger").mkdir()
    assert marks_of_rows(Index.open(home).rows) == before
    assert answer(home) == truth
    assert Index.open(home).compact()
    assert marks_of_rows(Index.open(home).rows) == before
    assert Index.open(home).verify().damage == Index.open(home).verify().remarks == ()


def test_an_old_index_goes_into_a_snapshot_and_comes_back_new(home: Path, tmp_path: Path) -> None:
    truth = answer(home)
    write_snapshot(home, tmp_path / "x.snapshot")
    restored = restore_snapshot(tmp_path / "x.snapshot", tmp_path / "y.index")
    assert answer(restored.path) == truth
    assert restored.verify().remarks == ()


def test_a_fast_copy_of_an_earlier_release_is_made_anew(home: Path) -> None:
    assert (home / f"fast-{Index.open(home).store.version}" / "fast.json").is_file()
    truth = answer(home)
    for file in home.glob("fast-*/vectors.npy"):
        raw = bytearray(file.read_bytes())
        raw[-1] ^= 1
        file.write_bytes(raw)
    assert answer(home) == truth


def test_a_format_to_come_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = home / "index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": FORMAT + 1}))
    with pytest.raises(InputError, match="another version of histoseek"):
        Index.open(home)
    with pytest.raises(SystemExit) as ended:
        main(["index", "verify", str(home)])
    assert ended.value.code == 2
    assert "another version" in capsys.readouterr().err


def test_the_store_knows_an_old_table(home: Path) -> None:
    store = lance_module.LanceStore(home)
    assert store.exists
    with pytest.raises(InputError, match="is there already"):
        lance_module.LanceStore.create(home, store.schema)
    assert (store.count(), sorted(store.ids())) == (6, IDS)
