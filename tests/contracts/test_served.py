"""An archive answers the same, and changes the same, in its folder and on a Milvus server."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from histoseek.cli import app
from histoseek.errors import FingerprintError, InputError, MissingExtraError, StorageError
from histoseek.index import Example, Index, Removal
from histoseek.index.describing import describe_index
from histoseek.items import Manifest
from tests.conftest import TinyEncoder, write_archive

pytest.importorskip("pymilvus", reason="the cluster extra is not installed")


SERVER = pytest.param("server", marks=pytest.mark.slow)


def place_of(kind: str, folder: Path, request: pytest.FixtureRequest) -> str:
    """Where a copy of the archive goes."""
    if kind == "folder":
        return str(folder / "copy.index")
    if kind == "lite":
        pytest.importorskip("milvus_lite", reason="milvus-lite is not installed")
        return f"milvus-lite://{folder / 'lite.db'}/tiles"
    return f"{request.getfixturevalue('milvus_server')}/c{uuid4().hex}"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return write_archive(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def tiny() -> TinyEncoder:
    return TinyEncoder()


@pytest.fixture
def index(archive: Manifest, tiny: Any, tmp_path: Path) -> Index:
    return Index.build(archive, tiny, tmp_path / "x.index")


@pytest.fixture(scope="module", params=["folder", "lite", SERVER])
def copy(request: pytest.FixtureRequest, archive: Manifest, tiny: Any, tmp_path_factory: Any) -> Index:
    """A copy of the archive; what a test changes it puts back: making a collection takes a server some seconds."""
    folder = tmp_path_factory.mktemp("copy")
    place = place_of(request.param, folder, request)
    if request.param == "folder":
        return Index.build(archive, tiny, place)
    assert Index.build(archive, tiny, folder / "x.index").push(place).recall == 1.0
    return Index.open(place, tiny)


@pytest.fixture(params=["lite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a copy of the archive shall go."""
    return place_of(request.param, tmp_path, request)


def found(index: Index, **asked: Any) -> list[tuple[str, float]]:
    return [(hit.item.id, round(hit.score, 5)) for hit in index.search(**asked)]


def test_the_same_is_found(index: Index, copy: Index, archive: Manifest) -> None:
    picture = archive.path_of(archive[5])
    questions: list[dict[str, Any]] = [
        {"image": picture},
        {"image": picture, "exclude_group": True},
        {"text": "blue"},
        {"item": "toy/p3_1"},
        {"item": "toy/p3_1", "exclude_group": False},
        {"examples": [Example("text", "red"), Example("item", "toy/p0_0", -0.5)]},
        {"text": "red", "where": "label != 'red' AND nth IN (1, 2)"},
        {"text": "red", "where": "label = 'nothing'"},
        {"text": "red", "where": "fold IS NULL AND mpp < 0.6"},
        {"text": "green", "per_group": 1},
        {"text": "green", "per_slide": 1, "k": 7},
        {"text": "green", "min_score": 0.5},
        {"text": "green", "k": 100},
        {"examples": [Example("vector", np.arange(32) - 10.5)]},
    ]
    for asked in questions:
        assert found(copy, **asked) == found(index, **asked), asked
    assert len(copy) == len(index) == 36


def test_wrong_questions_are_refused_alike(copy: Index) -> None:
    with pytest.raises(InputError, match="has no item 'toy/p99'"):
        copy.search(item="toy/p99")
    with pytest.raises(InputError, match="no column 'lable'; did you mean 'label'"):
        copy.search(text="red", where="lable = 'x'")
    with pytest.raises(InputError, match="32 finite numbers"):
        copy.search([Example("vector", np.ones(5))])


def test_hits_carry_all_columns(index: Index, copy: Index) -> None:
    assert copy.search(item="toy/p3_1").rows() == index.search(item="toy/p3_1").rows()


def test_what_is_removed_is_gone_at_once_and_comes_back_when_added(copy: Index, archive: Manifest, tiny: Any) -> None:
    other = Index.open(copy.address, tiny)
    before = found(other, item="toy/p3_1", exclude_group=False)
    removed = copy.remove(Removal(patients=["p4"], items=["toy/p5_0"]))
    assert sorted(removed) == ["toy/p4_0", "toy/p4_1", "toy/p4_2", "toy/p4_3", "toy/p5_0"]
    assert not {name for name, _ in found(other, text="red", k=36)} & set(removed)
    assert len(copy) == 31
    with pytest.raises(InputError, match="no patient 'p4'"):
        copy.remove(Removal(patients=["p4"]))
    added = copy.add(archive)
    assert (added.n_new, added.n_changed, added.n_same) == (5, 0, 31)
    assert sorted(found(other, item="toy/p3_1", exclude_group=False)) == sorted(before)
    assert (copy.add(archive).n_new, len(copy)) == (0, 36)


