"""Walking a folder as downloads and zips leave it."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from histoseek.imaging import SLIDE_SUFFIXES
from histoseek.items import Skipped

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})
DEBRIS = frozenset({"__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information"})
"""Names, in lower case, that zips and file managers leave behind; names that start with a dot go too."""


class Walk(NamedTuple):
    """Files below a folder as sorted relative paths with forward slashes, and what could not be looked at."""

    files: list[str]
    skipped: list[Skipped]

    def with_suffix(self, suffixes: Collection[str]) -> list[str]:
        """The files that end with one of `suffixes`, which are in lower case."""
        return [file for file in self.files if PurePosixPath(file).suffix.lower() in suffixes]

    def named(self, name: str) -> list[str]:
        """The files with this name, in any case."""
        return [file for file in self.files if PurePosixPath(file).name.lower() == name.lower()]


def walk(source: Path) -> Walk:
    """List every file below `source`; links are followed, each folder once, and debris is passed over in silence."""
    found = Walk([], [])
    _descend(source, "", found, set())
    return Walk(sorted(found.files), sorted(found.skipped))


def name_of(file: str) -> str:
    """Last part of a relative path."""
    return file.rpartition("/")[2]


def _descend(folder: Path, prefix: str, found: Walk, seen: set[tuple[int, int]]) -> None:
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            inside = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        found.skipped.append(Skipped(prefix.rstrip("/") or ".", f"folder cannot be opened: {error.strerror}"))
        return
    for entry in inside:
        if entry.name.startswith(".") or entry.name.lower() in DEBRIS:
            continue
        if entry.is_dir():
            _descend(folder / entry.name, f"{prefix}{entry.name}/", found, seen)
        elif entry.is_file():
            found.files.append(prefix + entry.name)
        elif PurePosixPath(entry.name).suffix.lower() in IMAGE_SUFFIXES | SLIDE_SUFFIXES:
            found.skipped.append(Skipped(prefix + entry.name, "not a file, or a link that leads nowhere"))
