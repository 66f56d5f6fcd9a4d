from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from histoseek.errors import InputError
from histoseek.items import Box, Item, Manifest

FULL = Item(
    id="d/a",
    path="sub/a.png",
    dataset="d",
    label="Normal",
    group="p1",
    group_source="patient",
    slide="s1",
    case="c1",
    split="train",
    fold=2,
    box=Box(1, 2, 30, 40),
    mpp=0.42,
    mpp_source="stated",
    width=30,
    height=40,
    sha256="ab" * 32,
    caption='glands, "back\nto back"',
    extra={"stain": "H&E", "depth": 1.5, "kept": True, "n": 3, "nothing": None},
)
BARE = Item(id="d/b", path="b.png", extra={"stain": "PAS"})


def table_with(**columns: list[object]) -> pa.Table:
    n = len(next(iter(columns.values())))
    given: dict[str, list[object]] = {"id": [f"i{row}" for row in range(n)], "path": ["x.png"] * n}
    return pa.table(given | columns)


def read_table(table: pa.Table, folder: Path) -> Manifest:
    pq.write_table(table, folder / "m.parquet")
    return Manifest.read(folder / "m.parquet")


def read_csv(text: str, folder: Path) -> Manifest:
    (folder / "m.csv").write_text(text, encoding="utf-8")
    return Manifest.read(folder / "m.csv")


def test_parquet_round_trip_keeps_every_field_root_and_facts(tmp_path: Path) -> None:
    made = Manifest.from_items([FULL, BARE], tmp_path, {"licence": "CC0"})
    made.write(tmp_path / "m.parquet")
    back = Manifest.read(tmp_path / "m.parquet")
    assert back[0] == FULL
    assert back[1].extra == {"stain": "PAS", "depth": None, "kept": None, "n": None, "nothing": None}
    assert (back.root, back.facts) == (tmp_path, {"licence": "CC0"})


def test_csv_round_trip_keeps_every_field(tmp_path: Path) -> None:
    made = Manifest.from_items([FULL, BARE], tmp_path)
    csv.write_csv(made.table, tmp_path / "m.csv")
    assert list(Manifest.read(tmp_path / "m.csv")) == list(made)


def test_csv_of_pandas_with_whole_numbers_as_floats_is_read(tmp_path: Path) -> None:
    pd.DataFrame({"id": ["a", "b"], "path": ["a", "b"], "fold": [1, None]}).to_csv(tmp_path / "m.csv", index=False)
    assert [item.fold for item in Manifest.read(tmp_path / "m.csv")] == [1, None]


def test_csv_keeps_leading_zeros_of_ids(tmp_path: Path) -> None:
    assert read_csv("id,path,group\n007,a.png,01\n", tmp_path)[0].group == "01"


def test_csv_root_is_its_folder_unless_given(tmp_path: Path) -> None:
    assert read_csv("id,path\na,a.png\n", tmp_path).root == tmp_path
    assert Manifest.read(tmp_path / "m.csv", root=tmp_path / "else").root == tmp_path / "else"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,path\na,x\nb,y\na,z\n", ["row 3", "'id'", "'a'", "row 1"]),
        ("id,path\na,x\nb,\n", ["row 2", "'path'", "empty"]),
        ("id,path\n,x\n", ["row 1", "'id'", "empty"]),
        ("id,path,mpp\na,x,0.5\nb,y,352.8\n", ["row 2", "'mpp'", "352.8"]),
        ("id,path,mpp\na,x,fine\n", ["row 1", "'mpp'", "'fine'"]),
        ("id,path,fold\na,x,1\nb,y,two\n", ["row 2", "'fold'", "'two'"]),
        ("id,path,fold\na,x,1.5\n", ["row 1", "'fold'", "'1.5'"]),
        ("id,path,width\na,x,0\n", ["row 1", "'width'", "less than 1"]),
        ("id,path,box_x\na,x,3\n", ["box", "'box_y'"]),
        ("id,name\na,x\n", ["no column 'path'"]),
        ("id,path,score\na,x,1\n", ["'score'", "rename"]),
        ("id,path,tag,tag\na,x,1,2\n", ["more than one column 'tag'"]),
        ("", ["cannot be read as a CSV"]),
    ],
)
def test_wrong_csv_is_refused_in_one_sentence_that_names_the_place(text: str, said: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_csv(text, tmp_path)
    message = str(caught.value)
    assert "m.csv" in message
    assert "\n" not in message
    assert all(part in message for part in said), message


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"mpp": [0.5, float("nan")]}, "row 2, column 'mpp': not a number"),
        ({"mpp": [0.5, float("inf")]}, "row 2, column 'mpp': not a number"),
        ({"mpp": ["0.5", "x"]}, "row 2, column 'mpp': 'x' is no double"),
        ({"fold": [1, 2**40]}, "row 2, column 'fold'"),
        ({"label": [["a"], ["b"]]}, "column 'label'"),
        ({"tags": [["a"], ["b"]]}, "column 'tags' holds list"),
        ({"box_x": [-1, 1], "box_y": [0, 0], "box_width": [1, 1], "box_height": [1, 1]}, "row 1, column 'box_x'"),
        ({"box_x": [1, 1], "box_y": [0, None], "box_width": [1, 1], "box_height": [1, 1]}, "lacks 'box_y'"),
        ({"vector": [1.0, 2.0]}, "'vector', a name that Histoseek needs"),
    ],
)
def test_wrong_parquet_is_refused_with_its_place(columns: dict[str, list[object]], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        read_table(table_with(**columns), tmp_path)


def test_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(InputError, match="no Parquet table"):
        Manifest.read(tmp_path / "m.parquet")


def test_missing_file_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="histoseek prepare"):
        Manifest.read(tmp_path / "m.parquet")


