"""Training views: cut at random places near the encoder's scale, changed as tissue varies, read ahead by threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histoseek.encoders import Preprocessing
from histoseek.errors import ImageError, InputError
from histoseek.imaging import OpenReaders, Reader, ViewPlan, read_views
from histoseek.items import Box, Item, Manifest, Skipped
from histoseek.training.augmentation import Augmentation, augment, scale_factor
from histoseek.training.palette import Palette

BATCHES_AHEAD = 2


@dataclass(frozen=True)
class Sight:
    """How items become training views: the encoder's preprocessing, the changes, how many views of each item."""

    preprocessing: Preprocessing
    augmentation: Augmentation
    n_views: int
    palette: Palette | None = None


@dataclass(frozen=True)
class Seen:
    """The views of a batch, `[B, V, P, P, 3]`; rows that could not be read are zero, and `readable` [B] says so."""

    rows: NDArray[np.int64]
    views: NDArray[np.uint8]
    readable: NDArray[np.bool_]
    skipped: tuple[Skipped, ...]


def read_batches(
    manifest: Manifest,
    items: tuple[Item, ...],
    batches: Iterator[tuple[NDArray[np.int64], tuple[int, ...]]],
    sight: Sight,
    workers: int,
) -> Iterator[Seen]:
    """Read batches of item numbers `[B]` in their order.

    With each comes the seed that decides its views, whose last number is the place of the first item in a batch that
    several processes share.
    """
    waiting: deque[tuple[NDArray[np.int64], list[Future[NDArray[np.uint8] | Skipped]]]] = deque()
    with closing(OpenReaders()) as readers, ThreadPoolExecutor(workers, thread_name_prefix="views") as pool:
        try:
            for numbers, seed in batches:
                tasks = [
                    pool.submit(_look, readers, manifest, items[number], sight, (*seed[:-1], at))
                    for at, number in enumerate(numbers, seed[-1])
                ]
                waiting.append((numbers, tasks))
                if len(waiting) > BATCHES_AHEAD:
                    yield _seen(*waiting.popleft(), sight)
            while waiting:
                yield _seen(*waiting.popleft(), sight)
        finally:
            for _, tasks in waiting:
                for task in tasks:
                    task.cancel()


def _seen(numbers: NDArray[np.int64], tasks: list[Future[NDArray[np.uint8] | Skipped]], sight: Sight) -> Seen:
    side = sight.preprocessing.view_px
    views = np.zeros((len(numbers), sight.n_views, side, side, 3), np.uint8)
    readable = np.zeros(len(numbers), dtype=bool)
    skipped = []
    for at, task in enumerate(tasks):
        found = task.result()
        if isinstance(found, Skipped):
            skipped.append(found)
        else:
            views[at], readable[at] = found, True
    return Seen(numbers, views, readable, tuple(skipped))


def _look(
    readers: OpenReaders, manifest: Manifest, item: Item, sight: Sight, seed: tuple[int, ...]
) -> NDArray[np.uint8] | Skipped:
    """Views `[V, P, P, 3]` of an item, decided by the seed alone, whichever thread reads them."""
    rng = np.random.default_rng(seed)
    try:
        with readers.open(manifest.path_of(item)) as image:
            cut = [cut_view(image, item, sight, rng) for _ in range(sight.n_views)]
    except (ImageError, InputError) as error:
        return Skipped(item.id, str(error))
    return np.stack([augment(view, sight.augmentation, rng, sight.palette) for view in cut])


def cut_view(image: Reader, item: Item, sight: Sight, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Cut one view `[P, P, 3]` at a random place; its scale is the encoder's times a random factor.

    Of an item of unknown scale a square as large as its short side is taken, or a part of one.
    """
    how = sight.preprocessing
    box = item.box or Box(0, 0, *image.size)
    factor = scale_factor(sight.augmentation, rng)
    if item.mpp is None:
        side = round(min(box.width, box.height) * min(1.0, factor))
    else:
        side = round(how.view_px * max(1.0, how.mpp / item.mpp) * factor)
    side = max(8, side)
    x, y = (int(rng.integers(0, max(0, length - side) + 1)) for length in (box.width, box.height))
    return next(read_views(image, box, ViewPlan(side, ((x, y),)), how.view_px, how.interpolation))


def sample_views(
    manifest: Manifest, items: tuple[Item, ...], sight: Sight, n: int, seed: int
) -> Iterator[NDArray[np.uint8]]:
    """Unchanged views of up to `n` items, for the statistics that colour transfer draws from."""
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(items))[:n])
    n_read, reason = 0, ""
    with closing(OpenReaders()) as readers:
        for number in chosen:
            found = _look(readers, manifest, items[number], sight, (seed, int(number)))
            if isinstance(found, Skipped):
                reason = reason or found.reason
            else:
                n_read += 1
                yield found[0]
    if not n_read:
        raise InputError(
            f"not one of {len(chosen)} images could be read; the first: {reason}; if they moved, say where with --root"
        )
