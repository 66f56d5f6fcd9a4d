"""Which ids a table holds, as 64-bit digests: 8 bytes an item, however long the ids are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoseek.items.digests import text_digests


class KnownIds:
    """The ids of one version, read once and then kept up to date by the writer itself."""

    def __init__(self) -> None:
        self._version: object = None
        self._digests: list[NDArray[np.uint64]] = []

    def among(self, ids: Sequence[str], version: object, read: Callable[[], pa.ChunkedArray]) -> list[str]:
        """Those of `ids` that the table holds at `version`; `read` gives all its ids where somebody else wrote."""
        if self._version != version:
            self._digests = [np.sort(text_digests(read()))]
            self._version = version
        asked = text_digests(pa.array(ids, pa.string()))
        held = np.zeros(len(asked), dtype=bool)
        for part in self._digests:
            at = np.searchsorted(part, asked)
            inside = at < len(part)
            held[inside] |= part[at[inside]] == asked[inside]
        return [name for name, there in zip(ids, held, strict=True) if there]

    def add(self, ids: Sequence[str], version: object) -> None:
        """Note what this writer has just added, which made `version`."""
        self._digests.append(np.sort(text_digests(pa.array(ids, pa.string()))))
        self._version = version
        if len(self._digests) > 32:
            self._digests = [np.sort(np.concatenate(self._digests))]
