"""What a demo may take away from the folder it is pointed at: only what a demo wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from histoseek.cli import main
from histoseek.cli.demo import MARKER, WRITTEN, _make_room


def refused(out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--out", str(out)])
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("marker", [None, "mine"])
def test_a_folder_that_no_demo_marked_is_refused_and_kept(
    marker: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample" / "README.txt").write_text("my own")
    (tmp_path / "thesis.txt").write_text("years")
    if marker is not None:
        (tmp_path / MARKER).write_text(marker)
    assert "holds no earlier demo" in refused(tmp_path, capsys)
    assert (tmp_path / "sample" / "README.txt").read_text() == "my own"
    assert (tmp_path / "thesis.txt").read_text() == "years"


def test_a_file_is_refused_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "thesis.txt"
    file.write_text("years")
    assert "is a file" in refused(file, capsys)
    assert "cannot write into" in refused(file / "demo", capsys)
    assert file.read_text() == "years"


def test_only_what_a_demo_writes_is_replaced(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "demo", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "thesis.txt").write_text("years")
    out.mkdir()
    _make_room(out)
    for name in WRITTEN[1:]:
        (out / name).mkdir() if name in ("demo.index", "report") else (out / name).write_text("old")
    (out / "report" / "old.txt").write_text("old")
    (out / "sample").symlink_to(elsewhere)
    (out / "mine.png").write_text("mine")
    _make_room(out)
    assert {path.name for path in out.iterdir()} == {MARKER, "mine.png"}
    assert (elsewhere / "thesis.txt").read_text() == "years"
