"""Verifying an index, and its later life on the command line."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histoseek.cli import main
from histoseek.encoders import load_encoder
from histoseek.errors import DamagedError
from histoseek.index import Index, Removal
from histoseek.items import Manifest
from tests.conftest import TinyEncoder

RED = np.full((16, 16, 3), (200, 40, 40), dtype=np.uint8)


@pytest.fixture
def index(archive: Manifest, tiny: TinyEncoder, tmp_path: Path) -> Index:
    return Index.build(archive, tiny, tmp_path / "x.index")


def again(index: Index, tiny: TinyEncoder) -> Index:
    return Index.open(index.path, tiny)


def vector(index: Index, name: str) -> np.ndarray[Any, Any]:
    return index.rows.vectors(index.rows_of([name]))[0]


def damage(path: Path, at: float = 0.5) -> None:
    raw = bytearray(path.read_bytes())
    raw[int(at * (len(raw) - 1))] ^= 4
    path.write_bytes(raw)


def test_a_sound_index_is_verified(index: Index) -> None:
    found = index.verify()
    assert (found.n_rows, found.damage, found.remarks) == (36, (), ())
    assert found.n_files >= 3


def test_verify_names_the_file_and_the_row(index: Index) -> None:
    data = next((index.path / "items.lance" / "data").iterdir())
    raw = data.read_bytes()
    at = raw.find(vector(index, "toy/p0_1").tobytes())
    assert at > 0
    data.write_bytes(raw[: at + 5] + bytes([raw[at + 5] ^ 1]) + raw[at + 6 :])
    told = index.verify().damage
    assert any(data.name in line for line in told)
    assert any("toy/p0_1" in line for line in told)
    assert not any("toy/p0_2" in line for line in told)


@pytest.mark.parametrize("pattern", ["items.lance/data/*", "items.lance/_versions/*.manifest", "ledger/*.json"])
@pytest.mark.parametrize("harm", ["flipped", "emptied", "gone"])
def test_verify_tells_damage_and_never_raises(index: Index, pattern: str, harm: str) -> None:
    index.remove(Removal(items=["toy/p0_0"]))
    path = max(index.path.glob(pattern), key=lambda path: path.stat().st_mtime_ns)
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(b"") if harm == "emptied" else damage(path)
    told = Index.open(index.path).verify()
    assert told.damage or ("ledger" in pattern and harm == "gone" and "counts 35 items" in told.remarks[0])


def test_rows_of_a_damaged_file_are_removed_and_added_again(index: Index, archive: Manifest, tiny: TinyEncoder) -> None:
    data = next((index.path / "items.lance" / "data").iterdir())
    raw = data.read_bytes()
    at = raw.find(vector(index, "toy/p0_1").tobytes())
    data.write_bytes(raw[: at + 5] + bytes([raw[at + 5] ^ 1]) + raw[at + 6 :])
    with pytest.raises(DamagedError, match="toy/p0_1"):
        index.compact()
    with pytest.raises(DamagedError):  # it is removed, and what is left is of a damaged file still
        index.remove(Removal(items=["toy/p0_1"]))
    index.compact()
    assert index.verify().damage == ()
    assert again(index, tiny).add(archive).n_new == 1


def test_nothing_is_built_upon_a_damaged_list_of_removed_rows(index: Index, archive: Manifest) -> None:
    index.remove(Removal(items=["toy/p0_0"]))
    damage(next((index.path / "items.lance" / "_deletions").iterdir()))
    for act in (index.compact, lambda: index.remove(Removal(items=["toy/p0_1"])), lambda: index.add(archive)):
        with pytest.raises(DamagedError):
            act()


# the command line


def run(*arguments: str | Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    told = capsys.readouterr()
    return int(ended.value.code or 0), told.out, told.err


@pytest.fixture
def home(tmp_path: Path, archive: Manifest) -> Iterator[Path]:
    archive.write(tmp_path / "m.parquet")
    Index.build(archive.where("split = 'train'"), load_encoder("color"), tmp_path / "x.index")
    yield tmp_path


def test_the_verbs_tell_what_they_did(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = home / "x.index"
    code, out, _ = run("index", "add", x, home / "m.parquet", capsys=capsys)
    assert (code, "12 new items" in out, "24 as they were; 36 items in all" in out) == (0, True, True)
    code, out, _ = run("index", "add", x, home / "m.parquet", capsys=capsys)
    assert (code, "0 new items" in out) == (0, True)
    code, out, _ = run("index", "remove", x, "--patient", "p1", "--item", "toy/p0_0", "--dry-run", capsys=capsys)
    assert (code, out) == (0, "5 items would be removed, 31 left\n")
    code, out, err = run("index", "remove", x, "--patient", "p1", "--item", "toy/p0_0", capsys=capsys)
    assert (code, out) == (0, "5 items removed, 31 left\n")
    assert "index compact" in err
    code, out, _ = run("index", "remove", x, "--slide", "p2s0", "--where", "group = 'p3'", capsys=capsys)
    assert (code, out) == (0, "6 items removed, 25 left\n")
    assert run("index", "compact", x, capsys=capsys)[:2] == (0, "compacted: 25 items\n")
    assert run("index", "compact", x, capsys=capsys)[:2] == (0, "nothing to do: 25 items\n")
    code, out, _ = run("index", "verify", x, capsys=capsys)
    assert (code, out.startswith("25 rows and ")) == (0, True)


def test_verify_ends_with_4_on_damage(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(next((home / "x.index" / "items.lance" / "data").iterdir()))
    code, out, err = run("index", "verify", home / "x.index", capsys=capsys)
    assert (code, "is not what was stored" in out, "is damaged" in err) == (4, True, True)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("remove", "x.index"), "nothing is named"),
        (("remove", "x.index", "--item", "none"), "no item 'none'"),
        (("remove", "nowhere", "--item", "none"), "there is no index"),
        (("add", "x.index", "none.parquet"), "no manifest"),
        (("compact", "nowhere"), "there is no index"),
        (("verify", "nowhere"), "there is no index"),
    ],
)
def test_wrong_use_gets_one_sentence(
    home: Path, arguments: tuple[str, ...], sentence: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(home)
    code, out, err = run("index", *arguments, capsys=capsys)
    assert (code, out, sentence in err) == (2, "", True)


def test_skipped_items_end_with_1(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "pictures" / "bad.png").write_bytes(b"no picture")
    with (home / "pictures" / "more.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["id", "path"], ["bad", "bad.png"]])
    code, _, err = run("index", "add", home / "x.index", home / "pictures" / "more.csv", capsys=capsys)
    assert (code, "1 image skipped" in err) == (1, True)
