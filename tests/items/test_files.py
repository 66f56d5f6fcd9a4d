from __future__ import annotations

import csv
import stat
from pathlib import Path

import pytest

from histoseek.errors import InputError
from histoseek.items import Skipped, sha256_of, write_skipped, written_whole


def test_written_file_has_its_content_and_usual_rights(tmp_path: Path) -> None:
    with written_whole(tmp_path / "new" / "a.txt") as draft:
        draft.write_text("whole")
    assert (tmp_path / "new" / "a.txt").read_text() == "whole"
    (tmp_path / "plain").touch()
    assert stat.S_IMODE((tmp_path / "new" / "a.txt").stat().st_mode) == stat.S_IMODE(
        (tmp_path / "plain").stat().st_mode
    )


def test_failure_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")

    def write_half() -> None:
        with written_whole(tmp_path / "a.txt") as draft:
            draft.write_text("hal")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        write_half()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with written_whole(tmp_path / "a.txt") as draft:
        draft.write_text("new")
        assert (tmp_path / "a.txt").read_text() == "old"
    assert (tmp_path / "a.txt").read_text() == "new"


def test_folder_that_cannot_be_made_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"), written_whole(tmp_path / "file" / "a.txt"):
        pass


def test_skipped_list_quotes_what_csv_needs_quoted(tmp_path: Path) -> None:
    rows = [Skipped("a,b", 'he said "no"\nand left')]
    write_skipped(tmp_path / "skipped.csv", rows)
    with (tmp_path / "skipped.csv").open(newline="", encoding="utf-8") as stream:
        assert list(csv.reader(stream)) == [["id", "reason"], list(rows[0])]


def test_empty_skipped_list_is_written_too(tmp_path: Path) -> None:
    write_skipped(tmp_path / "skipped.csv", [])
    assert (tmp_path / "skipped.csv").read_text().strip() == "id,reason"


def test_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
