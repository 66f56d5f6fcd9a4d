"""How much two sets of tiles resemble each other.

"best-match": for every representative of one side the best cosine on the other, averaged, both ways round. "mean": the
cosine of the mean embeddings, the baseline. "median-min": the median over the query's representatives of the smallest
distance to the other's, as one minus that distance; one way round, as Kalra et al. (Yottixel, 2020) rank with barcodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from histoseek.encoders.encoder import unit_rows

Method = Literal["best-match", "mean", "median-min"]
METHODS: tuple[Method, ...] = ("best-match", "mean", "median-min")


@dataclass(frozen=True)
class Bags:
    """Representatives of many wholes, one whole after another.

    `vectors` [M, D] are theirs, `rows` [M] their rows in the archive, `starts` [W] where each whole begins, and `means`
    [W, D] the unit mean of all tiles of each whole.
    """

    vectors: NDArray[np.float32]
    rows: NDArray[np.int64]
    starts: NDArray[np.int64]
    means: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.starts)

    def of(self, whole: int) -> slice:
        """Where the representatives of a whole stand."""
        last = self.starts[whole + 1] if whole + 1 < len(self.starts) else len(self.rows)
        return slice(int(self.starts[whole]), int(last))

    def take(self, wholes: Sequence[int] | NDArray[np.int64]) -> Bags:
        """Those of some wholes, in that order."""
        parts = [self.of(int(whole)) for whole in wholes]
        at = np.concatenate([np.arange(part.start, part.stop) for part in parts]).astype(np.int64)
        sizes = np.array([part.stop - part.start for part in parts], dtype=np.int64)
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        return Bags(self.vectors[at], self.rows[at], starts, self.means[np.asarray(wholes, dtype=np.int64)])


def similarities(bags: Bags, query: int, method: Method, among: NDArray[np.int64]) -> NDArray[np.float64]:
    """Similarity of one whole with the wholes `among` [A], `[A]`; higher is more alike."""
    if method == "mean":
        return np.asarray(bags.means[among].astype(np.float64) @ bags.means[query])
    own = bags.vectors[bags.of(query)]
    others = bags.take(among)
    scores = own @ others.vectors.T  # [own, M]
    best = np.maximum.reduceat(scores, others.starts, axis=1)  # [own, A]
    if method == "median-min":
        return np.asarray(np.median(best, axis=0), dtype=np.float64)
    back = np.add.reduceat(scores.max(axis=0).astype(np.float64), others.starts)
    sizes = np.diff(np.append(others.starts, len(others.rows)))
    return np.asarray((best.mean(axis=0, dtype=np.float64) + back / sizes) / 2)


def matched_pairs(bags: Bags, query: int, other: int, most: int) -> list[tuple[int, int, float]]:
    """The most similar pairs of representatives, each used once: (row of the query, row of the other, cosine)."""
    mine, theirs = bags.of(query), bags.of(other)
    scores = bags.vectors[mine] @ bags.vectors[theirs].T
    pairs = []
    for _ in range(min(most, *scores.shape)):
        at, to = np.unravel_index(int(scores.argmax()), scores.shape)
        pairs.append((int(bags.rows[mine][at]), int(bags.rows[theirs][to]), float(scores[at, to])))
        scores[at, :], scores[:, to] = -np.inf, -np.inf
    return pairs


def unit_mean(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of unit vectors `[T, D]`, back at length one, `[D]`."""
    mean: NDArray[np.float32] = unit_rows(vectors.mean(axis=0, dtype=np.float64)[None])[0]
    return mean
