"""Addresses of servers and of object storage, where a verb writes files of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from histoseek.cli import main
from histoseek.errors import InputError
from histoseek.index import Index
from histoseek.items import Manifest
from histoseek.items.files import local_path, written_whole
from tests.conftest import TinyEncoder

S3 = "s3://bucket/x"

WRITING = [
    ("prepare", "folder", ".", "--out", f"{S3}.parquet"),
    ("prepare", "folder", ".", "--out", "m.parquet", "--write-tiles", S3),
    ("train", "m.parquet", "--out", S3),
    ("index", "m.parquet", "--out", "milvus://server:19530/x"),
    ("index", "m.parquet", "--out", "gs://bucket/x.index"),
    ("import", ".", "--encoder", "uni_v1", "--out", "milvus://server:19530/x"),
    ("index", "snapshot", "x.index", "--out", S3),
    ("index", "restore", "x.snapshot", "--out", S3),
    ("index", "snapshot", f"{S3}.index", "--out", "x.snapshot"),
    ("search", "x.index", "--item", "a", "--sheet", f"{S3}.png"),
    ("search", "x.index", "--item", "a", "--csv", f"{S3}.csv"),
    ("search", "x.index", "--item", "a", "--geojson", S3),
    ("heat", "x.index", "slide", "--text", "a", "--out", f"{S3}.png"),
    ("export", "x.index", "--out", f"{S3}.parquet"),
    ("evaluate", "x.index", "--out", S3),
    ("compare", "r", "--out", f"{S3}.md"),
    ("encoders", "export", "color", "--out", S3),
    ("demo", "--out", S3),
]


@pytest.mark.parametrize("arguments", WRITING, ids=" ".join)
def test_an_address_is_refused_before_any_work(
    arguments: tuple[str, ...],
    archive: Manifest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    archive.write(tmp_path / "m.parquet")
    (tmp_path / "x.snapshot").touch()
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    told = capsys.readouterr()
    address = next(argument for argument in arguments if "://" in argument)
    assert ended.value.code == 2, told.err
    assert told.err.endswith(f"histoseek: {address} is an address; name a file or folder of this machine\n")
    assert sorted(tmp_path.iterdir()) == before


def test_a_library_call_is_refused_too(archive: Manifest, tiny: TinyEncoder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="milvus://host:1/x is an address"):
        Index.build(archive, tiny, "milvus://host:1/x")
    with pytest.raises(InputError, match="is an address"), written_whole(Path("s3://bucket/x.csv")):
        pass


@pytest.mark.parametrize("name", ["x.index", "/data/x", "C:/data/x", "a:b/x", "x.index/s3:/y", ""])
def test_a_path_is_none(name: str) -> None:
    assert local_path(name) == Path(name)
