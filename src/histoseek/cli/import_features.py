"""histoseek import SOURCE --encoder NAME --out x.index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from histoseek.cli.output import counted, note, progress, say


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("import")(import_features)


def import_features(
    source: Annotated[Path, typer.Argument(help="A folder of TRIDENT's or CLAM's feature files (.h5, one a slide).")],
    encoder: Annotated[str, typer.Option(help="What made the vectors, as in uni_v1 or hf:owkin/phikon.")],
    out: Annotated[str, typer.Option("--out", help="The index folder to write, or s3://BUCKET/NAME.")],
    slides: Annotated[Path | None, typer.Option(help="The folder of the slides: pictures and their scale.")] = None,
    table: Annotated[
        Path | None, typer.Option(help="A CSV with a row a slide: slide, label, patient, case, split, …")
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="A pattern for the patient in slide names, as in '(P\\d+)_'.")
    ] = None,
    patches: Annotated[
        Path | None, typer.Option(help="CLAM's folder of patch files, which say how large tiles are.")
    ] = None,
    tile_px: Annotated[
        int | None, typer.Option("--tile-px-level0", help="Side of a tile in level-0 pixels, where no file says it.")
    ] = None,
    mpp: Annotated[float | None, typer.Option(help="µm per pixel at level 0, where slides do not say it.")] = None,
    view_px: Annotated[int | None, typer.Option(help="Pixels of the pictures that the encoder was given.")] = None,
    view_mpp: Annotated[
        float | None, typer.Option(help="µm per pixel of the pictures that the encoder was given.")
    ] = None,
) -> None:
    """Make an index of features that another program computed. It is quick, so it starts anew instead of resuming."""
    from histoseek.errors import needs_extra

    with needs_extra("slides"):
        from histoseek.index.importing import ImportSettings
        from histoseek.index.importing import import_features as import_files

    given = ImportSettings(slides, patches, table, group, tile_px, mpp, view_px, view_mpp)
    with progress("importing") as tell:
        done = import_files(source, encoder, out, given, progress=tell)
    about = done.about
    say(f"{counted(about.n_items, 'tile')}, {about.dim} numbers each, encoder {about.encoder}")
    for message in done.notes:
        note(message)
    note(f"wrote {out}; next: histoseek info {out}")
    if about.n_skipped:
        note(f"{counted(about.n_skipped, 'reason')} to leave files or tiles out: see {out.rstrip('/')}/skipped.csv")
        raise typer.Exit(1)
