"""The ledger: which versions of a table were acknowledged, and what their files must look like.

A commit counts from the moment its ledger entry stands on the disk. A version without one belongs to a writer that
died before it could answer, and the next writer takes it back. Lance writes a file once and never changes it, so the
size and digest of a file hold as long as it exists.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from histoseek.errors import DamagedError
from histoseek.items.files import flush_to_disk, sha256_of, written_whole
from histoseek.stores.sums import facts_sum

FOLDER = "ledger"
_HINT = "latest_version_hint.json"  # Lance's only file that changes; it is never relied upon


class Entry(NamedTuple):
    """One acknowledged version; `generation` grows when rows move to other places, as compaction makes them."""

    version: int
    generation: int


@dataclass(frozen=True)
class Ledger:
    """The acknowledged versions of the table in `table_dir`, kept in `folder`, one small file a commit."""

    folder: Path
    table_dir: Path

    def newest(self) -> Entry | None:
        """The version that readers see, or None where there is no ledger yet; costs one listing of names."""
        try:
            with os.scandir(self.folder) as names:
                entries = [_entry_of(one.name) for one in names if one.name.endswith(".json") and one.name[0] != "."]
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DamagedError(f"{self.folder} cannot be read: {error.strerror}") from error
        return max(entries, default=None)

    def acknowledge(self, entry: Entry, fresh: set[str]) -> None:
        """Put the files that are new with a version on the disk for good, then say so."""
        for name in fresh:
            flush_to_disk(self.table_dir / name)
        for folder in {self.table_dir, *((self.table_dir / name).parent for name in fresh)}:
            flush_to_disk(folder)
        self.record(entry, self.digests(fresh))

    def record(self, entry: Entry, files: Mapping[str, tuple[int, str]]) -> None:
        """Acknowledge a version; `files` are those that are new with it, as size and SHA-256."""
        with written_whole(self._path(entry)) as draft:
            draft.write_text(
                json.dumps({"files": files, "checksum": facts_sum(dict(files))}, indent=0), encoding="utf-8"
            )

    def files(self) -> dict[str, tuple[int, str]]:
        """What is known of all files: size and SHA-256 by their path inside the table's folder."""
        known: dict[str, tuple[int, str]] = {}
        for path in self.entries():
            known |= _files_in(path)
        return known

    def mark(self, version: int, name: str) -> str:
        """The digest of a file that was acknowledged with a version; empty where none was."""
        for path in self.entries():
            if path.name.startswith(f"{version:012d}-"):
                return _files_in(path).get(name, (0, ""))[1]
        return ""

    def merge(self) -> None:
        """Join all entries into that of the newest version and forget files that are gone."""
        newest = self.newest()
        if newest is None:
            return
        here = set(self.names())
        self.record(newest, {name: about for name, about in self.files().items() if name in here})
        for path in self.folder.iterdir():  # also what a writer left that died while it wrote an entry
            if path != self._path(newest):
                path.unlink()

    def entries(self) -> list[Path]:
        """The files of the ledger, oldest first."""
        return sorted(path for path in self.folder.glob("*.json") if path.name[0] != ".")

    def names(self) -> Iterator[str]:
        """Paths of the table's files inside its folder."""
        for path in self.table_dir.rglob("*"):
            if path.is_file() and path.name != _HINT:
                yield path.relative_to(self.table_dir).as_posix()

    def digests(self, names: set[str]) -> dict[str, tuple[int, str]]:
        """Size and SHA-256 of some files."""
        paths = {name: self.table_dir / name for name in sorted(names)}
        return {name: (path.stat().st_size, sha256_of(path)) for name, path in paths.items()}

    def damaged(self, folders: tuple[str, ...] | None = None) -> list[str]:
        """Files, of all or of those in some folders, that are not what they were when they were acknowledged."""
        here = set(self.names())
        known = {name: about for name, about in self.files().items() if name in here}
        if folders is not None:
            known = {name: about for name, about in known.items() if name.split("/")[0] in folders}
        wrong = []
        for name, about in known.items():
            with suppress(FileNotFoundError):  # a compaction is deleting what is older; what is needed Lance will miss
                if self.digests({name})[name] != about:
                    wrong.append(name)
        return wrong

    def _path(self, entry: Entry) -> Path:
        return self.folder / f"{entry.version:012d}-{entry.generation}.json"


def _files_in(path: Path) -> dict[str, tuple[int, str]]:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["checksum"] != facts_sum(kept["files"]):
            raise ValueError("its checksum differs")
        return {name: (size, digest) for name, (size, digest) in kept["files"].items()}
    except FileNotFoundError:  # merged meanwhile into the newest one, which is read last
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(f"{path} is damaged ({error}); restore the index from a snapshot") from error


def _entry_of(name: str) -> Entry:
    version, _, generation = name.removesuffix(".json").partition("-")
    try:
        return Entry(int(version), int(generation))
    except ValueError as error:
        raise DamagedError(f"the ledger holds a file {name!r} that does not belong there; remove it") from error
