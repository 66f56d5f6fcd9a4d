"""histoseek demo: the whole story on drawn tissue."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from histoseek.cli.output import note, progress, say, show_rows
from histoseek.cli.writing import written
from histoseek.errors import InputError

MARKER = ".histoseek-demo"
"""The file by which a demo knows its own folder again."""
MARK = "histoseek demo wrote this folder; running it again replaces what it wrote, and nothing else\n"
WRITTEN = ("sample", "sample.parquet", "demo.index", "hits.png", "words.png", "report", "report.html")
WORDS = "colonic mucosa"
COLUMNS = ("rank", "score", "label", "group", "id")


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("demo")(demo)


def demo(
    out: Annotated[Path, written("--out", help="The folder to write into; an earlier demo in it is replaced.")] = (
        Path("demo")
    ),
) -> None:
    """Draw a sample of synthetic tissue, then prepare, index, search and evaluate it."""
    from histoseek.datasets import prepare_with_report
    from histoseek.phantom import write_sample

    _make_room(out)
    say("1. A sample: synthetic tissue of eight kinds, drawn for sixteen patients")
    sample = write_sample(out / "sample")
    say("\n2. prepare: what is there, and whether it is fit for an honest evaluation")
    prepared = prepare_with_report("folder", sample, sidecar="patients.csv", dataset="phantom")
    for line in prepared.summary.lines():
        say(f"   {line}")
    manifest = prepared.manifest.split({"gallery": 0.75, "query": 0.25}, seed=1)
    manifest.write(out / "sample.parquet")
    _search_and_evaluate(out)


def _make_room(out: Path) -> None:
    """Make the folder, or take an earlier demo out of it; a folder that no demo marked is refused unless empty."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; choose a folder for --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not _is_marked(out) and any(out.iterdir()):
            raise InputError(f"{out} exists and holds no earlier demo; choose another --out")
        (out / MARKER).write_bytes(MARK.encode())
        for name in WRITTEN:
            _remove(out / name)
    except OSError as error:
        raise InputError(f"cannot write into {out}: {error.strerror or error}; choose another --out") from error


def _is_marked(out: Path) -> bool:
    marker = out / MARKER
    return marker.is_file() and marker.read_bytes() == MARK.encode()


def _remove(path: Path) -> None:
    """Remove a file, a folder, or a link but not what it leads to."""
    import shutil

    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _command() -> str:
    """What to type for this program: as it was called, where a shell would not find it by its name."""
    import shutil
    import sys

    called = Path(sys.argv[0])
    return str(called) if called.name == "histoseek" and shutil.which("histoseek") is None else "histoseek"


def _search_and_evaluate(out: Path) -> None:
    import histoseek as hs

    manifest = hs.Manifest.read(out / "sample.parquet")
    queries = manifest.where(split="query")
    say("\n3. index: three quarters of the patients, with the bundled encoder mini")
    with progress("embedding") as tell:
        index = hs.Index.build(manifest.where(split="gallery"), "mini", out / "demo.index", progress=tell)
    asked = next(item for item in queries if item.label == "gland")
    say(f"\n4. search by image: {asked.path}, of a patient who is not in the archive")
    hits = index.search(image=manifest.path_of(asked), mpp=asked.mpp, k=10)
    show_rows(hits.rows(), False, COLUMNS)
    hits.sheet(out / "hits.png", asked)
    say("\n5. the same, filtered: label != 'gland', at most one hit of a patient")
    show_rows(
        index.search(image=manifest.path_of(asked), mpp=asked.mpp, k=5, where="label != 'gland'", per_group=1).rows(),
        False,
        COLUMNS,
    )
    say(f"\n6. search by words: {WORDS!r}")
    words = index.search(text=WORDS, k=5)
    show_rows(words.rows(), False, COLUMNS)
    words.sheet(out / "words.png")
    say("\n7. evaluate: queries and gallery share no patient")
    report = hs.evaluate(index, queries)
    report.write(out / "report", index.root)
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
    say(f"\nLook at {out / 'hits.png'}, {out / 'words.png'} and {out / 'report.html'}.")
    say("The tissue is synthetic, and mini has never seen any: nothing here is evidence.")
    say(f"See it in the browser: {_command()} serve {out / 'demo.index'} --report {out / 'report'} --open")
    note(
        f"Try next: histoseek search {out / 'demo.index'} --image YOURS.png --mpp 0.5 --sheet mine.png\n"
        "          histoseek prepare folder YOUR_IMAGES/ --out mine.parquet"
    )
