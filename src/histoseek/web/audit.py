"""The audit log: one line of JSON for everything that was asked, each holding the hash of the line before it.

A line says when, by which key, what, about which pseudonymous ids, with which digest of the query, and in which version
of the archive. It holds no pixels, no words and no names. It is on the disk before the answer leaves.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from filelock import FileLock

from histoseek.errors import DamagedError, InputError, StorageError

FIRST = "0" * 64
"""What stands for the line before the first one."""

MOST_IDS = 400
"""Ids in a line; with more, as of a large batch, clients could fill the disk."""

_TAIL = 1 << 20
_noted: ContextVar[dict[str, Any] | None] = ContextVar("histoseek_audit", default=None)


@contextmanager
def noting() -> Iterator[dict[str, Any]]:
    """Collect what the work inside the block notes for its line of the log."""
    noted: dict[str, Any] = {}
    token = _noted.set(noted)
    try:
        yield noted
    finally:
        _noted.reset(token)


def note_asked(**details: Any) -> None:
    """Note something for the line of the request that is being answered; nothing happens outside of one."""
    noted = _noted.get()
    if noted is not None:
        noted.update({name: value for name, value in details.items() if value is not None})


@dataclass(frozen=True)
class Chain:
    """What a log holds: the number of its lines, the hash of the last, and bytes of a line that was never finished."""

    n_lines: int
    head: str
    torn_bytes: int


class AuditLog:
    """A log that is appended to, by several threads and several servers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise InputError(
                f"cannot write the audit log {path}: {error.strerror}; name another file: --audit-log"
            ) from error
        self._others = FileLock(f"{path}.lock")
        self._lock, self._sync = threading.Lock(), threading.Lock()
        self._end, self._n, self._head = -1, 0, FIRST
        self._written, self._synced = 0, 0
        with self._lock, self._others:
            torn = self._catch_up()
        if torn:
            self.add({"action": "recovered", "torn_bytes": torn})

    def add(self, entry: dict[str, Any]) -> None:
        """Append a line, which is on the disk when this returns.

        Raises:
            StorageError: it cannot be written.
        """
        try:
            with self._lock:
                with self._others:
                    self._catch_up()
                    self._append(entry)
                self._written += 1
                mine = self._written
            with self._sync:  # whoever comes first flushes the lines of all who wait
                if self._synced < mine:
                    goal = self._written
                    os.fsync(self._handle)
                    self._synced = goal
        except OSError as error:
            raise StorageError(f"cannot write the audit log {self.path}: {error.strerror}; make room for it") from error

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)

    def _has_moved(self) -> bool:
        """Whether the file has another name now, as when it is put aside, or is gone."""
        try:
            return not os.path.samestat(self.path.stat(), os.fstat(self._handle))
        except FileNotFoundError:
            return True

    def _go_on_in_new_file(self) -> None:
        """Begin a file whose first line holds the hash of the last one before, so that the two can be held together."""
        with self._sync:  # nobody flushes the old file any more
            os.fsync(self._handle)
            new = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            os.close(self._handle)
            self._handle, self._synced = new, self._written
        after = {"n": self._n, "hash": self._head}
        self._end, self._n, self._head = -1, 0, FIRST
        if os.fstat(new).st_size == 0:  # else another server has said it already
            self._end = 0
            self._append({"action": "continued", "after": after})

    def _append(self, entry: dict[str, Any]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        kept = {"n": self._n + 1, "time": now, **_bounded(entry), "previous": self._head}
        head = _hash_of(kept)
        line = (json.dumps({**kept, "hash": head}, separators=(",", ":")) + "\n").encode()
        start = self._end
        try:
            if os.write(self._handle, line) != len(line):
                raise OSError(28, "no room for a whole line")
        except OSError:
            os.ftruncate(self._handle, start)
            raise
        self._n, self._head, self._end = self._n + 1, head, start + len(line)

    def _catch_up(self) -> int:
        """Learn what another server wrote meanwhile; returns the bytes of a torn last line, which are cut off."""
        before, is_cut = {"n": self._n, "hash": self._head}, os.fstat(self._handle).st_size < self._end
        torn = self._learn()
        if is_cut:  # lines are gone that were there
            self._append({"action": "shortened", "after": before})
        if not self._has_moved():
            return torn
        self._go_on_in_new_file()
        return self._learn()

    def _learn(self) -> int:
        size = os.fstat(self._handle).st_size
        if size == self._end:
            return 0
        text = os.pread(self._handle, min(size, _TAIL), max(0, size - _TAIL))
        whole, _, torn = text.rpartition(b"\n")
        if torn:
            os.ftruncate(self._handle, size - len(torn))
        self._end = size - len(torn)
        self._n, self._head = 0, FIRST
        if whole:
            last = _read_line(whole.rpartition(b"\n")[2], self.path)
            self._n, self._head = int(last["n"]), str(last["hash"])
        return len(torn)


def verify_audit(path: Path, noted_head: str | None = None) -> Chain:
    """Follow a log from its first line to its last.

    A last line without an end was being written when the server died; nothing that was acknowledged is in it.
    `noted_head` is the hash of a line that must be there, without which lines cut off the end go unseen.

    Raises:
        InputError: there is no such file.
        DamagedError: a line was changed, added or taken out.
    """
    if not path.is_file():
        raise InputError(f"there is no audit log {path}; histoseek serve writes one, and prints where")
    n, head, torn = 0, FIRST, 0
    is_found = noted_head in (None, FIRST)
    with path.open("rb") as stream:
        for line in stream:
            if not line.endswith(b"\n"):
                torn = len(line)
                break
            entry = _read_line(line, path, n + 1)
            if entry["n"] != n + 1 or entry["previous"] != head:
                raise DamagedError(f"{path}: line {n + 1} does not follow the line before it; something was taken out")
            n, head = n + 1, entry["hash"]
            is_found = is_found or head == noted_head
    if not is_found:
        raise DamagedError(f"{path} holds no line with the hash {noted_head}; lines were cut off, or it is another log")
    return Chain(n, head, torn)


def _bounded(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry in which the lists of ids hold `MOST_IDS` together, each that is cut with its length and digest."""
    left = MOST_IDS

    def cut(part: dict[str, Any]) -> dict[str, Any]:
        nonlocal left
        kept = dict(part)
        for name in ("ids", "shown"):
            ids = part.get(name, ())
            if len(ids) > left:
                kept[name] = ids[:left]
                kept[f"{name}_in_all"] = {"n": len(ids), "sha256": sha256(",".join(ids).encode()).hexdigest()}
            left -= min(left, len(ids))
        return kept

    whole = cut(entry)
    if "questions" in whole:
        whole["questions"] = [cut(part) for part in whole["questions"]]
    return whole


def _read_line(line: bytes, path: Path, number: int | None = None) -> dict[str, Any]:
    where = "its last line" if number is None else f"line {number}"
    try:
        entry: dict[str, Any] = json.loads(line)
        fits = entry["hash"] == _hash_of({name: value for name, value in entry.items() if name != "hash"})
        fits = fits and isinstance(entry["n"], int) and isinstance(entry["previous"], str)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        fits = False
    if not fits:
        raise DamagedError(f"{path}: {where} is not what was written; keep the file, and look who could change it")
    return entry


def _hash_of(kept: dict[str, Any]) -> str:
    return sha256(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
