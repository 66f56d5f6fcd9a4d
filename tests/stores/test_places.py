"""Small files at a path and on object storage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from histoseek.errors import InputError, StorageError
from histoseek.stores.places import exists, is_remote, joined, list_names, read_text, write_text
from tests.stores.s3_server import S3, s3

__all__ = ["s3"]


@pytest.fixture(params=["folder", "object storage"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "x.index")
    server: S3 = request.getfixturevalue("s3")
    return f"{server.uri}/{tmp_path.name}/x.index"


def test_text_comes_back_and_is_replaced(home: str) -> None:
    place = joined(home, "index.json")
    assert not exists(place)
    write_text(place, json.dumps({"µm": 0.5}))
    write_text(place, json.dumps({"µm": 0.25}))
    assert exists(place)
    assert json.loads(read_text(place)) == {"µm": 0.25}


def test_names_are_listed(home: str) -> None:
    assert list_names(home) == []
    for name in ("b.json", "a.json"):
        write_text(joined(home, name), "{}")
    write_text(joined(home, "items.lance", "x"), "{}")
    assert list_names(home) == ["a.json", "b.json", "items.lance"]
    assert exists(joined(home, "items.lance"))


def test_what_is_not_there_is_said(home: str) -> None:
    with pytest.raises(InputError, match=r"there is no .*x\.index/index\.json"):
        read_text(joined(home, "index.json"))


def test_a_killed_writer_leaves_the_old_text(s3: S3) -> None:
    place = f"{s3.uri}/killed/index.json"
    write_text(place, "old")
    code = (
        "import os, sys; from histoseek.stores.places import _system; system, path = _system(sys.argv[1]);"
        "stream = system.open_output_stream(path); stream.write(b'new' * 1000); stream.flush(); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code, place], check=False)
    assert killed.returncode == -9
    assert read_text(place) == "old"


def test_a_server_that_is_away_is_said_in_one_line(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StorageError, match=r"cannot read s3://.*AWS_ENDPOINT_URL") as told:
        read_text(f"{s3.uri}/index.json")
    assert "\n" not in str(told.value)


def test_only_s3_addresses_are_remote(tmp_path: Path) -> None:
    assert is_remote("s3://bucket/x.index")
    assert not is_remote(tmp_path)
