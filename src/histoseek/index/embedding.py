"""From items to vectors: pixels are read by threads ahead of the encoder, in order and within a memory bound."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histoseek.encoders.encoder import Encoder, unit_rows
from histoseek.errors import ImageError, InputError
from histoseek.imaging import FlatImage, ViewPlan, open_flat, plan_views, read_views
from histoseek.items import Box, Item

PIXELS_AHEAD = 100_000_000
"""Decoded pixels that may wait at once; an image larger than this is read alone."""

BATCH = 64
"""Views per call of the encoder."""

MANY_VIEWS = 256
"""An image with more views than this is read while it is encoded, so that they are never in memory together."""

WORKERS = 2


@dataclass(frozen=True)
class Embedded:
    """An item with its unit vector `[D]`, or with the reason why it has none."""

    item: Item
    vector: NDArray[np.float32] | None
    reason: str = ""


@dataclass(frozen=True)
class _Views:
    item: Item
    pixels: NDArray[np.uint8] | None  # [n, view_px, view_px, 3]
    reason: str = ""
    has_many: bool = False  # more than are read ahead


def embed_items(
    items: Iterable[Item], path_of: Callable[[Item], Path], encoder: Encoder, workers: int = WORKERS
) -> Iterator[Embedded]:
    """Embed items in their order; one that cannot be read comes back with its reason, and the rest goes on."""
    waiting: list[_Views] = []
    n_views = 0
    for views in _read_ahead(items, path_of, encoder, workers):
        if views.has_many:
            yield from _embed(waiting, encoder)
            waiting, n_views = [], 0
            yield _embed_many(views.item, path_of, encoder)
            continue
        waiting.append(views)
        n_views += 0 if views.pixels is None else len(views.pixels)
        if n_views >= BATCH or len(waiting) >= 4 * BATCH:
            yield from _embed(waiting, encoder)
            waiting, n_views = [], 0
    yield from _embed(waiting, encoder)


def embed_image(image: FlatImage, mpp: float | None, encoder: Encoder) -> NDArray[np.float32]:
    """Embed one whole image as a unit vector `[D]`; `mpp` None means an unknown scale."""
    box = Box(0, 0, *image.size)
    return _mean(_encode(_views(image, box, _plan(box, mpp, encoder), encoder), encoder))


def _read_ahead(
    items: Iterable[Item], path_of: Callable[[Item], Path], encoder: Encoder, workers: int
) -> Iterator[_Views]:
    queue: deque[tuple[Future[_Views], int]] = deque()
    pixels = 0
    with ThreadPoolExecutor(workers, thread_name_prefix="pixels") as pool:
        try:
            for item in items:
                cost = (item.width or 1000) * (item.height or 1000)
                while queue and (pixels + cost > PIXELS_AHEAD or len(queue) >= 8 * workers):
                    future, done = queue.popleft()
                    pixels -= done
                    yield future.result()
                queue.append((pool.submit(_read, item, path_of, encoder), cost))
                pixels += cost
            while queue:
                yield queue.popleft()[0].result()
        finally:
            for future, _ in queue:
                future.cancel()


def _read(item: Item, path_of: Callable[[Item], Path], encoder: Encoder) -> _Views:
    try:
        image = open_flat(path_of(item))
        try:
            box = item.box or Box(0, 0, *image.size)
            plan = _plan(box, item.mpp, encoder)
            if len(plan.corners) > MANY_VIEWS:
                return _Views(item, None, has_many=True)
            pixels = np.stack(list(_views(image, box, plan, encoder)))
        finally:
            image.close()
    except (ImageError, InputError) as error:
        return _Views(item, None, reason=str(error))
    return _Views(item, pixels)


def _plan(box: Box, mpp: float | None, encoder: Encoder) -> ViewPlan:
    how = encoder.fingerprint.preprocessing
    return plan_views(box.width, box.height, mpp, how.view_px, how.mpp)


def _views(image: FlatImage, box: Box, plan: ViewPlan, encoder: Encoder) -> Iterator[NDArray[np.uint8]]:
    how = encoder.fingerprint.preprocessing
    return read_views(image, box, plan, how.view_px, how.interpolation)


def _embed_many(item: Item, path_of: Callable[[Item], Path], encoder: Encoder) -> Embedded:
    """Embed one item of many views, reading a batch of them at a time."""
    try:
        image = open_flat(path_of(item))
        try:
            box = item.box or Box(0, 0, *image.size)
            plan = _plan(box, item.mpp, encoder)
            return Embedded(item, _mean(_encode(_views(image, box, plan, encoder), encoder)))
        finally:
            image.close()
    except (ImageError, InputError) as error:
        return Embedded(item, None, str(error))


def _embed(waiting: list[_Views], encoder: Encoder) -> Iterator[Embedded]:
    readable = [views.pixels for views in waiting if views.pixels is not None]
    rows = _encode(np.concatenate(readable), encoder) if readable else np.zeros((0, 0), dtype=np.float32)
    at = 0
    for views in waiting:
        if views.pixels is None:
            yield Embedded(views.item, None, views.reason)
            continue
        part = rows[at : at + len(views.pixels)]
        at += len(views.pixels)
        yield Embedded(views.item, _mean(part))


def _encode(views: Iterable[NDArray[np.uint8]], encoder: Encoder) -> NDArray[np.float32]:
    left = iter(views)
    parts = []
    while batch := list(islice(left, BATCH)):
        parts.append(encoder.embed_images(batch))
    return np.concatenate(parts)


def _mean(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of view vectors, back at length one."""
    mean = rows if len(rows) == 1 else unit_rows(rows.mean(axis=0, dtype=np.float64)[None])
    vector: NDArray[np.float32] = mean[0]
    return vector
