"""Keys and sessions from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from histoseek.cli import main
from histoseek.index import Index
from histoseek.web.archive import Archive
from histoseek.web.keys import KeyFile
from histoseek.web.pseudonyms import secret_of
from histoseek.web.schemas import SearchIn
from histoseek.web.session_file import session_text
from tests.conftest import write_archive


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([*words])
    told = capsys.readouterr()
    return int(str(ended.value.code or 0)), told.out, told.err


def test_a_key_is_shown_once_listed_and_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "keys.json"
    code, out, err = run(capsys, "keys", "add", str(file), "--role", "write")
    text = out.strip()
    assert code == 0 and text.startswith("hsk_") and out.count("\n") == 1 and text not in err
    key = KeyFile(file).find(text)
    assert key is not None and key.role == "write"
    code, out, _ = run(capsys, "keys", "list", str(file), "--json")
    assert code == 0 and json.loads(out) == {"id": key.id, "role": "write", "created": key.created}
    assert run(capsys, "keys", "add", str(file), "--role", "god")[0] == 2
    assert run(capsys, "keys", "remove", str(file), "k-none")[0] == 2
    assert run(capsys, "keys", "remove", str(file), key.id)[0] == 0
    assert run(capsys, "keys", "list", str(tmp_path / "none.json"))[0] == 2


def test_an_audit_log_is_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "audit", "verify", str(tmp_path / "none.jsonl"))[0] == 2
    (tmp_path / "a.jsonl").write_text("")
    code, out, err = run(capsys, "audit", "verify", str(tmp_path / "a.jsonl"))
    assert code == 0 and out.strip() == "0" * 64 and "0 lines" in err
    (tmp_path / "a.jsonl").write_text("{}\n")
    assert run(capsys, "audit", "verify", str(tmp_path / "a.jsonl"))[0] == 4


def test_a_session_of_the_page_is_asked_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pictures").mkdir()
    index = Index.build(write_archive(tmp_path / "pictures"), "color", tmp_path / "x.index")
    archive = Archive(index, secret_of(index))
    question = SearchIn.model_validate({"examples": [{"item": archive.item_id(index.manifest[0])}], "k": 4})
    (tmp_path / "s.json").write_text(session_text(question, index))
    asked = ("search", str(tmp_path / "x.index"), "--session", str(tmp_path / "s.json"))
    code, out, _ = run(capsys, *asked, "--json", "--csv", str(tmp_path / "hits.csv"))
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [row["id"] for row in rows] == [hit.item.id for hit in archive.search(question)]
    assert len((tmp_path / "hits.csv").read_text().splitlines()) == 5
    code, _, told = run(capsys, *asked, "--text", "gland")
    assert code == 2 and "brings its own question" in told
    (tmp_path / "s.json").write_text("no session")
    assert run(capsys, *asked)[0] == 2
