"""histoseek evaluate INDEX --queries M [--protocol ...] --out report/."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from histoseek.cli.opening import open_index
from histoseek.cli.output import note, progress, show_rows
from histoseek.cli.writing import written
from histoseek.errors import InputError

if TYPE_CHECKING:
    from histoseek.evaluation import LevelSettings
    from histoseek.index import Index, Level


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("evaluate")(evaluate)


def evaluate(
    index: Annotated[str, typer.Argument(help="An index folder.")],
    out: Annotated[Path, written("--out", help="The folder to write the report into.")],
    queries: Annotated[Path | None, typer.Option(help="A manifest of queries; without it the index's own.")] = None,
    query_root: Annotated[Path | None, typer.Option(help="Where the queries' images lie now, if they moved.")] = None,
    where: Annotated[
        str | None,
        typer.Option(help="Only queries (at a level, tiles) that fulfil this."),
    ] = None,
    gallery: Annotated[str | None, typer.Option(help="Only these items can be found, as in: split = 'train'.")] = None,
    protocol: Annotated[
        str | None, typer.Option(help="split (with --queries) or leave-group-out (without), unless stated.")
    ] = None,
    level: Annotated[str, typer.Option(help="item, slide or case: what asks and what is found.")] = "item",
    label: Annotated[
        str | None,
        typer.Option(help="The column that decides what is relevant (label; for slides slide_label if there)."),
    ] = None,
    n_bootstrap: Annotated[int, typer.Option(help="Rounds of drawing groups for the intervals.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of those rounds.")] = 0,
    encoder: Annotated[str | None, typer.Option(help="The index's encoder, if its folder moved.")] = None,
    root: Annotated[Path | None, typer.Option(help="Where the index's images lie now, if they moved.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a metric.")] = False,
) -> None:
    """Measure how well an archive finds items with the label of the query, never a patient by itself."""
    import histoseek.evaluation as rooms
    from histoseek.items import Manifest

    opened = open_index(index, encoder, root)
    if level != "item":
        _check_level(level, queries or query_root or gallery or protocol)
        chosen_level = rooms.LevelSettings(label=label, where=where, n_bootstrap=n_bootstrap, seed=seed)
        _evaluate_level(opened, cast("Any", level), chosen_level, out, as_json)
        return
    asked = where if queries is None else Manifest.read(queries, query_root).where(where)
    chosen = protocol or ("leave-group-out" if queries is None else "split")
    settings: rooms.SettingOptions = {
        "label": label or "label",
        "gallery": gallery,
        "n_bootstrap": n_bootstrap,
        "seed": seed,
    }
    settings["protocol"] = cast("rooms.ProtocolName", chosen)
    report = rooms.evaluate(opened, asked, **settings)
    report.write(out, opened.root, asked.root if isinstance(asked, Manifest) else None)
    rows = [
        {
            "metric": name,
            "mean": score.value,
            "95 %": f"{score.low:.3f}–{score.high:.3f}",
            "macro": report.macro[name].value,
            "macro 95 %": f"{report.macro[name].low:.3f}–{report.macro[name].high:.3f}",
        }
        for name, score in report.scores.items()
    ]
    show_rows(rows, as_json)
    _note_protocol(report.protocol, out)
    if report.skipped:
        note(f"queries skipped: {len(report.skipped)}; the reasons stand in {out / 'skipped.csv'}")
        raise typer.Exit(1)


def _note_protocol(facts: Mapping[str, Any], out: Path) -> None:
    note(
        f"{facts['protocol']}: {facts['queries']} queries of {facts['query groups']} groups against "
        f"{facts['gallery items']} items; excluded: {facts['exclusion']}; encoder {facts['encoder']}, "
        f"{facts['precision']}; wrote {out / 'report.html'}"
    )


def _check_level(level: str, other: object) -> None:
    if level not in ("slide", "case"):
        raise InputError(f"there is no level {level!r}; choose item, slide or case")
    if other is not None:
        raise InputError(
            f"at level {level} all {level}s of the archive ask each other: take --queries, --query-root, --gallery and "
            "--protocol out"
        )


def _evaluate_level(opened: Index, level: Level, settings: LevelSettings, out: Path, as_json: bool) -> None:
    """One table over the ways to compare slides or cases, and a report of each."""
    from histoseek.evaluation import evaluate_level, write_levels

    with progress(f"comparing {level}s") as tell:
        reports = evaluate_level(opened, level, settings, tell)
    write_levels(reports, out, opened.root)
    rows = []
    for method, report in reports.items():
        row: dict[str, Any] = {"method": method}
        for k in (1, 3, 5):
            score = report.scores[f"mMV@{k}"]
            row |= {f"MV@{k}": score.value, f"95 % of MV@{k}": f"{score.low:.3f}–{score.high:.3f}"}
        rows.append(row | {"macro MV@5": report.macro["mMV@5"].value})
    show_rows(rows, as_json)
    facts = next(iter(reports.values())).protocol
    note(
        f"{facts['queries']} {level}s of {facts['query groups']} groups, {facts['classes']} labels in "
        f"{facts['label']}; excluded: {facts['exclusion']}; encoder {facts['encoder']}; reports in {out}"
    )
