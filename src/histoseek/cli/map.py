"""histoseek map INDEX."""

from __future__ import annotations

from typing import Annotated

import typer

from histoseek.cli.output import counted, note, progress, say


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("map")(draw_map)


def draw_map(index: Annotated[str, typer.Argument(help="An index folder, or s3://BUCKET/NAME.")]) -> None:
    """Lay out an archive as points in the plane, which the page shows as a map; histoseek serve does it too.

    Minutes for a million items. The map is kept beside the index until the archive changes.
    """
    from histoseek.index import Index
    from histoseek.index.layout import has_layout, make_layout

    opened = Index.open(index)
    if has_layout(opened):
        note("the map is there already")
    with progress("drawing the map") as tell:
        layout = make_layout(opened, tell)
    say(f"{counted(len(layout.points), 'item')} on the map: {layout.method}")
