"""histoseek compare REPORT..."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from histoseek.cli.output import note, say
from histoseek.cli.writing import written


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("compare")(compare)


def compare(
    reports: Annotated[list[Path], typer.Argument(help="Report folders over the same queries.")],
    metric: Annotated[list[str] | None, typer.Option(help="A metric to compare, as in mAP@10; repeatable.")] = None,
    out: Annotated[Path | None, written("--out", help="Write the tables into this Markdown file.")] = None,
) -> None:
    """Put reports side by side and test their differences, paired by query, Holm-corrected."""
    from histoseek.evaluation import METRICS, Report, named_reports
    from histoseek.evaluation import compare as compare_reports

    read = [(path, Report.read(path)) for path in reports]
    comparison = compare_reports(named_reports(read), metric or METRICS)
    say(comparison.markdown())
    if out is not None:
        comparison.write(out)
        note(f"wrote {out}")