def test_two_items_with_one_id_are_refused() -> None:
    with pytest.raises(InputError, match="row 2, column 'id': 'a' stands in row 1"):
        Manifest.from_items([Item(id="a", path="x"), Item(id="a", path="y")], ".")


def test_item_with_a_field_of_the_wrong_type_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="item 'a', fold: 'two' is no int32"):
        Manifest.from_items([Item(id="a", path="x", fold="two")], ".")  # type: ignore[arg-type]


def test_extra_values_of_mixed_types_become_text() -> None:
    made = Manifest.from_items([Item(id=str(x), path="p", extra={"x": x}) for x in (1, "a", 2**70)], ".")
    assert made.table["x"].to_pylist() == ["1", "a", str(2**70)]


def test_missing_group_becomes_the_item_itself(tmp_path: Path) -> None:
    made = read_table(table_with(group=["p1", None, ""]), tmp_path)
    assert [(item.group, item.group_source) for item in made] == [("p1", "stated"), ("i1", "image"), ("i2", "image")]


@pytest.mark.parametrize("path", ["../out.png", "/etc/passwd", "a/../../out.png"])
def test_path_that_leads_out_of_the_root_is_refused(path: str, tmp_path: Path) -> None:
    made = Manifest.from_items([Item(id="a", path=path)], tmp_path)
    with pytest.raises(InputError, match="leads out of"):
        made.path_of(made[0])


def test_digest_depends_on_rows_and_not_on_root_or_facts(tmp_path: Path) -> None:
    one = Manifest.from_items([FULL, BARE], tmp_path, {"note": 1})
    two = Manifest.from_items([FULL, BARE], tmp_path / "moved")
    assert one.digest == two.digest
    assert one.digest != Manifest.from_items([BARE, FULL], tmp_path).digest
    assert one.digest != Manifest.from_items([FULL, Item(id="d/b", path="other.png")], tmp_path).digest


def test_digest_survives_writing_and_reading(tmp_path: Path) -> None:
    made = Manifest.from_items([FULL, BARE], tmp_path)
    made.write(tmp_path / "m.parquet")
    assert Manifest.read(tmp_path / "m.parquet").digest == made.digest


def test_digest_is_the_same_in_every_version() -> None:
    made = Manifest.from_items([Item(id="a", path="a.png", label="x", mpp=0.5)], "/somewhere")
    assert made.digest == "0fbba4a8c73553527b06a66b4ddac667574650fab49f60030571a49a1f5c0c12"


def test_items_can_be_counted_and_indexed_from_both_ends() -> None:
    made = Manifest.from_items([Item(id=name, path="p") for name in "abc"], ".")
    assert (len(made), made[0].id, made[-1].id) == (3, "a", "c")
    with pytest.raises(IndexError):
        made[3]
