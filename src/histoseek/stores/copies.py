"""The folders of fast copies and of what has changed since: how they are named, written, believed and deleted.

`fast-7` is a copy of version 7 of the table. `fast-7+9` holds what makes version 9 of that copy, and goes when it goes.
Each has a `fast.json`, written last, with the checksums of its files.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from histoseek.errors import DamagedError, StorageError
from histoseek.items.files import flush_to_disk, is_full, sha256_of, written_whole
from histoseek.stores.sums import facts_sum

_FACTS = "fast.json"
_PREFIX = "fast-"
_NAME = re.compile(r"\.?fast-(?P<base>\d+)(\+(?P<version>\d+))?(\..*)?")


def fast_folder(home: Path, version: int) -> Path:
    """Where the fast copy of a table version lies."""
    return home / f"{_PREFIX}{version}"


def difference_folder(home: Path, base: int, version: int) -> Path:
    """Where the difference lies that makes a table version of the fast copy of an older one."""
    return home / f"{_PREFIX}{base}+{version}"


def fast_versions(home: Path) -> list[int]:
    """Versions that a fast copy is there of, newest first."""
    names = [path.name.removeprefix(_PREFIX) for path in home.glob(f"{_PREFIX}*") if (path / _FACTS).is_file()]
    return sorted((int(name) for name in names if name.isdigit()), reverse=True)


def difference_folders(home: Path) -> list[Path]:
    """The differences that are there."""
    return sorted(path for path in home.glob(f"{_PREFIX}*+*") if (path / _FACTS).is_file())


def drop_fast(home: Path, below: int, since: int = 0) -> None:
    """Delete copies of versions below one with their differences, differences of versions below `since`, and drafts.

    Only drafts of what would be deleted go: a process left them that died, or one that was overtaken.
    """
    for path in (*home.glob(f"{_PREFIX}*"), *home.glob(f".{_PREFIX}*")):
        name = _NAME.fullmatch(path.name)
        if name is None or int(name["base"]) < below or (name["version"] and int(name["version"]) < since):
            shutil.rmtree(path, ignore_errors=True)


def facts_of(folder: Path) -> dict[str, Any]:
    """What the `fast.json` of a folder says; raises `ValueError` where that is not what was written."""
    facts: dict[str, Any] = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    if not isinstance(facts, dict) or facts.pop("checksum", None) != facts_sum(facts):
        raise ValueError(_FACTS)
    return facts


def damaged(folder: Path) -> DamagedError:
    """The sentence about a folder that is not what was written."""
    return DamagedError(f"the fast copy {folder} is damaged; delete that folder, it is made anew")


@contextmanager
def written_folder(target: Path, facts: Mapping[str, object]) -> Iterator[Path]:
    """Give a draft to write files into; on a clean exit `fast.json` is added, and the folder gets its name.

    Raises:
        StorageError: there is no room for it.
        DamagedError: it was overtaken by something newer.
    """
    home = target.parent
    try:
        home.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=home, prefix=f".{target.name}."))
    except OSError as error:
        raise _not_written(home, error) from error
    try:
        yield draft
        _seal(draft, facts)
        try:
            draft.rename(target)
        except OSError:  # another reader made the same copy meanwhile, or a damaged one lies there
            if not (target / _FACTS).is_file():
                shutil.rmtree(target)
                draft.rename(target)
    except FileNotFoundError as error:  # a newer copy was made meanwhile, and this draft went with what is older
        raise DamagedError(f"{target} was replaced by a newer one while it was made; try again") from error
    except OSError as error:
        raise _not_written(home, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _seal(draft: Path, facts: Mapping[str, object]) -> None:
    whole = {**facts, "files": {file.name: sha256_of(file) for file in sorted(draft.iterdir())}}
    with written_whole(draft / _FACTS) as path:
        path.write_text(json.dumps({**whole, "checksum": facts_sum(whole)}, indent=1), encoding="utf-8")
    for file in draft.iterdir():
        flush_to_disk(file)
    draft.chmod(0o755)


@contextmanager
def array_file(path: Path, kind: str, shape: tuple[int, ...]) -> Iterator[IO[bytes]]:
    """A NumPy file to write row after row: on a full disk that fails, where a memory map would kill the process."""
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": kind, "fortran_order": False, "shape": shape})
        yield stream


def _not_written(home: Path, error: OSError) -> StorageError:
    reason = "the disk is full" if is_full(error) else error.strerror
    return StorageError(
        f"cannot write the fast copy into {home}: {reason}; nothing is lost, try again when there is room"
    )
