"""A bit flipped anywhere in an index is told or harmless: never a wrong answer in silence."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from histoseek.errors import DamagedError, HistoseekError, InputError
from histoseek.index import Index
from histoseek.stores import LanceStore
from histoseek.stores import fast as fast_module
from histoseek.stores import lance as lance_module
from histoseek.stores.difference import damaged_copies
from histoseek.stores.fast import FastCopy
from histoseek.stores.sums import ITEM_SUM, VECTOR_SUM
from tests.conftest import TinyEncoder
from tests.faults.flips import QUERY, flip_all, flipped
from tests.faults.journal import marks_of_rows, rows_for

SEED = 20_261_125


def test_a_bit_flipped_in_the_table_is_told_or_harmless(home: Path) -> None:
    came, wrong = flip_all(home, 8, SEED)
    assert wrong == []
    assert came["damage told"] > 50


def test_every_byte_of_the_table_is_watched(home: Path) -> None:
    store = LanceStore(home)
    assert store.ledger.damaged() == []
    rng = np.random.default_rng(SEED)
    for name in sorted(store.ledger.names()):
        for place in flipped(store.ledger.table_dir / name, 60, rng):
            assert store.ledger.damaged() == [name], f"{name} at {place}"


def test_every_byte_of_index_json_is_watched(home: Path) -> None:
    truth = Index.open(home).about
    for place in flipped(home / "index.json", 4000, np.random.default_rng(SEED)):
        with suppress(DamagedError, InputError):
            assert Index.open(home).about == truth, f"at {place}"


def test_every_byte_of_the_ledger_is_watched(home: Path) -> None:
    store = LanceStore(home)
    newest = store.ledger.newest()
    rng = np.random.default_rng(SEED)
    for path in store.ledger.entries():
        for place in flipped(path, 4000, rng):
            assert store.ledger.newest() == newest
            with pytest.raises(DamagedError):
                store.ledger.files()
                raise AssertionError(f"{path} at {place}")


@pytest.mark.parametrize("large", [False, True])
def test_a_bit_flipped_in_a_fast_copy_is_told_or_harmless(
    home: Path, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:  # vectors are not checked when the copy is opened, but when they answer
        monkeypatch.setattr(fast_module, "CHECKED_AT_START", 0)
    came, wrong = flip_all(home, 6, SEED, derived=True)
    assert wrong == []
    assert came["same answer"] > 0


def test_every_byte_of_a_fast_copy_is_watched(home: Path) -> None:
    folder = home / f"fast-{LanceStore(home).version}"
    LanceStore(home).rows()
    rng = np.random.default_rng(SEED)
    for path in sorted(folder.iterdir()):
        for place in flipped(path, 200, rng):
            with pytest.raises(DamagedError):
                FastCopy(folder)
                raise AssertionError(f"{path} at {place}")


@pytest.fixture
def coded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LanceStore:
    """A table with codes, as large archives have, read so thoroughly that they answer exactly."""
    monkeypatch.setattr("histoseek.stores.codes.WANTED_RECALL", 2.0)
    pytest.importorskip("faiss", reason="codes need the extra scale")
    names = [f"{nth}" for nth in range(3000)]
    store = LanceStore.create(tmp_path / "coded", rows_for(names[:1], names[:1]).schema)
    store.add(rows_for(names, [str(nth % 7) for nth in range(3000)]))
    store.make_codes()
    return store


def ask_codes(home: Path) -> Any:
    rows = LanceStore(home).rows()
    queries = np.eye(16, dtype=np.float32)[:4]
    found = rows.find(queries, 5)
    return [rows.items["id"].take(row).to_pylist() for row in found.rows], found.scores.tobytes()


@pytest.mark.parametrize("large", [False, True])
def test_a_bit_flipped_in_codes_or_their_vectors_is_told_or_harmless(
    coded: LanceStore, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr(fast_module, "CHECKED_AT_START", 0)
    codes = coded.rows().codes  # type: ignore[attr-defined]
    assert codes is not None
    came, wrong = flip_all(coded.home, 6, SEED, ask_codes, derived=True)
    assert wrong == []
    assert came["damage told"] > 0


@pytest.fixture
def changed(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index that was added to and removed from since its fast copy was made, kept as large ones are."""
    monkeypatch.setattr(lance_module, "FRESH_FROM", 0)
    monkeypatch.setattr(lance_module, "FRESH_SHARE", np.inf)
    index = Index.open(home, TinyEncoder())
    index.search(image=QUERY)
    index.store.remove(["toy/p2_0"])
    index.store.add(stored_rows(index, 5))
    assert type(LanceStore(home).rows()).__name__ == "FreshRows"
    return home


def stored_rows(index: Index, n: int) -> pa.Table:
    """Copies of some rows, under other ids."""
    rows = pa.Table.from_batches(list(index.store.batches())).slice(0, n)
    hidden = [name for name in rows.schema.names if name in ("_rowid", VECTOR_SUM, ITEM_SUM)]
    ids = pa.array([f"again/{nth}" for nth in range(n)])
    return rows.drop_columns(hidden).set_column(rows.schema.get_field_index("id"), "id", ids)


def test_a_bit_flipped_in_the_table_below_a_fast_copy_is_told_or_harmless(changed: Path) -> None:
    store = LanceStore(changed)
    truth = marks_of_rows(store.rows())
    rng = np.random.default_rng(SEED)
    for name in sorted(store.ledger.names()):
        for place in flipped(store.ledger.table_dir / name, 6, rng):
            for difference in changed.glob("fast-*+*"):  # else it would answer
                shutil.rmtree(difference)
            with suppress(HistoseekError):
                assert marks_of_rows(LanceStore(changed).rows()) == truth, f"{name} at {place}"


@pytest.mark.parametrize("large", [False, True])
def test_a_bit_flipped_in_a_fast_copy_or_its_difference_is_told_or_harmless(
    changed: Path, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr(fast_module, "CHECKED_AT_START", 0)
    assert len(list(changed.glob("fast-*+*/*"))) == 4
    came, wrong = flip_all(changed, 6, SEED, derived=True)
    assert wrong == []
    assert came["same answer"] > 0


def test_every_byte_of_a_difference_is_watched(changed: Path) -> None:
    (folder,) = changed.glob("fast-*+*")
    assert damaged_copies(changed) == []
    rng = np.random.default_rng(SEED)
    for path in sorted(folder.iterdir()):
        for place in flipped(path, 200, rng):
            assert len(damaged_copies(changed)) == 1, f"{path} at {place}"


def test_a_bit_flipped_in_representatives_is_told_or_harmless(home: Path) -> None:
    pytest.importorskip("scipy", reason="slides need the extra slides")

    def ask(folder: Path) -> Any:
        found = Index.open(folder, TinyEncoder()).search_wholes("p2s0")
        return [(hit.name, hit.score) for hit in found.hits]

    ask(home)
    kept = next(home.glob("representatives-*"))
    truth = ask(home)
    for place in flipped(kept, 25, np.random.default_rng(SEED)):
        assert ask(home) == truth, f"at {place}"
