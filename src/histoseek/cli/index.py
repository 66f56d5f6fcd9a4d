"""histoseek index MANIFEST --encoder ENC --out x.index [--resume], and what an index needs in later life."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup

from histoseek.cli.output import counted, note, progress, say
from histoseek.cli.writing import written

DEFAULT_ENCODER = "mini"
"""The same as `histoseek.encoders.bundled.DEFAULT`, which costs an import that `--help` can do without."""

PRECISION = "f32, or bf16/f16: faster, other vectors; auto: what this machine prefers."
BUILD = "build"
DAMAGED = 4

IndexArgument = Annotated[str, typer.Argument(help="An index folder, or s3://BUCKET/NAME.")]
PlaceArgument = Annotated[str, typer.Argument(help="An index folder, s3://BUCKET/NAME or milvus://HOST:PORT/NAME.")]
RootOption = Annotated[Path | None, typer.Option("--root", help="Where the images lie now, if they moved.")]


class _BuildsByDefault(TyperGroup):
    """`index MANIFEST …` means `index build MANIFEST …`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        first = next((argument for argument in args if not argument.startswith("-")), None)
        if args and args[0] not in ("-h", "--help") and first not in self.commands:
            args = [BUILD, *args]
        return super().parse_args(ctx, args)


verbs = typer.Typer(
    cls=_BuildsByDefault,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Embed the items of a manifest and store them as an archive: histoseek index MANIFEST --out x.index. "
    "Later: add, remove, compact, verify, snapshot, restore, push.",
)


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.add_typer(verbs, name="index")


@verbs.command(BUILD)
def build(
    manifest: Annotated[Path, typer.Argument(help="A manifest, from histoseek prepare or a CSV with id and path.")],
    out: Annotated[str, typer.Option("--out", help="The index folder to write, or s3://BUCKET/NAME.")],
    encoder: Annotated[str, typer.Option(help="See: histoseek encoders list.")] = DEFAULT_ENCODER,
    where: Annotated[str | None, typer.Option(help="Only items that fulfil this, as in: split = 'train'.")] = None,
    root: RootOption = None,
    precision: Annotated[str, typer.Option(help=PRECISION)] = "f32",
    fast: Annotated[bool, typer.Option("--fast", help="Decode JPEG files smaller: faster, other vectors.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an earlier run stopped.")] = False,
    ray: Annotated[str | None, typer.Option(help="Embed on this Ray cluster: HOST:PORT, auto, or local.")] = None,
    ray_gpus: Annotated[float, typer.Option(help="GPUs that each task on Ray asks for; 0.5 lets two share one.")] = 0.0,
) -> None:
    """Embed the items of a manifest and store them as an archive that can be searched; what `index MANIFEST` does."""
    from histoseek.encoders import load_encoder
    from histoseek.index import Index, RayWork
    from histoseek.index.drift import drift_of
    from histoseek.items import Manifest

    items = Manifest.read(manifest, root).where(where)
    chosen = load_encoder(encoder, precision=cast("Any", precision), fast=fast)
    work = None if ray is None else RayWork(ray, gpus=ray_gpus)
    with progress("embedding", "what is done is kept: go on with --resume") as tell:
        built = Index.build(items, chosen, out, resume=resume, progress=tell, ray=work)
    about = built.about
    scales = {"matched": "at the encoder's scale", "own": "coarser than it, at their own", "fitted": "scale unknown"}
    told = ", ".join(f"{n} {scales[name]}" for name, n in about.scales.items())
    say(f"{counted(about.n_items, 'item')}, {about.dim} numbers each, encoder {about.encoder} ({told})")
    if precision == "auto":
        note(f"auto chose the precision {about.fingerprint.precision}")
    if fast:
        note(drift_of(built).told)
    note(f"wrote {out}; next: histoseek search {out} --image QUERY.png --sheet hits.png")
    if about.n_skipped:
        note(f"{counted(about.n_skipped, 'image')} skipped; the reasons stand in {out.rstrip('/')}/skipped.csv")
        raise typer.Exit(1)


