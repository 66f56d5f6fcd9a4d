"""histoseek search INDEX (--image | --text | --item | --region | --slide | --case | --session) ... [-k] [--where]."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from typer.core import TyperCommand

from histoseek.cli.opening import open_index
from histoseek.cli.output import counted, note, show_rows
from histoseek.cli.slide_search import show_wholes
from histoseek.cli.timing import Clock
from histoseek.cli.writing import written
from histoseek.errors import InputError

if TYPE_CHECKING:
    from histoseek.index import Hits, Index, RuleOptions, Vote

KINDS = ("--image", "--text", "--item", "--region")
COLUMNS = ["rank", "score", "label", "group", "id"]
PICTURE_SIDE = 512
_MARK = "\x1f"


class Ordered(TyperCommand):
    """Reads --minus and --weight as belonging to the example that follows, which click's parser cannot."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the examples into their order before the parser sees them."""
        rewritten: list[str] = super().parse_args(ctx, examples_in_order(args))
        return rewritten


def examples_in_order(args: list[str]) -> list[str]:
    """Rewrite `--minus --weight 2 --item 42` as one hidden option that carries kind, weight and value."""
    rewritten: list[str] = []
    sign, weight = "+", ""
    left = iter(args)
    for argument in left:
        name, equals, value = argument.partition("=")
        if argument == "--minus":
            sign = "-"
        elif name == "--weight":
            weight = value if equals else next(left, "")
        elif name in KINDS:
            value = value if equals else next(left, "")
            rewritten += ["--example", _MARK.join((name[2:], sign, weight, value))]
            sign, weight = "+", ""
        else:
            rewritten.append(argument)
    if sign == "-" or weight:
        raise InputError("--minus and --weight come before the example they belong to, as in: --minus --item 42")
    return rewritten


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("search", cls=Ordered)(search)


def search(
    index: Annotated[str, typer.Argument(help="An index folder, s3://BUCKET/NAME or milvus://HOST:PORT/NAME.")],
    image: Annotated[list[str] | None, typer.Option(help="Looks like this image file.")] = None,
    text: Annotated[list[str] | None, typer.Option(help="Looks like these words (encoders with text).")] = None,
    item: Annotated[list[str] | None, typer.Option(help="Looks like this item of the archive, by id.")] = None,
    region: Annotated[
        list[str] | None,
        typer.Option(help="Looks like this part of a slide: SLIDE:X,Y,W,H in pixels (or um) or SLIDE:OUTLINE.geojson."),
    ] = None,
    slide: Annotated[str | None, typer.Option(help="Which slides resemble this one of the archive?")] = None,
    case: Annotated[str | None, typer.Option(help="Which patients resemble this one of the archive?")] = None,
    session: Annotated[Path | None, typer.Option(help="Ask again what the page saved in this file.")] = None,
    minus: Annotated[bool, typer.Option("--minus", help="The next example is one to get away from.")] = False,
    weight: Annotated[float | None, typer.Option(help="Weight of the next example (1; 0.5 after --minus).")] = None,
    k: Annotated[int, typer.Option("-k", help="How many hits.")] = 10,
    where: Annotated[str | None, typer.Option(help="Filter, as in: label != 'Normal' AND mpp < 0.6.")] = None,
    mpp: Annotated[float | None, typer.Option(help="µm per pixel of the query images or slides.")] = None,
    exclude_group: Annotated[
        bool | None, typer.Option("--exclude-group/--keep-group", help="Leave out the patient of the query's items.")
    ] = None,
    per_group: Annotated[int | None, typer.Option(help="At most so many hits of one patient.")] = None,
    per_slide: Annotated[int | None, typer.Option(help="At most so many hits of one slide.")] = None,
    collapse: Annotated[bool, typer.Option("--collapse", help="Show near-duplicates once.")] = False,
    min_score: Annotated[float | None, typer.Option(help="Leave out hits with a lower cosine.")] = None,
    sheet: Annotated[Path | None, written(help="Draw the hits into this picture.")] = None,
    csv: Annotated[Path | None, written(help="Write the hits into this CSV file.")] = None,
    geojson: Annotated[Path | None, written(help="Write the hits for QuPath into this folder.")] = None,
    encoder: Annotated[str | None, typer.Option(help="The index's encoder, if its folder moved.")] = None,
    root: Annotated[Path | None, typer.Option(help="Where the index's images lie now, if they moved.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a hit.")] = False,
    timing: Annotated[bool, typer.Option("--timing", help="Say on stderr where the time went.")] = False,
    example: Annotated[list[str] | None, typer.Option(hidden=True)] = None,
) -> None:
    """Find the items of an archive that look like an image, words, another item or a region of a slide.

    Several examples add up. With --slide or --case, find whole slides or patients. --session brings its own rules.
    """
    clock = Clock(timing)
    rules: dict[str, Any] = {"k": k, "where": where, "exclude_group": exclude_group, "collapse": collapse}
    rules |= {"per_group": per_group, "per_slide": per_slide, "min_score": min_score}
    with clock.step("imports"):
        from histoseek.index import Rules

        examples = [read_example(packed, mpp) for packed in example or ()]
    with clock.step("opening the index"):
        opened = open_index(index, encoder, root)
    if slide is not None or case is not None:
        with clock.step("searching and printing"):
            show_wholes(opened, (slide, case), examples, rules | {"geojson": geojson}, (as_json, csv, sheet))
        clock.tell()
        return
    Rules(**rules)  # a wrong one is told before anything is embedded
    hits = _found(opened, examples, rules, clock) if session is None else _replayed(opened, session, examples, clock)
    with clock.step("printing and drawing"):
        _show(hits, examples, as_json)
        _write(hits, csv, geojson)
        if sheet is not None:
            hits.sheet(sheet, *_picture(opened, examples))
            note(f"wrote {sheet}")
    clock.tell()


