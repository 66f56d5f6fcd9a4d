"""histoseek index MANIFEST --encoder ENC --out x.index [--resume]."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from histoseek.cli.output import counted, note, progress, say

DEFAULT_ENCODER = "mini"
"""The same as `histoseek.encoders.bundled.DEFAULT`, which costs an import that `--help` can do without."""


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("index")(index)


def index(
    manifest: Annotated[Path, typer.Argument(help="A manifest, from histoseek prepare or a CSV with id and path.")],
    out: Annotated[Path, typer.Option("--out", help="The index folder to write.")],
    encoder: Annotated[str, typer.Option(help="See: histoseek encoders list.")] = DEFAULT_ENCODER,
    where: Annotated[str | None, typer.Option(help="Only items that fulfil this, as in: split = 'train'.")] = None,
    root: Annotated[Path | None, typer.Option(help="Where the images lie now, if they moved.")] = None,
    precision: Annotated[str, typer.Option(help="f32, or bf16/f16: faster, other vectors.")] = "f32",
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an earlier run stopped.")] = False,
) -> None:
    """Embed the items of a manifest and store them as an archive that can be searched."""
    from histoseek.encoders import load_encoder
    from histoseek.index import Index
    from histoseek.items import Manifest

    items = Manifest.read(manifest, root).where(where)
    chosen = load_encoder(encoder, precision=cast("Any", precision))
    with progress("embedding", "what is done is kept: go on with --resume") as tell:
        built = Index.build(items, chosen, out, resume=resume, progress=tell)
    about = built.about
    scales = {"matched": "at the encoder's scale", "own": "coarser than it, at their own", "fitted": "scale unknown"}
    told = ", ".join(f"{n} {scales[name]}" for name, n in about.scales.items())
    say(f"{counted(about.n_items, 'item')}, {about.dim} numbers each, encoder {about.encoder} ({told})")
    note(f"wrote {out}; next: histoseek search {out} --image QUERY.png --sheet hits.png")
    if about.n_skipped:
        note(f"{counted(about.n_skipped, 'image')} skipped; the reasons stand in {out / 'skipped.csv'}")
        raise typer.Exit(1)
