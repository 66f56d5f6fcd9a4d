"""Files that are written whole or not at all, and the list of what was skipped."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from histoseek.errors import InputError, StorageError

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""How an address begins, also as a `Path`, which makes one slash of two; a drive has but one letter."""


class Skipped(NamedTuple):
    """Something that bulk work left out, and why."""

    id: str
    reason: str


def local_path(place: str | Path) -> Path:
    """A file or folder of this machine.

    Raises:
        InputError: it is the address of a server or of object storage.
    """
    if _ADDRESS.match(str(place)):
        raise InputError(f"{place} is an address; name a file or folder of this machine")
    return Path(place)


def user_cache() -> Path:
    """The folder for what can be made again; `HISTOSEEK_CACHE` names another place than the user's own cache."""
    base = os.environ.get("HISTOSEEK_CACHE") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "histoseek"


@contextmanager
def written_whole(path: str | Path, mode: int | None = None) -> Iterator[Path]:
    """Give a temporary path beside `path`; on a clean exit its content is flushed and takes the name `path`.

    `mode` are the rights that it has by then, those of any new file unless stated; nobody else reads it before.

    Raises:
        InputError: the folder cannot be written to, or `path` is an address.
        StorageError: the disk is full.
    """
    target = local_path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=target.suffix)
    except OSError as error:
        if is_full(error):
            raise _no_room(target) from error
        raise InputError(f"cannot write {target}: {error.strerror}; choose another place with --out") from error
    os.close(handle)
    draft = Path(name)
    try:
        yield draft
        draft.chmod(0o666 & ~_umask() if mode is None else mode)
        flush_to_disk(draft)
        draft.replace(target)
        flush_to_disk(target.parent)
    except OSError as error:
        if is_full(error):
            raise _no_room(target) from error
        raise
    finally:
        draft.unlink(missing_ok=True)


def is_full(error: OSError) -> bool:
    """Whether a file could not be written because there is no room: the disk, a quota or a limit is reached."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def flush_to_disk(path: Path) -> None:
    """Make a file's content, or a folder's list of names, outlive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of(path: Path) -> str:
    """Digest of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_skipped(path: str | Path, skipped: Iterable[Skipped]) -> None:
    """Write `skipped.csv`, also when it has no rows: an empty list is a statement."""
    with written_whole(path) as draft:
        draft.write_text(skipped_text(skipped), encoding="utf-8", newline="")


def read_skipped(path: str | Path) -> list[Skipped]:
    """Read a `skipped.csv`."""
    with Path(path).open(newline="", encoding="utf-8") as stream:
        return skipped_of(stream.read())


def skipped_text(skipped: Iterable[Skipped]) -> str:
    """What `skipped.csv` holds."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(Skipped._fields)
    writer.writerows(skipped)
    return stream.getvalue()


def skipped_of(text: str) -> list[Skipped]:
    """What the text of a `skipped.csv` says."""
    return [Skipped(row["id"], row["reason"]) for row in csv.DictReader(io.StringIO(text, newline=""))]


def _no_room(target: Path) -> StorageError:
    return StorageError(f"cannot write {target}: the disk is full; what was there before is kept: make room, try again")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
