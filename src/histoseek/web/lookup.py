"""From opaque ids back to what they name, for one version of an archive."""

from __future__ import annotations

import base64
import re
from typing import Any

import numpy as np

from histoseek.web.pseudonyms import Pseudonyms
from histoseek.web.schemas import ID

BLOCK = 65_536
_FORM = re.compile(ID)


class Lookup:
    """Names by their opaque ids: half of each id in a sorted array, and the whole id compared at the end.

    It takes 16 bytes a name, whatever their lengths.
    """

    def __init__(self, kind: str, names: Any, pseudonyms: Pseudonyms) -> None:
        self._kind, self._names, self._pseudonyms = kind, names, pseudonyms
        parts = np.empty(len(names), dtype=np.uint64)
        for start in range(0, len(names), BLOCK):
            block = names.slice(start, BLOCK).to_pylist()
            joined = b"".join(pseudonyms.digest(kind, name)[:8] for name in block)
            parts[start : start + len(block)] = np.frombuffer(joined, dtype=">u8")
        self._order = np.argsort(parts, kind="stable")
        self._sorted = parts[self._order]

    def __len__(self) -> int:
        return len(self._sorted)

    def row(self, opaque: str) -> int | None:
        """The number of the name that goes by an id; None for no such id."""
        if not _FORM.fullmatch(opaque):
            return None
        part = np.uint64(int.from_bytes(base64.urlsafe_b64decode(opaque)[:8], "big"))
        first, last = (int(np.searchsorted(self._sorted, part, side)) for side in ("left", "right"))
        for row in self._order[first:last].tolist():
            if self._pseudonyms.id_of(self._kind, self._names[row].as_py()) == opaque:
                return int(row)
        return None

    def name(self, opaque: str) -> str | None:
        """The name that goes by an id; None for no such id."""
        row = self.row(opaque)
        return None if row is None else str(self._names[row].as_py())
