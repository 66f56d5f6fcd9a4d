"""An index on object storage through its whole life, as Python and as commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from histoseek.cli import app
from histoseek.errors import DamagedError, InputError
from histoseek.index import Index, Removal, restore_snapshot, write_snapshot
from histoseek.index.describing import describe_index
from histoseek.index.importing import import_features
from histoseek.items import Manifest
from histoseek.stores.places import delete, list_names, read_text, write_text
from tests.index.test_importing import TRIDENT, write_h5
from tests.stores.s3_server import S3, s3

__all__ = ["s3"]


@pytest.fixture
def address(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HISTOSEEK_CACHE", str(tmp_path / "cache"))
    return f"{s3.uri}/{tmp_path.name}/x.index"


def test_it_answers_what_a_folder_answers_and_lives_as_one(
    archive: Manifest, tiny: Any, address: str, tmp_path: Path
) -> None:
    local, built = Index.build(archive, tiny, tmp_path / "x.index"), Index.build(archive, tiny, address)
    assert built.address == address
    assert built.path.is_relative_to(tmp_path / "cache")
    assert list_names(address) == ["index.json", "items.lance", "skipped.csv"]
    opened = Index.open(address, tiny)
    asked = [index.search(item="toy/p0_0", k=5) for index in (local, opened)]
    assert [(hit.item, hit.score) for hit in asked[0]] == [(hit.item, hit.score) for hit in asked[1]]
    assert built.remove(Removal(patients=["p1"])) == [f"toy/p1_{n}" for n in range(4)]
    assert "toy/p1_0" not in {hit.item.id for hit in opened.search(item="toy/p0_0", k=99)}
    assert (opened.add(archive).n_new, opened.add(archive).n_same) == (4, 36)
    assert opened.compact() and not opened.compact()
    found = Index.open(address, tiny).verify()
    assert (found.n_rows, found.damage, found.remarks) == (36, (), ())
    assert Index.open(address).about.n_items == 36


def test_an_unfinished_one_is_said_and_gone_on_with(archive: Manifest, tiny: Any, address: str, tmp_path: Path) -> None:
    (archive.root / "p0_0.png").write_bytes(b"no picture")
    built = Index.build(archive, tiny, address)
    assert "toy/p0_0" in read_text(f"{address}/skipped.csv")
    with pytest.raises(InputError, match=r"s3://.* holds an index already"):
        Index.build(archive, tiny, address)
    write_text(f"{address}/building.json", read_text(f"{address}/index.json"))
    delete(f"{address}/index.json")
    built.store.remove(["toy/p1_0", "toy/p1_1"])
    with pytest.raises(InputError, match=r"the index s3://.* is unfinished"):
        Index.open(address)
    tiny.n_embedded = 0
    assert len(Index.build(archive, tiny, address, resume=True)) == 35
    assert tiny.n_embedded == 2
    assert "building.json" not in list_names(address)


def test_what_is_not_there_or_cannot_be_is_said(address: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no index at s3://"):
        Index.open(address)
    for attempt in (lambda: write_snapshot(address, tmp_path / "x"), lambda: restore_snapshot(tmp_path / "x", address)):
        with pytest.raises(InputError, match=r"s3://.* is an address; name a file or folder of this machine"):
            attempt()
    write_text(f"{address}/index.json", "{}")
    with pytest.raises(DamagedError, match=r"s3://.*/index\.json is damaged"):
        Index.open(address)


def test_none_readable_leaves_nothing_but_the_reasons(archive: Manifest, tiny: Any, address: str) -> None:
    for path in archive.root.glob("*.png"):
        path.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"none of 36 images could be read; .*s3://.*/skipped\.csv"):
        Index.build(archive, tiny, address)
    assert set(list_names(address)) <= {"skipped.csv", "items.lance"}


def test_commands_take_the_address(archive: Manifest, address: str, tmp_path: Path) -> None:
    manifest = tmp_path / "m.parquet"
    archive.write(manifest)
    run = CliRunner().invoke
    made = run(app, ["index", str(manifest), "--encoder", "color", "--out", address])
    assert made.exit_code == 0, made.output
    assert "36 items" in made.stdout
    found = run(app, ["search", address, "--item", "toy/p0_0", "-k", "3", "--json"])
    assert found.stdout.count("\n") == 3
    told = json.loads(run(app, ["info", address, "--json"]).stdout)
    assert (told["items"], told["dim"], told["first id"]) == (36, 240, "toy/p0_0")
    assert run(app, ["index", "remove", address, "--patient", "p1"]).stdout == "4 items removed, 32 left\n"
    assert run(app, ["index", "add", address, str(manifest)]).stdout.startswith("4 new items")
    assert run(app, ["index", "compact", address]).stdout == "compacted: 36 items\n"
    assert run(app, ["index", "verify", address]).stdout == "36 rows are what was stored\n"


def test_features_are_imported_to_an_address(address: str, tmp_path: Path) -> None:
    write_h5(tmp_path / "f/S1.h5", [(0, 0), (512, 0)], attrs=TRIDENT)
    write_h5(tmp_path / "f/S2.h5", [(0, 512)], attrs=TRIDENT)
    given = ["import", str(tmp_path / "f"), "--encoder", "uni_v1", "--out", address]
    made = CliRunner().invoke(app, given)
    assert made.exit_code == 0, made.output
    assert list_names(address) == ["index.json", "items.lance", "skipped.csv"]
    import_features(tmp_path / "f", "uni_v1", tmp_path / "x.index")
    asked = [
        Index.open(place).search(item="features/S1#0,0,512,512").rows() for place in (address, tmp_path / "x.index")
    ]
    assert asked[0] == asked[1] and len(asked[0]) == 1
    with pytest.raises(InputError, match=r"s3://.* is there already"):
        import_features(tmp_path / "f", "uni_v1", address)
    assert len(Index.open(address)) == 3


def test_it_is_described_as_a_folder_is_without_a_copy_of_its_vectors(
    archive: Manifest, tiny: Any, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local, built = Index.build(archive, tiny, tmp_path / "x.index"), Index.build(archive, tiny, address)
    monkeypatch.setenv("HISTOSEEK_CACHE", str(tmp_path / "another machine"))
    told, wanted = describe_index(Index.open(built.address)), describe_index(local)
    assert told | {"created": ""} == wanted | {"created": ""}
    assert not (tmp_path / "another machine").exists()
    local.remove(Removal(where="path IS NOT NULL"))
    built.remove(Removal(where="path IS NOT NULL"))
    assert describe_index(Index.open(address))["first id"] == describe_index(local)["first id"] == ""


def test_an_import_that_is_stopped_leaves_nothing_at_the_address(address: str, tmp_path: Path) -> None:
    write_h5(tmp_path / "f/S1.h5", [(0, 0)], attrs=TRIDENT)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_features(tmp_path / "f", "uni_v1", address, progress=stop)
    assert list_names(address) == []
    assert import_features(tmp_path / "f", "uni_v1", address).about.n_items == 1
