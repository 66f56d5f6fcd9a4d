"""histoseek heat INDEX SLIDE (--image F | --text T | --item ID | --region R) --out heat.png."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from histoseek.cli.opening import open_index
from histoseek.cli.output import note
from histoseek.cli.search import Ordered, read_example
from histoseek.cli.writing import written
from histoseek.errors import InputError


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("heat", cls=Ordered)(heat)


def heat(
    index: Annotated[str, typer.Argument(help="An index folder of slides.")],
    slide: Annotated[str, typer.Argument(help="A slide of the archive, by name or file.")],
    out: Annotated[Path, written("--out", help="A picture (.png), or a pyramid to lay on the slide (.tif).")],
    image: Annotated[list[str] | None, typer.Option(help="Similarity to this image file.")] = None,
    text: Annotated[list[str] | None, typer.Option(help="Similarity to these words.")] = None,
    item: Annotated[list[str] | None, typer.Option(help="Similarity to this item of the archive, by id.")] = None,
    region: Annotated[list[str] | None, typer.Option(help="Similarity to this part of a slide.")] = None,
    minus: Annotated[bool, typer.Option("--minus", help="The next example is one to get away from.")] = False,
    weight: Annotated[float | None, typer.Option(help="Weight of the next example (1; 0.5 after --minus).")] = None,
    mpp: Annotated[float | None, typer.Option(help="µm per pixel of the query images or slides.")] = None,
    encoder: Annotated[str | None, typer.Option(help="The index's encoder, if its folder moved.")] = None,
    root: Annotated[Path | None, typer.Option(help="Where the index's slides lie now, if they moved.")] = None,
    example: Annotated[list[str] | None, typer.Option(hidden=True)] = None,
) -> None:
    """Draw how similar every tile of a slide is to a query."""
    from histoseek.figures.heat import draw_heat, write_overlay
    from histoseek.index import heat_of
    from histoseek.items import written_whole

    if out.suffix.lower() not in (".png", ".tif", ".tiff"):
        raise InputError(f"the heat map cannot be written into {out}; name a file that ends in .png or .tif")
    examples = [read_example(packed, mpp) for packed in example or ()]
    if not examples:
        raise InputError("nothing is asked: give --image, --text, --item or --region")
    opened = open_index(index, encoder, root)
    found = heat_of(opened, opened.vector_of(examples), slide)
    if out.suffix.lower() == ".png":
        with written_whole(out) as draft:
            draw_heat(found, ", ".join(map(_told, examples))).save(draft)
    else:
        write_overlay(found, out)
    note(
        f"wrote {out}: {len(found.scores)} tiles of {found.slide}, cosines {found.scores.min():.3f} to "
        f"{found.scores.max():.3f}. Research use only, never a diagnosis."
    )


def _told(example: Any) -> str:
    """An example in words for the picture, files without their folders."""
    value = str(example.value)
    if example.kind in ("image", "region"):
        value = ":".join(Path(part).name for part in value.split(":"))
    return f"{'minus ' if example.weight < 0 else ''}{example.kind} {value}"
