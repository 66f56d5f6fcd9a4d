"""The loop: batches in order, one step each, a checkpoint now and then, a validation after every epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import broadcast_object_list, gather_object
from numpy.typing import NDArray
from PIL import Image

from histoseek.encoders import Encoder
from histoseek.encoders.pixels import normalised
from histoseek.errors import HistoseekError, InputError
from histoseek.items import Skipped, read_skipped, write_skipped
from histoseek.training.batches import shard
from histoseek.training.checkpoints import (
    BEST,
    DIR,
    LAST,
    Place,
    optimizer_tensors,
    put_optimizer,
    put_weights,
    read_checkpoint,
    trained_weights,
    under,
    write_checkpoint,
)
from histoseek.training.journal import BEFORE, Journal
from histoseek.training.learner import Views
from histoseek.training.pictures import Seen, read_batches
from histoseek.training.plan import WORDED
from histoseek.training.towers import set_training
from histoseek.training.validation import SCORE, validate
from histoseek.training.wording import code_of, draw_texts
from histoseek.training.work import Work

Tell = Callable[[int, int], None]

SKIPPED_FILE = "skipped.csv"
NO_LEARNING_LEFT = 0.01
"""The cosine ends at this part of the highest learning rate."""


def run_epochs(
    work: Work, home: Path, journal: Journal, place: Place, tell: Tell | None
) -> tuple[Place, list[Skipped]]:
    """Train from `place` to the end, or until validation stops getting better; gives where it ended.

    Raises:
        InputError: no image can be read, or memory does not suffice.
        HistoseekError: the loss is no number any more.
    """
    plan = work.plan
    unread = _already_skipped(home)
    if place.step == 0 and work.is_main:
        scores, found = validate(work, home)
        journal.epoch(Place(epoch=BEFORE), scores)
        unread |= {one.id: one for one in found}
    while place.epoch < plan.config.epochs and place.epoch - 1 - place.best_epoch < plan.config.patience:
        n_read = 0
        for seen in _batches_left(work, place):
            n_read += int(seen.readable.sum())
            unread |= {one.id: one for one in seen.skipped}
            place = replace(place, step=place.step + 1)
            losses = _step(work, seen, place.step)
            if work.is_main:
                journal.step(place, losses, work.optimizer.param_groups[0]["lr"])
            if place.step % plan.config.save_every == 0:
                save_last(work, home, place)
            if tell is not None:
                tell(place.step, plan.n_steps)
        if not n_read and unread:
            raise InputError(f"not one image could be read; the first: {next(iter(unread.values())).reason}")
        unread = _shared(work, home, unread)
        place = _close_epoch(work, home, journal, place)
    return place, list(unread.values())


def _already_skipped(home: Path) -> dict[str, Skipped]:
    """What an earlier part of the run could not read."""
    path = home / SKIPPED_FILE
    return {one.id: one for one in read_skipped(path)} if path.is_file() else {}


def _shared(work: Work, home: Path, unread: dict[str, Skipped]) -> dict[str, Skipped]:
    """What any process could not read so far, written down for a resumed run too."""
    everywhere = {one.id: one for one in gather_object(list(unread.values()))}
    if work.is_main:
        write_skipped(home / SKIPPED_FILE, everywhere.values())
    return everywhere


def _batches_left(work: Work, place: Place) -> Iterator[Seen]:
    """What is left of an epoch, read ahead; each view is decided by seed, epoch, batch and place in the batch."""
    plan, processes = work.plan, work.accelerator
    done = place.step - place.epoch * plan.steps_per_epoch
    batches = plan.batches.epoch(place.epoch)
    size = plan.batches.batch // processes.num_processes

    def share() -> Iterator[tuple[NDArray[np.int64], tuple[int, ...]]]:
        for number, rows in enumerate(batches[done:], done):
            mine = shard(plan.data.rows[rows], processes.process_index, processes.num_processes)
            yield mine, (plan.config.seed, place.epoch, number, processes.process_index * size)

    return read_batches(plan.data.manifest, plan.data.items, share(), work.sight, plan.config.workers)


def _step(work: Work, seen: Seen, step: int) -> dict[str, float]:
    """Take one step; gives the loss and its parts."""
    plan = work.plan
    # Dropout draws from a seed of its own at every step, so that a resumed run draws the same.
    seed = np.random.SeedSequence((plan.config.seed, step, work.accelerator.process_index))
    torch.manual_seed(int(seed.generate_state(1)[0]))
    for group in work.optimizer.param_groups:
        group["lr"] = group["top"] * schedule(step, plan.n_steps, plan.config.warmup)
    set_training(work.learner.root)
    try:
        views = views_of(work, seen, step)
        with work.accelerator.autocast():
            loss, parts = work.model(views)
        work.optimizer.zero_grad(set_to_none=True)
        work.accelerator.backward(loss)
        norm = work.accelerator.clip_grad_norm_(work.learner.parameters(), plan.config.clip)
        _check_finite({"loss": loss, "gradient": norm}, step)
        work.optimizer.step()
    except (RuntimeError, MemoryError) as error:
        if not _is_memory(error):
            raise
        raise InputError(
            f"memory does not suffice for {plan.config.batch} items of {plan.config.views} views; lower --batch or "
            "--views, and train anew"
        ) from error
    if work.average is not None:
        work.average.update_parameters(work.learner.root)
    return {"loss": float(loss.detach())} | {name: float(part) for name, part in parts.items()}


def _check_finite(numbers: Mapping[str, torch.Tensor | None], step: int) -> None:
    for name, number in numbers.items():
        value = 0.0 if number is None else float(number.detach())
        if not math.isfinite(value):
            raise HistoseekError(f"training stopped at step {step}: the {name} is {value}; lower --rate and train anew")


def _is_memory(error: BaseException) -> bool:
    """Whether an error is one of memory, on a graphics card or beside it."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)


