"""What `histoseek search --slide` and `--case` print: slides or patients, and the tiles that speak for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from histoseek.cli.output import note, show_rows
from histoseek.errors import InputError

if TYPE_CHECKING:
    from histoseek.index import Index, Level

COLUMNS = ["rank", "score", "name", "label", "group", "n_tiles"]
ONLY_TILES = ("per_group", "per_slide", "min_score", "geojson")


def show_wholes(
    opened: Index,
    asked: tuple[str | None, str | None],
    examples: Sequence[Any],
    rules: dict[str, Any],
    outputs: tuple[bool, Path | None, Path | None],
) -> None:
    """Search for slides or cases like the one `asked`, (slide, case), and print, write and draw what was found."""
    wholes = [(name, level) for name, level in zip(asked, ("slide", "case"), strict=True) if name is not None]
    unfit = [name for name in ONLY_TILES if rules[name] is not None] + (["collapse"] if rules["collapse"] else [])
    if len(wholes) > 1 or examples or unfit:
        what = f"--{unfit[0].replace('_', '-')}" if unfit else "another query"
        raise InputError(f"--slide and --case stand alone: take {what} out")
    (name, level), (as_json, csv, sheet) = wholes[0], outputs
    no_patient = rules["exclude_group"] is not False
    hits = opened.search_wholes(
        name, cast("Level", level), k=rules["k"], where=rules["where"], exclude_group=no_patient
    )
    rows = hits.rows()
    show_rows(rows, as_json, COLUMNS)
    if not rows:
        note(f"nothing was found: the archive holds no other patient's {level}")
    elif not as_json:
        for row in rows[:3]:
            pairs = "; ".join(f"{pair['query']} ~ {pair['hit']} ({pair['score']:.3f})" for pair in row["pairs"])
            note(f"{row['rank']}. {row['name']}: {pairs}")
        votes = ", ".join(f"{label or 'none'} of the first {k}" for k, label in hits.votes().items())
        note(f"most frequent label: {votes}. Research use only, never a diagnosis.")
    if csv is not None:
        hits.to_csv(csv)
        note(f"wrote {csv}")
    if sheet is not None:
        hits.sheet(sheet)
        note(f"wrote {sheet}")
