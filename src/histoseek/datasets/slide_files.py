"""Which files of a folder are slides."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

_HEADER = 262_144
"""Bytes of a DICOM file in which its series stands, long before its pixels."""

_SERIES = re.compile(rb"\x20\x00\x0e\x00UI..([0-9.]{1,64})", re.DOTALL)
"""SeriesInstanceUID (0020,000E), explicit VR little endian, as in every compressed file."""


def one_of_each_series(source: Path, files: Sequence[str]) -> tuple[list[str], list[str]]:
    """Take one .dcm file of each DICOM series, the largest, and leave other files as they are; and a note on that.

    DICOM spreads the levels of a slide over files, and OpenSlide finds them all from any one. Files that name no series
    belong to that of their folder.
    """
    series: dict[tuple[str, bytes], list[str]] = defaultdict(list)
    for file in files:
        if file.lower().endswith(".dcm"):
            series[str(PurePosixPath(file).parent), _series_of(source / file)].append(file)
    gone = {file for found in series.values() for file in found} - {
        _largest(source, found) for found in series.values()
    }
    note = f"{len(gone)} .dcm files belong to the series of another one: a series is taken for one slide"
    return [file for file in files if file not in gone], [note] if gone else []


def _series_of(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            found = _SERIES.search(stream.read(_HEADER))
    except OSError:  # it will be skipped with its reason when it is opened
        return b""
    return found[1] if found else b""


def _largest(source: Path, files: list[str]) -> str:
    return max(files, key=lambda file: (source / file).stat().st_size)
