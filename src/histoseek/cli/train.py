"""histoseek train MANIFEST --out runs/x [--base ENC] [--resume]."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from histoseek.cli.output import counted, note, progress, say, show_rows
from histoseek.cli.writing import written
from histoseek.errors import InputError

OBJECTIVES = (
    "clip, siglip, supcon, views, multi-similarity, triplet, proxy-anchor or distill; again for more, with a weight as "
    "in supcon=0.5. Without it: clip and supcon, or supcon alone where there are no words."
)


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("train")(train)


def train(
    context: typer.Context,
    manifest: Annotated[Path, typer.Argument(help="A manifest with labels, captions, or both.")],
    out: Annotated[Path, written("--out", help="The folder of the run: an encoder folder when it is done.")],
    base: Annotated[str, typer.Option(help="mini, hf:NAME, a model folder, or an earlier run.")] = "mini",
    objective: Annotated[list[str] | None, typer.Option(help=OBJECTIVES)] = None,
    mode: Annotated[str, typer.Option(help="What is trained: head, lora or full.")] = "lora",
    epochs: Annotated[int, typer.Option(help="Epochs at most.")] = 10,
    batch: Annotated[int, typer.Option(help="Items a batch, over all processes.")] = 32,
    per_class: Annotated[int, typer.Option(help="Items of each class drawn into a batch.")] = 4,
    views: Annotated[int, typer.Option(help="Views of each item.")] = 2,
    rate: Annotated[float | None, typer.Option(help="Learning rate; by mode without it.")] = None,
    warmup: Annotated[float, typer.Option(help="Part of the steps on which the rate rises.")] = 0.1,
    decay: Annotated[float, typer.Option(help="Weight decay, kept off biases, norms and positions.")] = 0.05,
    clip: Annotated[float, typer.Option(help="Largest norm of a gradient.")] = 1.0,
    max_scale: Annotated[float, typer.Option(help="Largest factor on cosines in clip and siglip.")] = 100.0,
    layer_decay: Annotated[float, typer.Option(help="Factor on the rate for every layer further down.")] = 0.9,
    ema: Annotated[float, typer.Option(help="Decay of averaged weights, as 0.99; 0 for none.")] = 0.0,
    rank: Annotated[int, typer.Option(help="Rank of LoRA's adapters.")] = 8,
    label: Annotated[str, typer.Option(help="The column that says what is alike.")] = "label",
    where: Annotated[str | None, typer.Option(help="Only items that fulfil this.")] = None,
    queries: Annotated[
        Path | None, typer.Option(help="Queries of a later evaluation; their groups are refused.")
    ] = None,
    validation: Annotated[float, typer.Option(help="Share of groups to validate on, without a split val.")] = 0.2,
    patience: Annotated[int, typer.Option(help="Epochs without a better mAP@10 before it stops.")] = 5,
    teacher: Annotated[str | None, typer.Option(help="The encoder that distill follows.")] = None,
    augment: Annotated[
        list[str] | None, typer.Option(help="Change one strength, as in stain=0.2 or elastic=0.3.")
    ] = None,
    mpp: Annotated[float | None, typer.Option(help="Scale of the views, µm per pixel, instead of the base's.")] = None,
    precision: Annotated[str, typer.Option(help="f32, or bf16 on a graphics card.")] = "f32",
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 0,
    workers: Annotated[int, typer.Option(help="Threads that read views ahead.")] = 2,
    save_every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 50,
    root: Annotated[Path | None, typer.Option(help="Where the images lie now, if they moved.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an earlier run stopped.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and stop.")] = False,
) -> None:
    """Fine-tune an encoder on a manifest; what is written is an encoder folder."""
    from histoseek.items import Manifest
    from histoseek.training import TrainConfig, augmentation_of

    options: Any = {name: value for name, value in context.params.items() if name in TrainConfig.__dataclass_fields__}
    options["augmentation"] = augmentation_of(_numbers(augment, "augment"))
    config = TrainConfig(**options, objectives=_numbers(objective, "objective"))
    items = Manifest.read(manifest, root).where(where)
    asked = None if queries is None else Manifest.read(queries)
    if dry_run:
        _show_plan(items, config, asked)
        return
    _train(items, out, config, asked, resume)


def _train(items: Any, out: Path, config: Any, queries: Any, resume: bool) -> None:
    """Train with a progress bar and say what came of it; of several processes only the first speaks."""
    from histoseek.training import is_first_process
    from histoseek.training import train as run

    if not is_first_process():
        run(items, out, config, queries=queries, resume=resume)
        return
    with progress("training", "what is done is kept: go on with --resume") as tell:
        done = run(items, out, config, queries=queries, resume=resume, progress=tell)
    rows = [
        {"validation": name, "base": done.base_scores.get(name), "trained": value}
        for name, value in done.best_scores.items()
    ]
    show_rows(rows, False)
    say(f"kept epoch {done.best_epoch + 1}; wrote {out}")
    if not done.is_better:
        note(
            "no epoch was better than the base on the validation groups; more data, a lower --rate or --mode head may "
            "help"
        )
    note(f"next: histoseek index MANIFEST --encoder {out} --out x.index")
    if done.skipped:
        note(f"{counted(len(done.skipped), 'image')} skipped; the reasons stand in {out / 'skipped.csv'}")
        raise typer.Exit(1)


def _show_plan(items: Any, config: Any, queries: Any) -> None:
    from histoseek.training import class_rows, describe_plan, make_plan

    plan = make_plan(items, config, queries)
    show_rows([{"what": name, "value": str(value)} for name, value in describe_plan(plan).items()], False)
    say("")
    show_rows(class_rows(plan), False)


def _numbers(given: list[str] | None, option: str) -> dict[str, float]:
    """`name=number` as a mapping; a name alone stands for 1."""
    found = {}
    for one in given or ():
        name, equals, number = one.partition("=")
        try:
            found[name] = float(number) if equals else 1.0
        except ValueError as error:
            raise InputError(f"--{option} {one!r}: after the equals sign comes a number, as in supcon=0.5") from error
    return found
