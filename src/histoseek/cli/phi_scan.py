"""histoseek phi-scan DIR [--values] [--json]."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from histoseek.cli.output import counted, note, progress, show_rows

if TYPE_CHECKING:
    from histoseek.imaging.carried import Carried

SHOWN = 120
"""Characters of a value that a table shows."""


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("phi-scan")(phi_scan)


def phi_scan(
    folder: Annotated[Path, typer.Argument(help="A folder of slides; those in its folders count too.")],
    values: Annotated[bool, typer.Option("--values", help="Show what the metadata say, not only their keys.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a slide.")] = False,
) -> None:
    """List what slides carry that may identify a patient: label images, metadata, names. Nothing is changed."""
    from histoseek.errors import needs_extra

    with needs_extra("slides"):
        from histoseek.imaging.carried import scan_folder

    with progress("looking", "nothing was changed") as tell:
        found = scan_folder(folder, tell)
    rows = [_row(one, values) for one in found]
    show_rows(rows if as_json else [_shown(row) for row in rows], as_json)
    verdicts = Counter(bool(one.images or one.metadata or one.name_marks) for one in found)
    note(f"{counted(len(found), 'file')} looked at, {verdicts[True]} of them with findings; nothing was changed")
    if n_failed := sum(bool(one.reason) for one in found):
        note(f"{counted(n_failed, 'file')} could not be looked at in full: look at them by other means")
        raise typer.Exit(1)


def _row(one: Carried, values: bool) -> dict[str, Any]:
    return {
        "file": one.path,
        "verdict": one.verdict,
        "images": {name: list(size) for name, size in one.images.items()},
        "metadata": dict(one.metadata) if values else sorted(one.metadata),
        "name_marks": list(one.name_marks),
        "reason": one.reason,
    }


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    images = ", ".join(f"{name} {width} × {height}" for name, (width, height) in row["images"].items())
    kept = row["metadata"]
    told = [f"{key} = {_short(value)}" for key, value in kept.items()] if isinstance(kept, dict) else kept
    shown = row | {"images": images, "metadata": "; ".join(told)}
    return {name: shown[name] for name in ("file", "verdict", "images", "metadata", "reason")}


def _short(value: str) -> str:
    return value if len(value) <= SHOWN else f"{value[:SHOWN]}… ({len(value)} characters)"
