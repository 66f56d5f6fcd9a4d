"""Snapshots: an index in one file, with a checksum for everything in it.

A plain tar. Its first member, `snapshot.json`, names every other one with size and SHA-256; what is not named there,
or is no plain file of its own, is refused before anything is written.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from histoseek.errors import DamagedError, InputError, StorageError
from histoseek.index.about import FILE, About
from histoseek.index.index import Index
from histoseek.items import sha256_of, written_whole
from histoseek.items.files import flush_to_disk, is_full, local_path
from histoseek.stores import LanceStore

TRIES = 5
LIST = "snapshot.json"
FORMAT = 1
_MOST_FILES = 1_000_000
_MOST_LIST_BYTES = 256 * 1024**2
_BLOCK = 8 * 1024**2


def write_snapshot(path: str | Path, out: str | Path) -> int:
    """Write the index at `path` into the file `out`, whole or not at all, and return the number of its files.

    Writers wait meanwhile. What is derived (fast copies, codes) is left out and made anew after `restore`.

    Raises:
        InputError: there is no index, or `out` is there already.
        DamagedError: the index is damaged.
    """
    index, target = Index.open(local_path(path)), local_path(out)
    if target.exists():
        raise InputError(f"{target} is there already; choose another file")
    store = LanceStore(index.path)
    for _ in range(TRIES):
        store.compact()  # the first format gets its checksums, and nothing that was removed is kept
        with store.locked():
            if store.is_tidy:  # else somebody wrote between the two
                return _write_tar(index, store, target)
    raise StorageError(f"{index.path} is written to all the time; try again when its writers are done")


def _write_tar(index: Index, store: LanceStore, target: Path) -> int:
    with written_whole(target) as draft:
        wrong = store.damaged_files()
        if wrong:
            raise DamagedError(f"{index.path}: {wrong[0]} is not what was stored; nothing was written")
        names = [name for name in _names(index.path) if (index.path / name).is_file()]
        files = {name: _about(index.path / name) for name in names}
        text = json.dumps({"format": FORMAT, "files": files}, indent=1).encode()
        with tarfile.open(draft, "w") as archive:
            _add(archive, LIST, len(text), io.BytesIO(text))
            for name in names:
                with (index.path / name).open("rb") as stream:
                    _add(archive, name, files[name][0], stream)
    return len(names)


def restore_snapshot(snapshot: str | Path, out: str | Path) -> Index:
    """Bring a snapshot back as the index folder `out`, which appears whole or not at all.

    Raises:
        InputError: `out` is there already, or there is no file `snapshot`.
        DamagedError: the file is no snapshot, not whole, or holds what does not belong in one.
    """
    source, home = local_path(snapshot), local_path(out)
    if not source.is_file():
        raise InputError(f"there is no snapshot {source}")
    if home.exists():
        raise InputError(f"{home} is there already; choose another --out")
    home.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=home.parent, prefix=f".{home.name}."))
    try:
        try:
            with tarfile.open(source, "r:") as archive:
                _unpack(archive, draft, source)
        except (tarfile.TarError, OSError, EOFError, UnicodeError) as error:
            if isinstance(error, OSError) and is_full(error):
                raise StorageError(f"cannot restore into {home}: the disk is full; nothing was restored") from error
            raise _damaged(source, str(error)) from error
        About.read(draft / FILE)
        draft.chmod(0o755)
        draft.rename(home)
        flush_to_disk(home.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Index.open(home)


def _names(home: Path) -> Iterator[str]:
    """The files of an index that are not derived."""
    yield FILE
    yield "skipped.csv"
    for folder in ("items.lance", "ledger"):
        yield from sorted(path.relative_to(home).as_posix() for path in (home / folder).rglob("*") if path.is_file())


def _about(path: Path) -> tuple[int, str]:
    return path.stat().st_size, sha256_of(path)


def _add(archive: tarfile.TarFile, name: str, size: int, stream: IO[bytes]) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    archive.addfile(member, stream)


def _unpack(archive: tarfile.TarFile, draft: Path, source: Path) -> None:
    files = _list(archive, source)
    left = dict(files)
    for nth, member in enumerate(archive):
        if nth == 0:  # the list itself
            continue
        if member.name not in left or not member.isreg() or member.issparse():
            raise _damaged(source, f"{member.name!r} is not in its list, or there twice, or no plain file")
        size, digest = left.pop(member.name)
        if member.size != size:
            raise _damaged(source, f"{member.name!r} has another size than its list says")
        _write(archive.extractfile(member), draft / member.name, digest, source)
    if left:
        raise _damaged(source, f"{len(left)} files are missing, the first {next(iter(left))!r}")


def _list(archive: tarfile.TarFile, source: Path) -> dict[str, tuple[int, str]]:
    first = archive.next()
    if first is None or first.name != LIST or not first.isreg() or first.size > _MOST_LIST_BYTES:
        raise _damaged(source, f"it does not begin with {LIST}")
    try:
        stream = archive.extractfile(first)
        kept = json.loads(stream.read() if stream else b"")
        files = {str(name): (int(size), str(digest)) for name, (size, digest) in kept["files"].items()}
        known = kept["format"] == FORMAT
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise _damaged(source, f"{LIST} cannot be read") from error
    if any(size < 0 for size, _ in files.values()):
        raise _damaged(source, f"{LIST} cannot be read")
    if not known or len(files) > _MOST_FILES:
        raise _damaged(source, f"{LIST} is of another format")
    for name in files:
        _check_name(name, source)
    return files


def _check_name(name: str, source: Path) -> None:
    """Only the places that an index has, spelled plainly."""
    parts = name.split("/")
    plain = PurePosixPath(name).as_posix() == name and "\\" not in name and ":" not in name and "\0" not in name
    if not plain or ".." in parts or not all(parts) or (parts[0] not in ("items.lance", "ledger") and len(parts) > 1):
        raise _damaged(source, f"it names {name!r}, which is no place in an index")
    if len(parts) == 1 and name not in (FILE, "skipped.csv"):
        raise _damaged(source, f"it names {name!r}, which is no place in an index")


def _write(stream: IO[bytes] | None, path: Path, digest: str, source: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    hasher = hashlib.sha256()
    with path.open("xb") as out:
        while stream is not None and (block := stream.read(_BLOCK)):
            hasher.update(block)
            out.write(block)
    if hasher.hexdigest() != digest:
        raise _damaged(source, f"{path.name!r} has another checksum than its list says")
    flush_to_disk(path)


def _damaged(source: Path, reason: str) -> DamagedError:
    return DamagedError(f"{source} is no whole snapshot: {reason}; nothing was restored")
