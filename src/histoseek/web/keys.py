"""Keys: what lets a client in, kept in a file as hashes only."""

from __future__ import annotations

import hmac
import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, get_args

from filelock import FileLock, Timeout

from histoseek.errors import DamagedError, InputError
from histoseek.items import written_whole

Role = Literal["read", "write"]
ROLES: tuple[Role, ...] = get_args(Role)

FORMAT = 1
PREFIX = "hsk_"
KEY_BYTES = 32
LOCK_S = 20.0
"""How long a change of a key file waits for another one."""


@dataclass(frozen=True)
class Key:
    """A key as it is kept: `sha256` of its text, which is 256 random bits, so that a slow hash would add nothing."""

    id: str
    role: Role
    sha256: str
    created: str


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys of a file.

    Raises:
        InputError: there is no such file.
        DamagedError: it is no file of keys.
    """
    if not path.is_file():
        raise InputError(f"there is no key file {path}; make one with: histoseek keys add {path} --role read")
    try:
        kept: Any = json.loads(path.read_text(encoding="utf-8"))
        keys = tuple(Key(**one) for one in kept["keys"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(
            f"the key file {path} is damaged ({error}); make a new one with: histoseek keys add"
        ) from error
    if kept.get("format") != FORMAT or any(key.role not in ROLES or len(key.sha256) != 64 for key in keys):
        raise DamagedError(f"the key file {path} is damaged or of another version; make a new one: histoseek keys add")
    return keys


def add_key(path: Path, role: str) -> tuple[str, Key]:
    """Put a new key into a file, made where it is missing; its text is given once, here, and kept nowhere.

    Raises:
        InputError: there is no such role, or the file cannot be written.
    """
    if role not in ROLES:
        raise InputError(f"there is no role {role!r}; a key may {' or '.join(ROLES)}")
    text = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    key = Key(f"k-{secrets.token_hex(4)}", "write" if role == "write" else "read", hash_of(text), now)
    with _alone(path):
        kept = read_keys(path) if path.exists() else ()
        _write(path, (*kept, key))
    return text, key


def remove_key(path: Path, name: str) -> Key:
    """Take a key out of a file, by its id; a running server refuses it from then on.

    Raises:
        InputError: the file holds no such key.
    """
    read_keys(path)  # where there is none, nothing is left beside it
    with _alone(path):
        kept = read_keys(path)
        found = next((key for key in kept if key.id == name), None)
        if found is None:
            known = ", ".join(key.id for key in kept) or "none"
            raise InputError(f"{path} holds no key {name!r}; it holds: {known}")
        _write(path, tuple(key for key in kept if key is not found))
    return found


def hash_of(text: str) -> str:
    """The hash that a key is kept as."""
    return sha256(text.encode()).hexdigest()


def _write(path: Path, keys: tuple[Key, ...]) -> None:
    text = json.dumps({"format": FORMAT, "keys": [asdict(key) for key in keys]}, indent=1)
    with written_whole(path, 0o600) as draft:
        draft.write_text(text, encoding="utf-8")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep others from changing a file of keys meanwhile, who would undo what is done to it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=LOCK_S, mode=0o600)
        with lock:
            yield
    except Timeout as error:
        raise InputError(f"somebody else is changing the key file {path}; try again") from error
    except OSError as error:
        raise InputError(f"cannot write the key file {path}: {error.strerror}; choose another place") from error


class KeyFile:
    """The keys that a server lets in, read again whenever their file changes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._state = _state_of(path)
        self._keys = read_keys(path)
        if not self._keys:
            raise InputError(f"the key file {path} holds no key; make one with: histoseek keys add {path} --role read")

    @property
    def keys(self) -> tuple[Key, ...]:
        """The keys in force; where the file is gone or damaged, none is."""
        with self._lock:
            state = _state_of(self.path)
            if state != self._state:
                self._state = state
                try:
                    self._keys = read_keys(self.path)
                except (InputError, DamagedError):
                    self._keys = ()
            return self._keys

    def find(self, text: str) -> Key | None:
        """The key of this text; each one is compared, in a time that does not tell how much of it fits."""
        asked, found = hash_of(text), None
        for key in self.keys:
            if hmac.compare_digest(key.sha256, asked):
                found = key
        return found

    def named(self, name: str) -> Key | None:
        """The key of this id, while it is in force."""
        return next((key for key in self.keys if key.id == name), None)


def _state_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