def test_another_encoder_is_refused(copy: Index) -> None:
    with pytest.raises(FingerprintError):
        Index.open(copy.address, TinyEncoder(weights="others"))


@pytest.mark.parametrize("place", ["lite", SERVER], indirect=True)
def test_a_push_that_was_cut_goes_on_and_the_copy_is_not_open_before(
    index: Index, place: str, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("histoseek.index.pushing.ROWS_AT_ONCE", 10)

    def stop(done: int, _: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.push(place, stop)
    with pytest.raises(InputError, match="not filled to its end"):
        Index.open(place, tiny)
    steps: list[int] = []
    pushed = index.push(place, lambda done, total: steps.append(done))
    assert pushed.n_sent < 36 and steps[-1] == 36
    assert found(Index.open(place, tiny), text="red", k=36) == found(index, text="red", k=36)


def test_a_push_brings_the_copy_up_to_date(index: Index, place: str, tiny: Any) -> None:
    index.push(place)
    index.remove(Removal(patients=["p1"]))
    assert index.push(place).n_removed == 4
    assert found(Index.open(place, tiny), text="red", k=36) == found(index, text="red", k=36)


def test_a_collection_of_another_index_is_not_written_into(
    index: Index, place: str, archive: Manifest, tmp_path: Path
) -> None:
    index.push(place)
    other = Index.build(archive, TinyEncoder(weights="others"), tmp_path / "other.index")
    with pytest.raises(InputError, match="from another index"):
        other.push(place)


def test_a_copy_that_answers_wrongly_is_not_opened(
    index: Index, place: str, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from histoseek.stores.milvus import MilvusStore

    real = MilvusStore.add
    monkeypatch.setattr(MilvusStore, "add", lambda store, rows: real(store, rows.slice(0, len(rows) // 2)))
    with pytest.raises(StorageError, match="holds 18 items and the index 36"):
        index.push(place)

    def mixed_up(store: MilvusStore, rows: pa.Table) -> None:
        at = rows.schema.get_field_index("vector")
        real(store, rows.set_column(at, rows.schema.field(at), rows["vector"].take(np.arange(len(rows))[::-1])))

    monkeypatch.setattr(MilvusStore, "add", mixed_up)
    with pytest.raises(StorageError, match="of the ten nearest"):
        index.push(place)
    with pytest.raises(InputError, match="not filled to its end"):
        Index.open(place, tiny)


def test_it_is_described_as_the_folder_is(index: Index, copy: Index) -> None:
    folder, other = describe_index(index), describe_index(copy)
    own = {"search", "version", "created"}
    assert {name: value for name, value in other.items() if name not in own} == {
        name: value for name, value in folder.items() if name not in own
    }
    if copy.server is not None:
        copy.remove(Removal(items=["toy/p0_0"]))
        changed = describe_index(copy)
        assert (changed["items"], changed["first id"]) == (35, "toy/p0_1")
        assert changed["version"] > other["version"]
        assert "by Milvus, recall@10 1.0000 measured on 36 items" in other["search"]


def test_info_tells_of_an_address(index: Index, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = CliRunner().invoke
    index.push(place)
    told = json.loads(run(app, ["info", place, "--json"]).stdout)
    assert (told["items"], told["dim"], told["first id"]) == (36, 32, "toy/p0_0")
    for address, sentence in (
        ("milvus://127.0.0.1:1/x", "no Milvus answers at milvus://127.0.0.1:1/x"),
        (place.replace("tiles", "other"), "there is no archive at milvus-lite://"),
        ("gs://bucket/x.index", "gs://bucket/x.index is an address"),
    ):
        with pytest.raises(InputError, match=sentence):
            run(app, ["info", address], catch_exceptions=False)
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'histoseek\[cluster\]'"):
        run(app, ["info", place], catch_exceptions=False)


def test_what_needs_the_folder_says_so(index: Index, place: str, tiny: Any) -> None:
    index.push(place)
    with pytest.raises(InputError, match="server's copy"):
        Index.open(place, tiny).compact()


@pytest.mark.parametrize("address", ["milvus://127.0.0.1:1/x", "milvus-lite:///no/such/folder/x.db/y"])
def test_no_server_is_one_sentence(address: str) -> None:
    with pytest.raises(InputError, match=r"milvus"):
        Index.open(address)
