"""histoseek demo: the whole story on drawn tissue."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from histoseek.cli.output import note, progress, show_rows

COLUMNS = ("rank", "score", "label", "group", "id")


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("demo")(demo)


def demo(
    out: Annotated[Path, typer.Option("--out", help="The folder to write into; an earlier demo in it is replaced.")] = (
        Path("demo")
    ),
) -> None:
    """Draw a sample of synthetic tissue, then prepare, index, search and evaluate it."""
    import shutil

    from histoseek.datasets import prepare_with_report
    from histoseek.errors import InputError
    from histoseek.phantom import write_sample

    if out.exists() and not (out / "sample" / "README.txt").is_file() and any(out.iterdir()):
        raise InputError(f"{out} exists and holds no earlier demo; choose another --out")
    shutil.rmtree(out, ignore_errors=True)
    typer.echo("1. A sample: synthetic tissue of eight kinds, drawn for sixteen patients")
    sample = write_sample(out / "sample")
    typer.echo("\n2. prepare: what is there, and whether it is fit for an honest evaluation")
    prepared = prepare_with_report("folder", sample, sidecar="patients.csv", dataset="phantom")
    for line in prepared.summary.lines():
        typer.echo(f"   {line}")
    manifest = prepared.manifest.split({"gallery": 0.75, "query": 0.25}, seed=1)
    manifest.write(out / "sample.parquet")
    _search_and_evaluate(out)


def _search_and_evaluate(out: Path) -> None:
    import histoseek as hs

    manifest = hs.Manifest.read(out / "sample.parquet")
    queries = manifest.where(split="query")
    typer.echo("\n3. index: three quarters of the patients, with the colour-and-texture encoder")
    with progress("embedding") as tell:
        index = hs.Index.build(
            manifest.where(split="gallery"), hs.load_encoder("color"), out / "demo.index", progress=tell
        )
    asked = next(item for item in queries if item.label == "gland")
    typer.echo(f"\n4. search by image: {asked.path}, of a patient who is not in the archive")
    hits = index.search(image=manifest.path_of(asked), mpp=asked.mpp, k=10)
    show_rows(hits.rows(), False, COLUMNS)
    hits.sheet(out / "hits.png", manifest.path_of(asked))
    typer.echo("\n5. the same, filtered: label != 'gland', at most one hit of a patient")
    show_rows(
        index.search(image=manifest.path_of(asked), mpp=asked.mpp, k=5, where="label != 'gland'", per_group=1).rows(),
        False,
        COLUMNS,
    )
    typer.echo("\n6. evaluate: queries and gallery share no patient")
    report = hs.evaluate(index, queries)
    report.write(out / "report", manifest.root)
    (out / "report" / "report.html").replace(out / "report.html")
    rows = [
        {
            "metric": name,
            "mean": report.scores[name].value,
            "95 %": f"{report.scores[name].low:.3f}–{report.scores[name].high:.3f}",
        }
        for name in ("Acc@1", "P@5", "mMV@5", "mAP@10", "nDCG@10")
    ]
    show_rows(rows, False)
    typer.echo(
        f"\nLook at {out / 'hits.png'} and {out / 'report.html'}. The tissue is synthetic: nothing here is evidence."
    )
    note(
        f"Try next: histoseek search {out / 'demo.index'} --image YOURS.png --mpp 0.5 --sheet mine.png\n"
        "          histoseek prepare folder YOUR_IMAGES/ --out mine.parquet"
    )
