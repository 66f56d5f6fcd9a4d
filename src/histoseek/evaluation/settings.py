"""What an evaluation is to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict

from histoseek.errors import InputError

KNN_K = 20
"""Hits that the kNN classifier weighs."""

ProtocolName = Literal["split", "leave-group-out"]


class SettingOptions(TypedDict, total=False):
    """The fields of `Settings`, as keyword arguments of `evaluate`."""

    protocol: ProtocolName
    label: str
    gallery: str | None
    ks: tuple[int, ...]
    n_bootstrap: int
    seed: int


@dataclass(frozen=True)
class Settings:
    """The settings of an evaluation.

    `protocol` "split" keeps gallery and queries apart and refuses a group on both sides; "leave-group-out" takes one
    pool and shuts every item of the query's group out. `label` is the column that decides what is relevant;
    `gallery` a filter for the index's items; `ks` the depths; `n_bootstrap` rounds of drawing groups; `seed` theirs.
    """

    protocol: ProtocolName = "leave-group-out"
    label: str = "label"
    gallery: str | None = None
    ks: tuple[int, ...] = (1, 3, 5, 10, 20)
    n_bootstrap: int = 1000
    seed: int = 0

    @property
    def depth(self) -> int:
        """How many hits are ranked: enough for every k and for the kNN classifier."""
        return max(*self.ks, KNN_K)

    def __post_init__(self) -> None:
        if self.protocol not in ("split", "leave-group-out"):
            raise InputError(f"there is no protocol {self.protocol!r}; choose split or leave-group-out")
        if not self.ks or min(self.ks) < 1:
            raise InputError(f"k must be at least 1, not {min(self.ks, default=0)}")
        if self.n_bootstrap < 1:
            raise InputError("the bootstrap needs at least 1 round")
