"""What tells one gallery from another, in bounded memory."""

from __future__ import annotations

import hashlib
import heapq
import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack

import pyarrow as pa

ROWS_A_RUN = 500_000
"""Rows that are sorted in memory; more are sorted in runs, which are then merged from temporary files."""

_ROWS_A_BLOCK = 65_536


def gallery_digest(items: pa.Table) -> str:
    """A digest over ids, groups and contents, whatever their order."""
    columns = items.select(["id", "group", "sha256"])
    hasher = hashlib.sha256()
    with ExitStack() as files:
        runs: list[Iterator[str]] = []
        for start in range(0, items.num_rows, ROWS_A_RUN):
            run = sorted(_lines(columns.slice(start, ROWS_A_RUN)))
            runs.append(_on_disk(run, files) if items.num_rows > ROWS_A_RUN else iter(run))
        for number, line in enumerate(heapq.merge(*runs)):
            hasher.update(f"\n{line}".encode() if number else line.encode())
    return hasher.hexdigest()[:16]


def _lines(rows: pa.Table) -> Iterator[str]:
    """Rows as JSON, which has no line breaks and no row that another one begins with."""
    for batch in rows.to_batches(max_chunksize=_ROWS_A_BLOCK):
        yield from map(json.dumps, zip(*(column.to_pylist() for column in batch.columns), strict=True))


def _on_disk(run: list[str], files: ExitStack) -> Iterator[str]:
    file = tempfile.TemporaryFile("w+", encoding="ascii", newline="\n")  # noqa: SIM115
    files.enter_context(file)
    file.writelines(f"{line}\n" for line in run)
    file.seek(0)
    return (line[:-1] for line in file)
