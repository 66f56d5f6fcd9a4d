"""What the verbs print: results to stdout, progress and notes to stderr."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from histoseek.errors import Interrupted

if TYPE_CHECKING:
    from rich.progress import Progress

NARROW = 160
"""Columns of a table that goes to a file or a pipe."""


def say(text: str) -> None:
    """Print a line of the results."""
    typer.echo(printable(text))


def note(message: str) -> None:
    """Say something beside the results."""
    typer.echo(printable(message), err=True)


def show_rows(rows: Sequence[Mapping[str, Any]], as_json: bool, columns: Sequence[str] | None = None) -> None:
    """Print rows as a table, or as one JSON object a line with every key."""
    if as_json:
        for row in rows:
            typer.echo(_json(row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    names = list(columns or (rows[0] if rows else ()))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        numeric = all(isinstance(row.get(name), (int, float, type(None))) for row in rows)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row.get(name))) for name in names))
    Console(width=None if sys.stdout.isatty() else NARROW, highlight=False).print(table)


def printable(text: str) -> str:
    """Text without control characters: labels and file names may come from anywhere."""
    return "".join(mark if mark == "\n" or _is_harmless(mark) else "\N{REPLACEMENT CHARACTER}" for mark in text)


def counted(number: int, noun: str) -> str:
    """A number with its noun: "1 file", "2 files"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@contextmanager
def progress(what: str, after: str = "nothing was written") -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr, as a function of what is done and all there is; `after` says what Ctrl-C leaves."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as bar:
        try:
            yield lambda done, total: _tell(bar, what, done, total)
        except KeyboardInterrupt as error:
            raise Interrupted(f"interrupted while {what}; {after}") from error


def _tell(bar: Progress, what: str, done: int, total: int) -> None:
    """Move the bar, which is there only once something can be counted."""
    if not bar.task_ids:
        bar.add_task(what, total=total)
    bar.update(bar.task_ids[0], completed=done, total=total)


def _is_harmless(mark: str) -> bool:
    """Whether a terminal shows this character and does nothing else; spaces of any width pass."""
    return mark.isprintable() or unicodedata.category(mark) == "Zs"


def _json(row: Mapping[str, Any]) -> str:
    """One line of JSON, readable but for control characters, which stand escaped, so that no value changes."""
    line = json.dumps(row, ensure_ascii=False, default=str)
    return "".join(mark if _is_harmless(mark) else json.dumps(mark)[1:-1] for mark in line)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else printable(str(value)).replace("\n", " ")
