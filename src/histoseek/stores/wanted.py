"""What a search on a server asks for, and what it gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


@dataclass(frozen=True)
class Wanted:
    """Which items may be found: those that fulfil `where`, without some groups (patients) and some ids."""

    where: str | None = None
    not_groups: frozenset[str] = frozenset()
    not_ids: frozenset[str] = frozenset()


class Found(NamedTuple):
    """The hits of one query, best first: `items` with K rows of item columns, and their cosines `scores` [K]."""

    items: pa.Table
    scores: NDArray[np.float32]
