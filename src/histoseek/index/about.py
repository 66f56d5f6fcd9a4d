"""`index.json`: what an index says of itself; the file that makes the folder an index."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from histoseek.encoders.encoder import Encoder, Fingerprint, Preprocessing
from histoseek.errors import DamagedError, FingerprintError, InputError
from histoseek.stores.places import exists, is_remote, joined, read_text, write_text

FORMAT = 2
"""2 has a checksum, and a table with checksums and a ledger; 1 is read, and brought to 2 by the next change."""

READ = (1, 2)
FILE = "index.json"
DRAFT = "building.json"


@dataclass(frozen=True)
class About:
    """What an index is made of: its encoder, where its pictures lie, how many items, and what was noted.

    `encoder` is its name, and `loaded_from` what loads it again on the machine that built the index. `scales` counts
    the items by how their scale was matched (`histoseek.imaging.scale_of`). `search` says how a large archive is
    searched and with which measured recall; empty where every search is exact. `format` is that of the file read.
    """

    encoder: str
    loaded_from: str
    fingerprint: Fingerprint
    dim: int
    has_text: bool
    root: str
    manifest_digest: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    n_items: int = 0
    n_skipped: int = 0
    scales: Mapping[str, int] = field(default_factory=dict)
    created: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    search: Mapping[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    def write(self, path: str | Path) -> None:
        """Write as JSON in the newest format, whole or not at all, into a file or to an `s3://` address."""
        write_text(path, json.dumps(self.as_dict(), indent=1))

    @classmethod
    def read(cls, path: str | Path) -> About:
        """Read it back.

        Raises:
            DamagedError: it is no such file, or not what was written.
            InputError: it is of a format that this version does not know.
        """
        try:
            text = read_text(path) if is_remote(path) else Path(path).read_text(encoding="utf-8")
            return cls.of(json.loads(text), str(path))
        except (OSError, ValueError) as error:
            raise DamagedError(f"{path} is damaged ({error}); build the index again") from error

    def as_dict(self) -> dict[str, Any]:
        """What `of` reads, of values that JSON can hold."""
        kept = asdict(self) | {"format": FORMAT}
        return {**kept, "checksum": _checksum(kept)}

    @classmethod
    def of(cls, given: Mapping[str, Any], path: str) -> About:
        """Read what `as_dict` gave; `path` is where it came from.

        Raises:
            DamagedError: it is not what was written.
            InputError: it is of a format that this version does not know.
        """
        try:
            kept = dict(given)
            if kept["format"] not in READ:
                raise InputError(f"{path} was written by another version of histoseek; build the index again")
            if kept["format"] > 1 and kept.pop("checksum") != _checksum(kept):
                raise ValueError("its checksum differs")
            marks = dict(kept.pop("fingerprint"))
            how = dict(marks.pop("preprocessing"))
            view = Preprocessing(**how | {"mean": tuple(how["mean"]), "std": tuple(how["std"])})
            return cls(fingerprint=Fingerprint(**marks, preprocessing=view), **kept)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedError(f"{path} is damaged ({error}); build the index again") from error


def read_about(address: str) -> About:
    """What the index at an address says of itself; raises `InputError` where there is no finished one."""
    if exists(joined(address, FILE)):
        return About.read(joined(address, FILE))
    if exists(joined(address, DRAFT)):
        raise InputError(f"the index {address} is unfinished; finish it with: histoseek index MANIFEST --resume")
    raise InputError(f"there is no index at {address}; make one with: histoseek index MANIFEST --out {address}")


def check_fingerprint(about: About, encoder: Encoder) -> None:
    """Raise `FingerprintError` when an encoder is not the one that made an index."""
    mine, theirs = about.fingerprint, encoder.fingerprint
    if mine.digest != theirs.digest:
        raise FingerprintError(
            f"the index was made by encoder {mine.told} (fingerprint {mine.digest}), and "
            f"{theirs.told} (fingerprint {theirs.digest}) gives other vectors; "
            f"use --encoder {about.loaded_from}, or build the index again"
        )


def _checksum(kept: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
