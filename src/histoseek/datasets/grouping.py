"""Which rows of a user's table belong together: one choice for the whole table, never one row at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

GROUP_COLUMNS = ("group", "patient", "patient_id", "case", "slide")
"""Columns that may be the group, the strongest first."""

Group = tuple[str, str]
"""A group and what it stands for."""


@dataclass(frozen=True)
class _Key:
    """One way to tell rows apart: its name, what a group of it stands for, and its cell in every row."""

    name: str
    source: str
    cells: list[str]


def group_rows(
    rows: Sequence[Mapping[str, str]], mapping: Mapping[str, str], images: Sequence[str]
) -> tuple[list[Group | None], list[str]]:
    """Give every row the group of the strongest column that says anything, and a note on rows where it is blank.

    `mapping` is field → column and `images` the image of each row, "" for a row that is left out. A blank row joins
    the rows of its case, slide or image where these agree on one group; else its group is its case, slide or image
    with that word in front, so that no number of a slide is taken for that of a patient. A table without any such
    column gives None everywhere.
    """
    keys = _keys(rows, mapping)
    if not keys:
        return [None] * len(rows), []
    main, keys = keys[0], [*keys, _Key("image", "image", list(images))]
    stated = mapping.get("group_source", "group_source")
    found: list[Group | None] = [
        (cell, row.get(stated) or main.source) if cell else None for cell, row in zip(main.cells, rows, strict=True)
    ]
    _join(found, keys[1:])
    joined = sum(group is not None and not cell and bool(image) for group, cell, image in _zip(found, main, images))
    for i, key in enumerate(keys[1:], start=1):
        found = [
            (f"{key.name}:{cell}", key.source) if group is None and cell else group
            for group, cell in zip(found, key.cells, strict=True)
        ]
        _join(found, keys[i + 1 :])
    blank = [group[0] for group, cell, image in _zip(found, main, images) if group and image and not cell]
    own = [group for group in blank if group.partition(":")[0] in {key.name for key in keys[1:]}]
    return found, _notes(main, len(blank), joined, own)


def _keys(rows: Sequence[Mapping[str, str]], mapping: Mapping[str, str]) -> list[_Key]:
    """The columns that say anything, the strongest first, each once."""
    keys: dict[str, _Key] = {}
    for name in GROUP_COLUMNS:
        column = mapping.get(name, name)
        cells = [row.get(column) or "" for row in rows]
        if column not in keys and any(cells):
            source = mapping.get(name, "stated") if name == "group" else name.removesuffix("_id")
            keys[column] = _Key(name, source, cells)
    return list(keys.values())


def _join(found: list[Group | None], keys: list[_Key]) -> None:
    """Fill in rows whose case, slide or image has one group elsewhere, until no more can be filled in."""
    changed = True
    while changed:
        members: list[dict[str, dict[str, Group]]] = [defaultdict(dict) for _ in keys]
        for i, group in enumerate(found):
            if group is not None:
                for key, by_cell in zip(keys, members, strict=True):
                    if cell := key.cells[i]:
                        by_cell[cell].setdefault(group[0], group)
        changed = False
        for i in (i for i, group in enumerate(found) if group is None):
            known = [by[key.cells[i]] for key, by in zip(keys, members, strict=True) if key.cells[i] in by]
            fits = set.intersection(*(set(k) for k in known)) if known else set()
            if len(fits) == 1:
                found[i], changed = known[0][fits.pop()], True


def _zip(found: list[Group | None], main: _Key, images: Sequence[str]) -> zip[tuple[Group | None, str, str]]:
    return zip(found, main.cells, images, strict=True)


def _notes(main: _Key, n_blank: int, n_joined: int, own: list[str]) -> list[str]:
    if not n_blank:
        return []
    what = "group" if main.source == "stated" else main.source
    parts = [f"{n_joined} take that of the other rows of their case, slide or image"] if n_joined else []
    parts += [f"{n_blank - n_joined} count as their case, slide or image ({own[0]}, …)"] if own else []
    return [f"{n_blank} rows have no {what}: {'; '.join(parts)}"]
