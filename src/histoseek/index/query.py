"""What is asked: examples with weights, and the rules that hits must keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from histoseek.errors import InputError
from histoseek.index.region import Region

if TYPE_CHECKING:
    from PIL import Image

    Picture = str | Path | Image.Image | NDArray[np.uint8]

MINUS = -0.5
"""The usual weight of a counter-example: whole, it would swamp what is asked for (Rocchio 1971 weighs it lower)."""


@dataclass(frozen=True)
class Example:
    """One part of a query: an image, a text, an item's id, a region of a slide, or a vector.

    A negative weight pushes away; `mpp` states the scale of an image or a slide.
    """

    kind: Literal["image", "text", "item", "region", "vector"]
    value: Picture | str | Region | Sequence[float] | NDArray[np.float32]
    weight: float = 1.0
    mpp: float | None = None

    def __post_init__(self) -> None:
        if not np.isfinite(self.weight) or self.weight == 0:
            raise InputError(f"the weight of an example must be a number other than 0, not {self.weight}")


class RuleOptions(TypedDict, total=False):
    """The fields of `Rules`, as keyword arguments of a search."""

    k: int
    where: str | None
    only: Sequence[str] | None
    exclude_group: bool | None
    per_group: int | None
    per_slide: int | None
    collapse: bool
    min_score: float | None


@dataclass(frozen=True)
class Rules:
    """What hits must keep to.

    `k` hits at most; `where` is a filter over the index's columns; `only` names the ids of the items that can be hits
    (those chosen on a map, for instance); `exclude_group` leaves out the groups of the
    query's items (None: whenever the query names an item, or a region of a slide that the archive holds; True: also
    those of query files that it holds); at
    most `per_group` and `per_slide` hits of one group or slide; `collapse` shows near-duplicates once
    (`histoseek.index.near_duplicates`); hits score at least `min_score`.
    """

    k: int = 10
    where: str | None = None
    only: Sequence[str] | None = None
    exclude_group: bool | None = None
    per_group: int | None = None
    per_slide: int | None = None
    collapse: bool = False
    min_score: float | None = None

    def __post_init__(self) -> None:
        for name in ("k", "per_group", "per_slide"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name.replace('_', '-')} must be at least 1, not {value}")


def asked_of(examples: Sequence[Example], rules: Rules) -> dict[str, Any]:
    """What was asked, as hits keep it: examples without their pixels, and the rules that were set."""

    def shown(value: Any) -> str:
        return str(value) if isinstance(value, (str, Path, Region)) else f"<{type(value).__name__}>"

    asked = [{"kind": one.kind, "value": shown(one.value), "weight": one.weight} for one in examples]
    return {"examples": asked, "rules": {name: value for name, value in vars(rules).items() if value is not None}}
