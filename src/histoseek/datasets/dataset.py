"""What a dataset is to Histoseek: a name, where it comes from, and how its files are read."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from histoseek.errors import InputError
from histoseek.items import Item, Skipped


@dataclass(frozen=True)
class Published:
    """Counts that the makers published, to compare with what lies on disk.

    `counts` is part → label → number, where a part is a value of the column `by` ("all" when that is None).
    `groups` is group source → part → number of groups.
    """

    source: str
    counts: Mapping[str, Mapping[str, int]]
    noun: str = "images"
    by: Literal["split", "fold"] | None = None
    groups: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Scan:
    """What was found in a folder, before any image is opened.

    `root` is where the items' paths start; None means the folder that was scanned. `notes` are lines that a person
    must read. Items that are whole slides will be cut into tiles: those with a slide's suffix, or all of them if
    `only_slides`; `tiling` are settings of that which the user did not state.
    """

    items: list[Item]
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    published: Published | None = None
    root: Path | None = None
    only_slides: bool = False
    tiling: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Option:
    """One setting of a dataset: a keyword of its scan function."""

    name: str
    kind: str
    default: Any
    choices: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}={'|'.join(self.choices) or self.kind}"


@dataclass(frozen=True)
class Dataset:
    """A known dataset; `scan(source, **options) -> Scan` looks at names and tables, never at pixels.

    `looks_for` says in words what a folder must hold; it is shown when nothing was found.
    """

    name: str
    title: str
    licence: str
    source: str
    about: str
    looks_for: str
    scan: Callable[..., Scan]
    aliases: tuple[str, ...] = ()
    takes: Literal["folder", "file", "either"] = "folder"

    @property
    def options(self) -> tuple[Option, ...]:
        """The settings that `scan` takes, in its order."""
        return options_of(self.scan)

    def read_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Turn settings, as text from a command line or as values, into what `scan` takes.

        Raises:
            InputError: an unknown setting, or a value that is none of the choices or not of its kind.
        """
        unknown = sorted(set(given) - {option.name for option in self.options})
        if unknown:
            offered = ", ".join(str(option) for option in self.options) or "none"
            raise InputError(f"dataset {self.name!r} has no option {unknown[0]!r}; its options are: {offered}")
        return read_values(self.scan, given)


def options_of(takes: Callable[..., Any]) -> tuple[Option, ...]:
    """The settings that a function, or a dataclass of keywords, takes."""
    return tuple(_option(name, kind, default) for name, kind, default in _keywords(takes))


def read_values(takes: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Turn settings, as text or as values, into those of the kinds that `takes` takes; all of them are known.

    Raises:
        InputError: a value that is none of the choices or not of its kind.
    """
    known = {name: kind for name, kind, _ in _keywords(takes)}
    return {name: _read_value(f"option {name!r}", value, known[name]) for name, value in given.items()}


def _keywords(takes: Callable[..., Any]) -> list[tuple[str, Any, Any]]:
    parameters = inspect.signature(takes, eval_str=True).parameters.values()
    return [(p.name, _without_none(p.annotation), p.default) for p in parameters if p.kind is p.KEYWORD_ONLY]


def _without_none(kind: Any) -> Any:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return next(part for part in typing.get_args(kind) if part is not type(None))
    return kind


def _option(name: str, kind: Any, default: Any) -> Option:
    choices = typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
    return Option(name, "choice" if choices else kind.__name__.lower(), default, tuple(map(str, choices)))


def _read_value(what: str, value: Any, kind: Any) -> Any:
    if typing.get_origin(kind) is Literal:
        choices = typing.get_args(kind)
        if value is not None and value not in choices:
            raise InputError(f"{what} is {value!r}; choose one of: {', '.join(map(str, choices))}")
        return value
    if value is None or isinstance(value, kind):
        return value
    if kind is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if str(value).lower() not in words:
            raise InputError(f"{what} is {value!r}; say yes or no")
        return words[str(value).lower()]
    try:
        return kind(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} is {value!r}, which is no {kind.__name__}") from error
