from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histoseek.errors import InputError
from histoseek.items import Item, Manifest, check_table, digests, spool
from histoseek.items.digests import among, mixed, repeated, text_digests

N = 500


@pytest.fixture
def spooling(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Every table counts as large and has many blocks; gives the temporary folder."""
    place = tmp_path / "spool"
    place.mkdir()
    monkeypatch.setattr(spool, "LARGE", 1)
    monkeypatch.setattr(spool, "BLOCK", 7)
    monkeypatch.setattr("histoseek.items.manifest.BLOCK", 7)
    monkeypatch.setattr("tempfile.tempdir", str(place))
    yield place
    assert not list(place.iterdir())


def plain_columns(**changed: list[object]) -> pa.Table:
    columns: dict[str, object] = {
        "id": [f"é{row}" for row in range(N)],
        "path": [f"{row % 5}.png" for row in range(N)],
        "label": [None if row % 3 else f"l{row % 4}" for row in range(N)],
        "group": ["" if row % 2 else f"g{row // 10}" for row in range(N)],
        "case": [None if row % 5 else f"c{row // 20}" for row in range(N)],
        "fold": [row % 5 for row in range(N)],
        "mpp": [None if row % 7 == 0 else 0.5 for row in range(N)],
        "stain": pa.array(["H&E" if row % 2 else "PAS" for row in range(N)]).dictionary_encode(),
        "depth": [row / 7 for row in range(N)],
        "nothing": pa.nulls(N),
    }
    return pa.table(columns | changed)


def changed(column: str, **values: object) -> pa.Table:
    """A table in which rows named like `_12` hold another value in one column."""
    whole = plain_columns()
    held = whole[column].to_pylist()
    for row, value in values.items():
        held[int(row[1:])] = value
    return plain_columns(**{column: held})


def joined(table: pa.Table) -> pa.Table:
    return table.combine_chunks()


def in_memory(table: pa.Table, name: str) -> pa.Table:
    from histoseek.items.table import Check

    return Check(table.schema, name).completed(table, refuse_repeats=True)


def test_a_large_parquet_is_read_as_a_small_one(spooling: Path, tmp_path: Path) -> None:
    pq.write_table(plain_columns(), tmp_path / "m.parquet", row_group_size=33)
    read = Manifest.read(tmp_path / "m.parquet").table
    assert read["id"].num_chunks > 10
    assert joined(read).equals(in_memory(pq.read_table(tmp_path / "m.parquet"), "m"))
    assert read.schema == in_memory(plain_columns(), "m").schema


def test_a_large_manifest_is_filtered_written_and_looked_through_like_a_small_one(
    spooling: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [Item(f"i{n}", "p.png", label="ab"[n % 2], fold=n % 3, extra={"x": n / 3}) for n in range(100)]
    large = Manifest.from_items(items, tmp_path, {"licence": "CC0"})
    large.write(tmp_path / "large.parquet")
    read = Manifest.read(tmp_path / "large.parquet")
    kept, none = read.where("x > 5 and label = 'a'", fold=[0, 1]), read.where("x < 0")
    monkeypatch.setattr(spool, "LARGE", 10**6)
    small = Manifest.from_items(items, tmp_path, {"licence": "CC0"})
    expected = small.where("x > 5 and label = 'a'", fold=[0, 1])
    assert (list(read), read.digest, read.facts) == (items, small.digest, small.facts)
    assert (list(kept), len(none)) == (list(expected), 0)
    assert kept.table.combine_chunks().equals(expected.table.combine_chunks())
    assert read[-1] == items[-1]
    assert read.split({"train": 0.5, "test": 0.5}).digest == small.split({"train": 0.5, "test": 0.5}).digest
    assert read.audit() == small.audit()


@pytest.mark.parametrize(
    "text",
    [
        "id,path,fold,n,x,name,kept,empty\n"
        + "".join(f"é{n},p.png,{n % 3}.0,{n},{n}.5,0{n},true,\n" for n in range(300)),
        'id,path,note\na,b,"two\nlines"\nc,d,"a ""b"""\n',
        "id,path\na,b\na,c\n",
        "id,path,mpp\na,b,0.5\nb,c,x\n",
        "id,path,mpp\na,b,0.5\nb,c\n",
        "id,path\n",
        "",
    ],
)
def test_a_large_csv_is_read_as_a_small_one(
    text: str, spooling: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.csv").write_text(text, encoding="utf-8")
    found = []
    for size in (0, 10**9):
        monkeypatch.setattr("histoseek.items.manifest.LARGE_CSV", size)
        monkeypatch.setattr(spool, "LARGE", max(1, size))
        try:
            table = Manifest.read(tmp_path / "m.csv").table
            found.append((table.schema, table.to_pylist()))
        except InputError as error:
            found.append(str(error))
    assert found[0] == found[1]


WRONG = [
    changed("id", _300="é7", _400="é9", _401="é300"),
    changed("id", _12="", _300=None),
    changed("path", _299=None),
    changed("mpp", _77=352.8),
    changed("mpp", _78=float("nan")),
    plain_columns(fold=[str(row) if row != 123 else "two" for row in range(N)]),
    plain_columns(box_x=[-1 if row == 200 else 1 for row in range(N)]),
    plain_columns(box_x=[1] * N),
    plain_columns(label=[["a"]] * N),
    plain_columns(tags=[["a"]] * N),
    plain_columns(score=[1] * N),
    plain_columns().drop_columns(["path"]),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_a_large_table_is_refused_in_the_words_of_a_small_one(number: int, spooling: Path, tmp_path: Path) -> None:
    refused(WRONG[number], tmp_path)


@pytest.mark.parametrize(
    ("early", "late"),
    [("mpp", "path"), ("mpp", "fold"), ("path", "path"), ("repeat", "mpp"), ("mpp", "repeat"), ("repeat", "id")],
)
def test_of_two_errors_the_same_one_is_told(early: str, late: str, spooling: Path, tmp_path: Path) -> None:
    table = plain_columns(fold=[str(row) for row in range(N)])
    for row, what in ((20, early), (400, late)):
        column = "id" if what == "repeat" else what
        held = table[column].to_pylist()
        held[row] = {"mpp": 99.0, "path": "", "fold": "two", "repeat": "é3", "id": ""}[what]
        table = table.set_column(table.schema.get_field_index(column), column, pa.array(held))
    refused(table, tmp_path)


def refused(table: pa.Table, folder: Path) -> None:
    place = folder / "m.parquet"
    pq.write_table(table, place, row_group_size=50)
    stored = pq.read_table(place)
    with pytest.raises(InputError) as expected:
        in_memory(stored, str(place))
    for read in (lambda: Manifest.read(place), lambda: check_table(stored, str(place))):
        with pytest.raises(InputError) as told:
            read()
        assert str(told.value) == str(expected.value)


def test_equal_digests_of_different_ids_are_no_repeat(
    spooling: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "text_digests", lambda column: np.zeros(len(column), dtype=np.uint64))
    assert check_table(plain_columns(), "m").num_rows == N
    refused(changed("id", _300="é7", _301="é8"), tmp_path)


def test_a_table_in_which_nothing_is_missing_is_not_copied(spooling: Path) -> None:
    checked = check_table(plain_columns(), "m")
    again = check_table(checked, "m")
    assert again.equals(checked)
    assert again["id"].chunk(0).buffers()[2].address == checked["id"].chunk(0).buffers()[2].address


def test_the_temporary_file_lives_as_long_as_a_column_of_it(spooling: Path) -> None:
    gc.collect()
    before = open_files()
    table = spool.spooled(pa.schema([("x", pa.int64())]), iter([pa.table({"x": [1, 2]}), pa.table({"x": [3]})]))
    column = table["x"].slice(1)
    del table
    gc.collect()
    assert column.to_pylist() == [2, 3]
    assert open_files() == before + 1
    del column
    gc.collect()
    assert open_files() == before


def open_files() -> int:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("open files are counted in /proc")
    return sum(1 for _ in os.scandir("/proc/self/fd"))


def test_a_temporary_folder_that_cannot_be_written_to_is_named(spooling: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __init__(self, *_: object) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(pa.ipc, "new_file", Full)
    with pytest.raises(InputError, match=r"No space left on device.*TMPDIR"):
        check_table(plain_columns(), "m")


@given(st.lists(st.text(max_size=5) | st.none(), max_size=30), st.integers(0, 5))
def test_digests_are_equal_where_text_is(values: list[str | None], skipped: int) -> None:
    column = pa.array(values, pa.string()).slice(min(skipped, len(values)))
    found, text = text_digests(column), [value or "" for value in column.to_pylist()]
    assert len(set(found.tolist())) == len(set(text))
    assert len({*zip(found.tolist(), text, strict=True)}) == len(set(text))
    twice = repeated([found[:3], found[3:]])
    assert among(found, twice).tolist() == [text.count(one) > 1 for one in text]


def test_digests_do_not_depend_on_chunks_and_tell_similar_names_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"set/slide{n // 100}#{n % 100}" for n in range(20_000)]
    whole = text_digests(pa.array(names))
    monkeypatch.setattr(digests, "_ROWS", 13)
    parts = text_digests(pa.chunked_array([names[:5], names[5:]]))
    assert (whole == parts).all()
    assert len(set(whole.tolist())) == len(names)


def test_numbers_are_mixed_into_digests() -> None:
    start = text_digests(pa.array(["a"] * 5))
    column = pa.array([0, None, 1, -1, 0])
    found = mixed(start, column)
    assert found[0] == found[4]
    assert len(set(found.tolist())) == 4
