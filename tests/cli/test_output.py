"""What reaches the terminal: names from anywhere, but no control characters; and grammar."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from histoseek.cli import main
from histoseek.cli.output import counted, printable, show_rows
from histoseek.evaluation import Report

ESCAPE = "a\x1b[31mX\x9b"


def ran(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def is_clean(text: str) -> bool:
    return not {"\x1b", "\x9b"} & set(text)


def test_printable_keeps_lines_and_spaces_only() -> None:
    assert printable("a\nb\u202fc\u3000é中") == "a\nb\u202fc\u3000é中"
    assert printable("\x1b\x07\r\x9b\u202e\udcff") == "\N{REPLACEMENT CHARACTER}" * 6


def test_prepare_shows_a_label_without_its_control_characters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label in (ESCAPE, "plain"):
        (tmp_path / "images" / label).mkdir(parents=True)
        Image.new("RGB", (40, 40)).save(tmp_path / "images" / label / "1.png")
    assert ran(["prepare", "folder", str(tmp_path / "images"), "--out", str(tmp_path / "m.parquet")]) == 0
    told = capsys.readouterr()
    assert "[31mX" in told.out
    assert is_clean(told.out + told.err)


def test_one_skipped_file_is_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes(b"\x89PNG")
    assert ran(["prepare", "folder", str(tmp_path), "--out", str(tmp_path / "m.parquet")]) == 1
    assert "1 file was skipped; the reason stands in" in capsys.readouterr().err
    assert [counted(number, "group") for number in (0, 1, 2)] == ["0 groups", "1 group", "2 groups"]


def test_a_complaint_has_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(["info", f"nothing{ESCAPE}"]) == 2
    told = capsys.readouterr().err
    assert "there is nothing at nothinga" in told
    assert is_clean(told)


def test_compare_shows_no_control_characters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Compared:
        def markdown(self) -> str:
            return f"| {ESCAPE} |\n| --- |"

    monkeypatch.setattr(Report, "read", lambda path: path)
    monkeypatch.setattr("histoseek.evaluation.named_reports", dict)
    monkeypatch.setattr("histoseek.evaluation.compare", lambda *_: Compared())
    assert ran(["compare", "report"]) == 0
    told = capsys.readouterr().out
    assert told.count("\n") == 2
    assert is_clean(told)


def test_json_keeps_every_value_and_shows_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"label": ESCAPE + "\n中\U000e0001", "path": "\udcff"}
    show_rows([row], as_json=True)
    told = capsys.readouterr().out
    assert is_clean(told)
    assert "中" in told
    assert json.loads(told) == row