@verbs.command()
def add(
    index: PlaceArgument,
    manifest: Annotated[Path, typer.Argument(help="A manifest with old and new items.")],
    where: Annotated[str | None, typer.Option(help="Only items of the manifest that fulfil this.")] = None,
    root: RootOption = None,
    encoder: Annotated[str | None, typer.Option(help="Where the index's encoder lies now, if it moved.")] = None,
) -> None:
    """Embed the items that are new or whose pixels changed; running it again changes nothing."""
    from histoseek.cli.opening import open_index
    from histoseek.items import Manifest

    opened = open_index(index, encoder, root)
    with progress("embedding", "what is done is kept: run it again to go on") as tell:
        added = opened.add(Manifest.read(manifest, root).where(where), tell)
    say(
        f"{counted(added.n_new, 'new item')}, {added.n_changed} embedded again because their pixels changed, "
        f"{added.n_relabelled} with other columns, {added.n_same} as they were; {counted(len(opened), 'item')} in all"
    )
    if added.columns_left_out:
        note(f"left out, since the index has no such columns: {', '.join(added.columns_left_out)}")
    if added.skipped:
        note(f"{counted(len(added.skipped), 'image')} skipped; the first: {added.skipped[0].reason}")
        raise typer.Exit(1)


@verbs.command()
def remove(
    index: PlaceArgument,
    item: Annotated[list[str] | None, typer.Option(help="An item's id; again for more.")] = None,
    slide: Annotated[list[str] | None, typer.Option(help="All tiles of a slide; again for more.")] = None,
    patient: Annotated[list[str] | None, typer.Option(help="All items of a patient (group); again for more.")] = None,
    where: Annotated[str | None, typer.Option(help="All items that fulfil this, as in: split = 'test'.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Take items out of every answer at once; histoseek index compact takes them from the disk."""
    from histoseek.index import Index, Removal

    opened = Index.open(index)
    removed = opened.remove(Removal(item or (), slide or (), patient or (), where), dry_run=dry_run)
    would = "would be removed" if dry_run else "removed"
    say(f"{counted(len(removed), 'item')} {would}, {len(opened) - (len(removed) if dry_run else 0)} left")
    if removed and not dry_run and opened.server is None:
        note(f"their bytes leave the disk with: histoseek index compact {index}")


@verbs.command()
def push(
    index: IndexArgument,
    address: Annotated[str, typer.Argument(help="milvus://HOST:PORT/NAME, or milvus-lite:///FILE.db/NAME.")],
) -> None:
    """Fill a collection on a Milvus server with the index, or bring it up to date, and check its answers."""
    from histoseek.index import Index

    with progress("sending", "what was sent is kept: push again to go on") as tell:
        done = Index.open(index).push(address, tell)
    say(
        f"{counted(done.n_sent, 'item')} sent, {done.n_removed} taken out; recall@10 {done.recall:.3f} in "
        f"{counted(done.n_checked, 'question')}"
    )
    note(f"ready; next: histoseek search {address} --image QUERY.png")


@verbs.command()
def compact(index: IndexArgument) -> None:
    """Take what was removed from the disk, drop older versions, and make the search of a large archive quick."""
    from histoseek.index import Index

    opened = Index.open(index)
    changed = opened.compact()
    say(f"{'compacted' if changed else 'nothing to do'}: {counted(len(opened), 'item')}")


@verbs.command()
def verify(index: IndexArgument) -> None:
    """Read every byte and hold it against its checksum; exit code 4 where something differs."""
    from histoseek.index import Index

    with progress("verifying") as tell:
        found = Index.open(index).verify(tell)
    for line in (*found.damage, *found.remarks):
        say(line)
    if found.damage:
        note(f"{index} is damaged: restore a snapshot, or remove the rows that are named and add them again")
        raise typer.Exit(DAMAGED)
    files = (
        f" and {counted(found.n_files, 'file')}" if found.n_files else ""
    )  # on object storage rows alone are checked
    say(f"{counted(found.n_rows, 'row')}{files} are what was stored")


@verbs.command()
def snapshot(
    index: IndexArgument, out: Annotated[Path, written("--out", help="The file to write, as in x.snapshot.")]
) -> None:
    """Write the index into one file with a checksum for everything in it."""
    from histoseek.index import write_snapshot

    n_files = write_snapshot(index, out)
    say(f"wrote {counted(n_files, 'file')} into {out}; back with: histoseek index restore {out} --out y.index")


@verbs.command()
def restore(
    snapshot: Annotated[Path, typer.Argument(help="A file that histoseek index snapshot wrote.")],
    out: Annotated[Path, written("--out", help="The index folder to write.")],
) -> None:
    """Bring a snapshot back as an index folder, after checking everything in it."""
    from histoseek.index import restore_snapshot

    restored = restore_snapshot(snapshot, out)
    say(f"{counted(len(restored), 'item')} restored into {out}")
