"""histoseek encoders list | info | export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from histoseek.cli.output import note, say, show_rows
from histoseek.cli.writing import written


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    verbs = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What can be loaded, its licence; export.")
    verbs.command("list")(list_)
    verbs.command("info")(info)
    verbs.command("export")(export)
    app.add_typer(verbs, name="encoders")


def list_(as_json: Annotated[bool, typer.Option("--json", help="One JSON object an encoder.")] = False) -> None:
    """List encoders known by name: licence, whether gated, whether they read words."""
    from histoseek.encoders import known_encoders

    commercial = {True: "yes", False: "no", None: "unclear"}
    rows = [
        {
            "name": card.name,
            "text": "yes" if card.has_text else "no",
            "dim": card.dim,
            "gated": "yes" if card.gated else "no",
            "commercial use": commercial[card.commercial_use],
            "licence": card.licence,
            "about": card.about,
        }
        for card in known_encoders()
    ]
    show_rows(rows, as_json)
    note("any other hf:NAME of the CLIP family, ViT, DINOv2 or ResNet, and any encoder folder, can be loaded too")


def info(
    encoder: Annotated[str, typer.Argument(help="A name or a folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Load an encoder and say all that is known of it."""
    from histoseek.encoders import describe, load_encoder

    about = describe(load_encoder(encoder))
    rows = [about] if as_json else [{"what": name, "value": str(value)} for name, value in about.items()]
    show_rows(rows, as_json)


def export(
    encoder: Annotated[str, typer.Argument(help="A name, or a model folder in the hub's format.")],
    out: Annotated[Path, written("--out", help="The encoder folder to write.")],
    mpp: Annotated[float | None, typer.Option(help="The scale its views are to have, µm per pixel.")] = None,
    int8: Annotated[
        Path | None, typer.Option(help="Write the int8 variant of an encoder folder, by this manifest's images.")
    ] = None,
) -> None:
    """Write an encoder as an encoder folder that runs without PyTorch, and prove that it gives the same vectors."""
    from histoseek.encoders import export_encoder

    if int8 is not None:
        _export_int8(encoder, int8, out, mpp)
        return
    exported = export_encoder(encoder, out, mpp=mpp)
    words = "" if exported.text_cosine is None else f", texts {exported.text_cosine:.6f}"
    say(f"wrote {exported.folder}; smallest cosine with the original: images {exported.image_cosine:.6f}{words}")


def _export_int8(encoder: str, manifest: Path, out: Path, mpp: float | None) -> None:
    from histoseek.encoders import load_encoder
    from histoseek.encoders.int8 import export_int8
    from histoseek.items import Manifest

    done = export_int8(load_encoder(encoder, mpp=mpp), Manifest.read(manifest), out)
    say(
        f"wrote {done.folder}, calibrated on {done.n_calibrated} views; cosine with the original on {done.n_compared} "
        f"others: mean {done.mean_cosine:.4f}, smallest {done.least_cosine:.4f}"
    )