def schedule(step: int, n_steps: int, warmup: float) -> float:
    """The part of the highest learning rate at a step (from 1): a straight way up, then a cosine down."""
    rising = max(1, round(warmup * n_steps))
    if step <= rising:
        return step / rising
    done = (step - rising) / max(1, n_steps - rising)
    return NO_LEARNING_LEFT + (1 - NO_LEARNING_LEFT) * 0.5 * (1 + math.cos(math.pi * done))


def views_of(work: Work, seen: Seen, step: int) -> Views:
    """The views of a batch on the device, with their words and marks; those of one item stand together."""
    plan, device = work.plan, work.accelerator.device
    data, n_views = plan.data, plan.config.views
    numbers = np.repeat(seen.rows, n_views)
    views = seen.views.reshape(-1, *seen.views.shape[2:])
    pixels = torch.from_numpy(normalised(views, plan.preprocessing)).to(device, memory_format=torch.channels_last)
    marks = {
        "labels": data.labels[numbers],
        "groups": data.groups[numbers],
        "items": numbers,
        "readable": np.repeat(seen.readable, n_views),
    }
    words = work.towers.words if any(name in plan.config.objectives for name in WORDED) else None
    texts: list[str] = []
    text_of = np.full(len(numbers), -1, np.int64)
    if words is not None:
        first = work.accelerator.process_index * len(numbers)
        texts, text_of = draw_texts([data.texts[number] for number in numbers], (plan.config.seed, step), first)
    codes = np.array([code_of(text) for text in texts] + [-1], np.int64)[text_of]
    tokens = None if words is None else {k: torch.from_numpy(v).to(device) for k, v in words.tokens(texts).items()}
    return Views(
        pixels=pixels,
        tokens=tokens,
        text_of=torch.from_numpy(text_of).to(device),
        codes=torch.from_numpy(codes).to(device),
        targets=None if work.teacher is None else _targets(work.teacher, views).to(device),
        **{name: torch.from_numpy(values).to(device) for name, values in marks.items()},
    )


def _targets(teacher: Encoder, views: NDArray[np.uint8]) -> torch.Tensor:
    """The teacher's vectors of the same views, brought to its own view size."""
    side = teacher.fingerprint.preprocessing.view_px
    sized = [np.asarray(Image.fromarray(view).resize((side, side), Image.Resampling.BICUBIC)) for view in views]
    return torch.from_numpy(teacher.embed_images(sized))


def _close_epoch(work: Work, home: Path, journal: Journal, place: Place) -> Place:
    """Validate, keep the best weights so far, and write a checkpoint; the processes agree on the place."""
    told: list[Place] = [replace(place, epoch=place.epoch + 1)]
    if work.is_main:
        scores, _ = validate(work, home)
        journal.epoch(place, scores)
        if scores[SCORE] > place.best_score:
            told[0] = replace(told[0], best_epoch=place.epoch, best_score=scores[SCORE])
            write_checkpoint(home / DIR / BEST, trained_weights(work.kept_root), told[0], work.plan.digest)
    broadcast_object_list(told)
    save_last(work, home, told[0])
    return told[0]


def save_last(work: Work, home: Path, place: Place) -> None:
    """Write all that the run needs to go on from here."""
    if not work.is_main:
        return
    tensors = {f"weights/{name}": tensor for name, tensor in trained_weights(work.learner).items()}
    tensors |= {f"optimizer/{k}": v for k, v in optimizer_tensors(work.learner, work.optimizer).items()}
    if work.average is not None:
        tensors |= {f"average/{name}": tensor for name, tensor in trained_weights(work.average.module).items()}
        tensors["average-steps"] = work.average.n_averaged
    write_checkpoint(home / DIR / LAST, tensors, place, work.plan.digest)


def go_on(work: Work, home: Path) -> Place:
    """Put a run back to its last checkpoint; the beginning where there is none.

    Raises:
        InputError: the checkpoint is of a run with other settings, items or base.
    """
    path = home / DIR / LAST
    if not path.is_file():
        return Place()
    tensors, place, run = read_checkpoint(path)
    if run != work.plan.digest:
        raise InputError(
            f"{home} was begun with other settings, items or another base; resume with those, or choose another --out"
        )
    put_weights(work.learner, under("weights", tensors), path)
    put_optimizer(work.learner, work.optimizer, under("optimizer", tensors))
    if work.average is not None:
        put_weights(work.average.module, under("average", tensors), path)
        work.average.n_averaged.copy_(tensors["average-steps"])
    return place
