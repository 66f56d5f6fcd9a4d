"""The item: one retrievable thing, with what is known about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

Value = str | int | float | bool | None


class Box(NamedTuple):
    """A rectangle in level-0 pixels, from its top left corner."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Item:
    """One retrievable thing: an image file, or a box inside one.

    `id` is the same on every machine: dataset, name inside the dataset and, for a part of an image, its box.
    `path` is relative to the root kept in the manifest, with forward slashes. `group` is what may never be split or
    matched with itself, and `group_source` says what it stands for: "patient", "case", "slide", "image" and so on;
    without one it is the case, else the slide, else the item
    itself. `mpp` is in µm per pixel at level 0, None when unknown; `width`
    and `height` are those of the item in level-0 pixels; `sha256` is the digest of the file's bytes.
    """

    id: str
    path: str
    dataset: str = ""
    label: str | None = None
    group: str = ""
    group_source: str = ""
    slide: str | None = None
    case: str | None = None
    split: str | None = None
    fold: int | None = None
    box: Box | None = None
    mpp: float | None = None
    mpp_source: str | None = None
    width: int | None = None
    height: int | None = None
    sha256: str | None = None
    caption: str | None = None
    extra: Mapping[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.group:
            source = next((name for name in ("case", "slide") if getattr(self, name)), "image")
            object.__setattr__(self, "group", getattr(self, source) if source != "image" else self.id)
            object.__setattr__(self, "group_source", source)
