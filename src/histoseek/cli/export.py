"""histoseek export INDEX --out x.parquet|x.h5ad [--where]."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from histoseek.cli.output import counted, note, progress, say
from histoseek.cli.writing import written


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("export")(export)


def export(
    index: Annotated[str, typer.Argument(help="An index folder.")],
    out: Annotated[Path, written("--out", help="The file to write: .parquet, or .h5ad for AnnData.")],
    where: Annotated[str | None, typer.Option(help="Only items that fulfil this, as in: split = 'train'.")] = None,
    keep_paths: Annotated[
        bool, typer.Option("--keep-paths", help="Say in the file where images and encoder lie on this machine.")
    ] = False,
) -> None:
    """Write items and vectors of an index for other programs. Names of slides stand in the file."""
    from histoseek.index import Index
    from histoseek.index.exporting import export_index

    opened = Index.open(index)
    with progress("exporting") as tell:
        n_items = export_index(opened, out, where=where, keep_paths=keep_paths, progress=tell)
    say(f"{counted(n_items, 'item')}, {opened.about.dim} numbers each, encoder {opened.about.encoder}")
    note(f"wrote {out}")
