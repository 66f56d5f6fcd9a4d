"""What folders say about the files in them: labels, splits and, through a pattern over the path, groups."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from histoseek.errors import InputError
from histoseek.items import Item

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def items_by_folder(files: Sequence[str], name: str, label: str) -> list[Item]:
    """An item a file: the first folder that tells files apart is its label (if `label` is "folder")."""
    folders = [[part for part in PurePosixPath(file).parts[:-1] if part.lower() not in SPLITS] for file in files]
    shared = _n_shared(folders)
    labels = [rest[shared] if label == "folder" and len(rest) > shared else None for rest in folders]
    return [
        Item(id=f"{name}/{file}", path=file, dataset=name, label=found, split=_split(file))
        for file, found in zip(files, labels, strict=True)
    ]


def layout_notes(items: Sequence[Item], label: str) -> Iterator[str]:
    """Lines on files that no folder gives a label or a split."""
    n_unknown = sum(item.label is None for item in items)
    if label == "folder" and items and n_unknown == len(items):
        yield "no class sub-folders: images have no label; give labels with -o sidecar=TABLE.csv"
    elif label == "folder" and n_unknown:
        yield f"{n_unknown} images lie beside the class folders: they have no label"
    n_unsplit = sum(item.split is None for item in items)
    if 0 < n_unsplit < len(items):
        yield f"{n_unsplit} images lie outside the train, val and test folders: they have no split"


def grouped_by(items: Sequence[Item], text: str) -> tuple[list[Item], list[str]]:
    """Give items the group that a regular expression finds in their path, and a note on paths that it does not fit.

    Raises:
        InputError: no regular expression, one without brackets, or one that fits no path.
    """
    pattern = _pattern(text)
    which: str | int = "group" if "group" in pattern.groupindex else 1
    matches = [pattern.search(item.path) for item in items]
    found = [match[which] if match else None for match in matches]
    if items and not any(found):
        raise InputError(f"the group pattern {pattern.pattern!r} fits no path; the first path is {items[0].path!r}")
    grouped = [
        replace(item, group=value, group_source="pattern") if value else item
        for item, value in zip(items, found, strict=True)
    ]
    unfit = sum(not value for value in found)
    note = f"{unfit} paths do not fit the group pattern: each is a group of its own"
    return grouped, [note] if unfit else []


def _n_shared(folders: list[list[str]]) -> int:
    """How many folders all files share: nesting that tells nothing apart."""
    first, last = min(folders, default=[]), max(folders, default=[])
    return next(
        (i for i, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), min(len(first), len(last))
    )


def _split(file: str) -> str | None:
    return next((SPLITS[part.lower()] for part in PurePosixPath(file).parts[:-1] if part.lower() in SPLITS), None)


def _pattern(text: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise InputError(f"option 'group' is {text!r}, which is no regular expression: {error}") from error
    if not pattern.groups:
        raise InputError(f"option 'group' is {text!r}; put brackets around what names the patient, as in '(P\\d+)_'")
    return pattern