def _found(index: Index, examples: list[Any], rules: dict[str, Any], clock: Clock) -> Hits:
    """What `Index.search` finds, in steps that can be timed."""
    if not examples:
        return index.search()  # which says what is missing
    with clock.step("opening the index"):
        if index.server is None:
            _ = index.rows
    with clock.step("loading the encoder"):
        if any(one.kind != "item" for one in examples):
            _ = index.encoder
    with clock.step("embedding the query"):
        vector = index.vector_of(examples)
    with clock.step("searching"):
        return index.answer(vector, examples, **cast("RuleOptions", rules))


def _replayed(index: Index, session: Path, examples: list[Any], clock: Clock) -> Hits:
    if examples:
        raise InputError("--session brings its own question; leave out --image, --text, --item and --region")
    from histoseek.errors import needs_extra

    with needs_extra("web"):
        from histoseek.web.session_file import replay_session
    with clock.step("asking again"):
        return replay_session(index, session)


def _show(hits: Hits, examples: list[Any], as_json: bool) -> None:
    for one in examples:
        _say_if_scale_unknown(one)
    show_rows(hits.rows(), as_json, [*COLUMNS, "slide", "box"] if any(hit.item.box for hit in hits) else COLUMNS)
    if not hits:
        note("nothing was found: the filter or the minimum score leaves no item")
    if not as_json:
        _note_vote(hits.vote())


def _write(hits: Hits, csv: Path | None, geojson: Path | None) -> None:
    if csv is not None:
        hits.to_csv(csv)
        note(f"wrote {csv}")
    if geojson is not None:
        written = hits.to_geojson(geojson)
        note(f"wrote {counted(len(written), 'file')} into {geojson}; drag one onto its slide in QuPath")


def _note_vote(vote: Vote) -> None:
    if vote.label is None:
        return
    shares = ", ".join(f"{label} {n} (of {counted(vote.groups[label], 'group')})" for label, n in vote.counts.items())
    note(f"labels among the hits: {shares}. Research use only, never a diagnosis.")


def _say_if_scale_unknown(example: Any) -> None:
    from histoseek.imaging import open_pixels

    if example.kind != "image" or example.mpp is not None:
        return
    with closing(open_pixels(example.value)) as image:
        if image.mpp is None:
            told = "is unknown, so it is fitted whole; state it with --mpp for true matches"
            note(f"the scale of {example.value} {told}")


def _picture(index: Any, examples: list[Any]) -> tuple[Any, float | None]:
    """What to draw as the query, and its scale: the first picture that is looked for; None for words alone."""
    for one in examples:
        if one.weight > 0 and one.kind == "region":
            from histoseek.index import picture_of_region, region_of

            return picture_of_region(region_of(one.value), index.scale_of_region(one), PICTURE_SIDE)
        if one.weight > 0 and one.kind == "image":
            return Path(one.value), one.mpp
        if one.weight > 0 and one.kind == "item":
            return index.manifest[int(index.rows_of([one.value])[0])], None
    return None, None


def read_example(packed: str, mpp: float | None) -> Any:
    """Read one example as `examples_in_order` packed it; `mpp` is the scale of images and slides."""
    from histoseek.index import MINUS, Example

    kind, sign, weight, value = packed.split(_MARK, 3)
    try:
        size = abs(float(weight)) if weight else (-MINUS if sign == "-" else 1.0)
    except ValueError as error:
        raise InputError(f"--weight needs a number, not {weight!r}") from error
    scale = mpp if kind in ("image", "region") else None
    return Example(cast("Any", kind), value, -size if sign == "-" else size, scale)
