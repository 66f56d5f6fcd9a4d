"""Snapshots: back as they were, and nothing hostile gets out of its target."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

from histoseek.cli import main
from histoseek.errors import DamagedError, HistoseekError, InputError
from histoseek.index import Index, Removal, restore_snapshot, write_snapshot
from histoseek.items import Manifest
from tests.conftest import TinyEncoder

RED = np.full((16, 16, 3), (200, 40, 40), dtype=np.uint8)


@pytest.fixture
def index(archive: Manifest, tiny: TinyEncoder, tmp_path: Path) -> Index:
    return Index.build(archive, tiny, tmp_path / "x.index")


@pytest.fixture
def snapshot(index: Index, tmp_path: Path) -> Path:
    write_snapshot(index.path, tmp_path / "x.snapshot")
    return tmp_path / "x.snapshot"


def found(index: Index, tiny: TinyEncoder) -> list[Any]:
    hits = Index.open(index.path, tiny).search(image=RED, k=99)
    return [(hit.item, hit.score) for hit in hits]


def names_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


SENTENCES = "is no whole snapshot|index.json is damaged"


def members_of(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def listed(files: dict[str, bytes], **more: Any) -> bytes:
    known = {name: [len(raw), hashlib.sha256(raw).hexdigest()] for name, raw in files.items()}
    return json.dumps({"format": 1, "files": {**known, **more}}).encode()


def member(name: str, raw: bytes = b"", kind: bytes = tarfile.REGTYPE, **more: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.type = len(raw), kind
    for key, value in more.items():
        setattr(info, key, value)
    return info, raw


def pack(path: Path, members: list[tuple[tarfile.TarInfo, bytes]], kind: int = tarfile.GNU_FORMAT) -> Path:
    """A tar of exactly these members, whatever they claim."""
    with path.open("wb") as stream:
        for info, raw in members:
            stream.write(info.tobuf(kind, "utf-8", "surrogateescape"))
            stream.write(raw + b"\0" * (-len(raw) % 512))
        stream.write(b"\0" * 1024)
    return path


def pax_tar(stream: IO[bytes]) -> tarfile.TarFile:
    return tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT)


def refused(path: Path, tmp_path: Path, match: str = "is no whole snapshot") -> None:
    """It is refused with a sentence, and the folder holds what it held before."""
    room = tmp_path / "room"
    room.mkdir(exist_ok=True)
    before = names_in(tmp_path)
    with pytest.raises(DamagedError, match=match):
        restore_snapshot(path, room / "y.index")
    assert names_in(tmp_path) == before


# there and back


def test_an_index_comes_back_as_it_was(index: Index, snapshot: Path, tiny: TinyEncoder, tmp_path: Path) -> None:
    before = found(index, tiny)
    restored = restore_snapshot(snapshot, tmp_path / "deep" / "y.index")
    assert found(restored, tiny) == before
    assert restored.about == Index.open(index.path).about
    assert restored.verify().damage == restored.verify().remarks == ()
    assert not [name for name in names_in(tmp_path / "deep") if name.startswith(".")]


def test_a_restored_index_lives_on(snapshot: Path, archive: Manifest, tiny: TinyEncoder, tmp_path: Path) -> None:
    restore_snapshot(snapshot, tmp_path / "y.index")
    index = Index.open(tmp_path / "y.index", tiny)
    index.remove(Removal(patients=["p1"]))
    assert index.add(archive).n_new == 4
    assert index.compact()
    assert len(restore_snapshot(snapshot, tmp_path / "z.index")) == 36


def test_what_was_removed_is_not_in_a_snapshot(index: Index, tiny: TinyEncoder, tmp_path: Path) -> None:
    secret = index.rows.vectors(index.rows_of(["toy/p1_1"]))[0].tobytes()
    index.remove(Removal(items=["toy/p1_1"]))
    write_snapshot(index.path, tmp_path / "x.snapshot")
    raw = (tmp_path / "x.snapshot").read_bytes()
    assert secret not in raw
    assert b"toy/p1_1" not in raw
    assert len(restore_snapshot(tmp_path / "x.snapshot", tmp_path / "y.index")) == 35


def test_nothing_is_overwritten(index: Index, snapshot: Path, tmp_path: Path) -> None:
    raw = snapshot.read_bytes()
    with pytest.raises(InputError, match="is there already"):
        write_snapshot(index.path, snapshot)
    with pytest.raises(InputError, match="is there already"):
        restore_snapshot(snapshot, index.path)
    with pytest.raises(InputError, match="there is no snapshot"):
        restore_snapshot(tmp_path / "none", tmp_path / "y.index")
    with pytest.raises(InputError, match="there is no index"):
        write_snapshot(tmp_path / "none", tmp_path / "y.snapshot")
    assert snapshot.read_bytes() == raw
    assert not (tmp_path / "y.snapshot").exists()


def test_a_damaged_index_gives_no_snapshot(index: Index, tmp_path: Path) -> None:
    index.compact()
    data = next((index.path / "items.lance" / "data").iterdir())
    raw = bytearray(data.read_bytes())
    raw[len(raw) // 3] ^= 1
    data.write_bytes(raw)
    with pytest.raises(DamagedError):
        write_snapshot(index.path, tmp_path / "x.snapshot")
    assert [path for path in tmp_path.iterdir() if "snapshot" in path.name] == []


def test_the_verbs(index: Index, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code in (
        (["snapshot", index.path, "--out", tmp_path / "a"], 0),
        (["restore", tmp_path / "a", "--out", tmp_path / "b.index"], 0),
        (["restore", tmp_path / "a", "--out", tmp_path / "b.index"], 2),
        (["restore", index.path / "index.json", "--out", tmp_path / "c.index"], 4),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["index", *map(str, arguments)])
        assert (ended.value.code or 0) == code
    told = capsys.readouterr()
    assert "36 items restored" in told.out
    assert "bug" not in told.err


# damaged ones


def test_cut_ones_are_refused(snapshot: Path, tmp_path: Path) -> None:
    whole = snapshot.read_bytes()
    for share in (0, 0.001, 0.02, 0.3, 0.5, 0.7):
        short = tmp_path / "cut"
        short.write_bytes(whole[: int(share * len(whole))])
        refused(short, tmp_path)


def test_flipped_bits_are_refused_or_harmless(snapshot: Path, index: Index, tiny: TinyEncoder, tmp_path: Path) -> None:
    whole = snapshot.read_bytes()
    truth = found(index, tiny)
    rng = np.random.default_rng(20_261_125)
    n_refused = 0
    for nth, place in enumerate(rng.choice(len(whole), 120, replace=False).tolist()):
        harmed = bytearray(whole)
        harmed[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "harmed").write_bytes(harmed)
        try:
            restored = restore_snapshot(tmp_path / "harmed", tmp_path / f"{nth}.index")
        except DamagedError:
            n_refused += 1
            assert not (tmp_path / f"{nth}.index").exists()
        else:
            assert found(restored, tiny) == truth
    assert n_refused > 40


# hostile ones

BODY = b"body"


@pytest.mark.parametrize(
    "name",
    [
        "/etc/histoseek", "../x", "items.lance/../../x", "items.lance/../index.json", "ledger/..", "..", ".", "",
        "./index.json", "items.lance//x", "items.lance/x/", "items.lance/./x", "items.lance\\..\\..\\x", "C:/x", "C:x",
        "items.lance/C:/x", "ledger/x:stream", "items.lance", "ledger", "other/x", "fast-2/fast.json", "writer.lock",
        "building.json", "index.json/x", "snapshot.json", "items.lance/a\0b", "INDEX.JSON", "items.lance/../ledger/x",
        "~/x", "items.lance/\udc80",
    ],
)  # fmt: skip
def test_odd_names_in_the_list_are_refused(name: str, tmp_path: Path) -> None:
    text = json.dumps({"format": 1, "files": {name: [len(BODY), hashlib.sha256(BODY).hexdigest()]}}).encode()
    refused(
        pack(tmp_path / "bad", [member("snapshot.json", text), member(name.replace("\0", "_"), BODY)]),
        tmp_path,
        SENTENCES,
    )


@pytest.mark.parametrize("name", ["/ABSOLUTE/evil", "../evil", "items.lance/../../evil", "evil", "fast-1/x"])
def test_members_that_the_list_does_not_name_are_refused(snapshot: Path, name: str, tmp_path: Path) -> None:
    outside = tmp_path / "evil"
    name = name.replace("/ABSOLUTE/evil", str(outside))
    files = members_of(snapshot)
    refused(pack(tmp_path / "bad", [*(member(*one) for one in files.items()), member(name, BODY)]), tmp_path)
    head = [member("snapshot.json", files["snapshot.json"]), member(name, BODY)]
    refused(pack(tmp_path / "bad", head), tmp_path)
    assert not outside.exists()


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE,
        tarfile.GNUTYPE_SPARSE, b"Z",
    ],
)  # fmt: skip
@pytest.mark.parametrize("target", ["/etc/passwd", "../../evil", "index.json"])
def test_links_and_devices_are_refused(kind: bytes, target: str, tmp_path: Path) -> None:
    name = "items.lance/x"
    for size, raw in ((0, b""), (len(BODY), BODY)):
        text = listed({}, **{name: [size, hashlib.sha256(raw).hexdigest()]})
        bad = member(name, raw, kind, linkname=target, devmajor=1, devminor=3)
        later = member("items.lance/x/y", BODY)
        refused(pack(tmp_path / "bad", [member("snapshot.json", text), bad, later]), tmp_path)


def test_a_link_before_its_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    text = listed({"ledger/x": BODY})
    link = member("ledger", kind=tarfile.SYMTYPE, linkname=str(tmp_path / "outside"))
    refused(pack(tmp_path / "bad", [member("snapshot.json", text), link, member("ledger/x", BODY)]), tmp_path)
    assert names_in(tmp_path / "outside") == set()


def test_sparse_members_in_their_newer_way_are_refused(tmp_path: Path) -> None:
    headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9999999999999"}
    raw = b"1\n0\n4\n" + b"\0" * 506 + BODY
    info = tarfile.TarInfo("items.lance/x")
    info.size, info.pax_headers = len(raw), {**headers, "GNU.sparse.name": "items.lance/x"}
    text = listed({}, **{"items.lance/x": [9999999999999, hashlib.sha256(BODY).hexdigest()]})
    with (
        (tmp_path / "bad").open("wb") as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as t,
    ):
        first, body = member("snapshot.json", text)
        t.addfile(first, io.BytesIO(body))
        t.addfile(info, io.BytesIO(raw))
    refused(tmp_path / "bad", tmp_path)


def test_names_hidden_in_extended_headers_are_the_ones_that_count(tmp_path: Path) -> None:
    info = tarfile.TarInfo("index.json")
    info.size, info.pax_headers = len(BODY), {"path": "../../evil"}
    with (
        (tmp_path / "bad").open("wb") as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as t,
    ):
        first, body = member("snapshot.json", listed({"index.json": BODY}))
        t.addfile(first, io.BytesIO(body))
        t.addfile(info, io.BytesIO(BODY))
    refused(tmp_path / "bad", tmp_path)


@pytest.mark.parametrize("name", ["index.json", "snapshot.json"])
def test_members_there_twice_are_refused(snapshot: Path, name: str, tmp_path: Path) -> None:
    files = members_of(snapshot)
    for extra in (files[name], BODY):
        whole = [member(*one) for one in files.items()]
        refused(pack(tmp_path / "bad", [*whole, member(name, extra)]), tmp_path)
        refused(pack(tmp_path / "bad", [*whole[:2], member(name, extra), *whole[2:]]), tmp_path)


@pytest.mark.parametrize("size", [-1, -512, -1024, 2**62])
@pytest.mark.parametrize("name", ["index.json", "snapshot.json"])
def test_sizes_that_cannot_be_are_refused_and_end(name: str, size: int, tmp_path: Path) -> None:
    """A member of negative size sends some readers of tars round and round."""
    text = listed({}, **{"index.json": [size, hashlib.sha256(b"").hexdigest()]})
    refused(pack(tmp_path / "bad", [member("snapshot.json", text), member(name, size=size)]), tmp_path)
    other = listed({"index.json": BODY})
    refused(pack(tmp_path / "bad", [member("snapshot.json", other), member(name, size=size)]), tmp_path)
    refused(pack(tmp_path / "bad", [member("snapshot.json", other, size=size)]), tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"no json", b"[]", b"5", b"null", b"{}", b'{"format": 1}', b'{"format": 1, "files": []}',
        b'{"format": 2, "files": {}}', b'{"format": "1", "files": {}}', b'{"format": 1, "files": {"index.json": 5}}',
        b'{"format": 1, "files": {"index.json": [1]}}', b'{"format": 1, "files": {"index.json": ["x", "y"]}}',
        b'{"format": 1, "files": {"index.json": [Infinity, ""]}}', b'{"format": 1, "files": {"index.json": [NaN, ""]}}',
        b'{"format": 1, "files": {"index.json": [1e999, ""]}}', b'{"format": 1, "files": {"index.json": [-4, ""]}}',
        b'{"format": 1, "files": {"index.json": [' + b"9" * 6000 + b', ""]}}', b"[" * 200_000, b'{"a":' * 200_000,
        b"\xff\xfe\x00", b'{"format": 1, "files": {}}', b'{"format": 1, "files": {"index.json": [null, null]}}',
    ],
    ids=lambda text: text[:40].decode("latin-1"),
)  # fmt: skip
def test_lists_that_are_none_are_refused(text: bytes, tmp_path: Path) -> None:
    refused(pack(tmp_path / "bad", [member("snapshot.json", text)]), tmp_path, SENTENCES)


def test_a_list_of_too_much_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("histoseek.index.snapshot._MOST_LIST_BYTES", 1000)
    refused(pack(tmp_path / "bad", [member("snapshot.json", b" " * 1001)]), tmp_path)
    monkeypatch.setattr("histoseek.index.snapshot._MOST_LIST_BYTES", 10**6)
    monkeypatch.setattr("histoseek.index.snapshot._MOST_FILES", 10)
    many = listed({f"items.lance/{nth}": b"" for nth in range(11)})
    refused(pack(tmp_path / "bad", [member("snapshot.json", many)]), tmp_path)


def test_other_files_are_no_snapshots(snapshot: Path, tmp_path: Path) -> None:
    files = members_of(snapshot)
    names = [name for name in files if name != "snapshot.json"]
    refused(pack(tmp_path / "bad", [member(name, files[name]) for name in names]), tmp_path)
    last = member("snapshot.json", files["snapshot.json"])
    refused(pack(tmp_path / "bad", [*(member(n, files[n]) for n in names), last]), tmp_path)
    refused(pack(tmp_path / "bad", []), tmp_path)
    (tmp_path / "bad").write_bytes(gzip.compress(snapshot.read_bytes()))  # could unpack to any size
    refused(tmp_path / "bad", tmp_path)
    for missing in names:
        rest = [member(name, raw) for name, raw in files.items() if name != missing]
        refused(pack(tmp_path / "bad", rest), tmp_path)


@pytest.mark.parametrize("seed", range(40))
def test_random_headers_never_write_outside(snapshot: Path, seed: int, tmp_path: Path) -> None:
    """Bits of the tar's own headers are flipped, many at a time."""
    raw = bytearray(snapshot.read_bytes())
    rng = np.random.default_rng(seed)
    with tarfile.open(snapshot) as archive:
        starts = [one.offset for one in archive]
    for start in rng.choice(starts, 2, replace=False).tolist():
        header = bytearray(raw[start : start + 512])
        for place in rng.choice(265, 3):
            header[place] = int(rng.integers(256))
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        raw[start : start + 512] = header
    (tmp_path / "bad").write_bytes(raw)
    room = tmp_path / "room"
    room.mkdir()
    before = names_in(tmp_path)
    try:
        restore_snapshot(tmp_path / "bad", room / "y.index")
    except HistoseekError:
        assert names_in(tmp_path) == before
    else:
        assert {name for name in names_in(tmp_path) if not name.startswith("room/y.index")} == before
