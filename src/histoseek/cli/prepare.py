"""histoseek prepare DATASET SOURCE --out m.parquet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from histoseek.cli.output import note, progress, say
from histoseek.cli.writing import written
from histoseek.errors import InputError


class _WithOptions(TyperCommand):
    """Ends its help with the datasets and their own options, which are looked up only then."""

    def get_help(self, ctx: Any) -> str:
        from histoseek.datasets import dataset_names, find_dataset, tile_options

        lines = [super().get_help(ctx), "", "Datasets and their options (-o KEY=VALUE):"]
        for name in dataset_names():
            dataset = find_dataset(name)
            options = "  ".join(str(option) for option in dataset.options) or "no options"
            lines += [f"  {name}: {dataset.title}; licence {dataset.licence}", f"      {options}"]
        lines += ["  wherever there are whole slides, which are cut into tiles:"]
        lines += [f"      {'  '.join(str(option) for option in tile_options())}"]
        return "\n".join(lines)


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("prepare", cls=_WithOptions)(prepare)


def prepare(
    dataset: Annotated[str, typer.Argument(help="slides, folder, csv, bracs, crc, bach, nct-crc, breakhis.")],
    source: Annotated[Path, typer.Argument(help="The folder (or table, for csv) as it was downloaded.")],
    out: Annotated[Path, written("--out", help="The manifest to write.")],
    mpp: Annotated[float | None, typer.Option(help="µm per pixel of every image, where you know it.")] = None,
    option: Annotated[list[str] | None, typer.Option("--option", "-o", help="An option of the dataset.")] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="Slides: draw tissue and tiles of each into the work folder.")
    ] = False,
    write_tiles: Annotated[
        Path | None, written("--write-tiles", help="Slides: write the tiles as JPEGs into this folder.")
    ] = None,
) -> None:
    """Make a manifest of a dataset: counts, groups and leaks are checked; images are neither copied nor changed."""
    from histoseek.datasets import prepare_with_report
    from histoseek.items import write_skipped

    if out.suffix != ".parquet":
        raise InputError(f"the manifest is a Parquet file: write --out {out.with_suffix('.parquet')}")
    work_dir = out.with_suffix(".slides")
    flags: dict[str, Any] = {"work_dir": work_dir} | ({"preview": True} if preview else {})
    options = flags | ({} if write_tiles is None else {"write_tiles": write_tiles}) | _options(option or ())
    after = f"no manifest was written; slides that are done are kept in {work_dir}, and the same command goes on"
    with progress("preparing", after) as tell:
        prepared = prepare_with_report(dataset, source, mpp=mpp, progress=tell, **options)
    prepared.manifest.write(out)
    skipped_path = out.with_name("skipped.csv")
    write_skipped(skipped_path, prepared.skipped)
    for line in prepared.summary.lines():
        say(line)
    note(f"wrote {out}; next: histoseek index {out} --out {out.with_suffix('.index')}")
    if prepared.skipped:
        n_skipped = len(prepared.skipped)
        told = "file was skipped; the reason stands" if n_skipped == 1 else "files were skipped; the reasons stand"
        note(f"{n_skipped} {told} in {skipped_path}")
        raise typer.Exit(1)


def _options(pairs: Sequence[str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign:
            raise InputError(f"option {pair!r} is not of the form KEY=VALUE")
        if key in ("mpp", "progress"):
            raise InputError(f"{key} is no option of a dataset; the scale is stated with --mpp")
        options[key] = value
    return options
