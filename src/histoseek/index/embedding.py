"""From items to vectors: pixels are read by threads ahead of the encoder, in order and within a memory bound."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from histoseek.encoders.encoder import Encoder, n_cores, unit_rows
from histoseek.errors import ImageError, InputError
from histoseek.imaging import SLIDE_SUFFIXES, OpenReaders, Reader, ViewPlan, open_pixels, plan_views, read_views
from histoseek.index.encoding import Encoding
from histoseek.items import Box, Item

PIXELS_AHEAD = 100_000_000
"""Decoded pixels that may wait at once; an image larger than this is read alone."""

BATCH = 64
"""Views per call of the encoder where one picture is embedded."""

MANY_VIEWS = 256
"""An image with more views than this is read while it is encoded, so that they are never in memory together."""

RUN = 32
"""Neighbours of one file that a thread reads at a time, at most: a flat image is decoded once for all of them."""

MOST_WORKERS = 32
"""Threads that read pixels, at most: more of them only wait for Python's lock."""

MOST_WAITING = 8
"""Batches of items that may wait for their vectors; only unreadable ones come to so many."""


@dataclass(frozen=True)
class Embedded:
    """An item with its unit vector `[D]`, or with the reason why it has none."""

    item: Item
    vector: NDArray[np.float32] | None
    reason: str = ""


@dataclass(frozen=True)
class _Views:
    """What a thread read of an item; `has_many` of them are read only when their turn comes."""

    item: Item
    pixels: tuple[NDArray[np.uint8], ...] = ()  # each [view_px, view_px, 3]
    reason: str = ""
    has_many: bool = False


@dataclass(frozen=True)
class _Sent:
    """An item whose views are on their way through the encoder, or could not all be read."""

    item: Item
    n_views: int
    reason: str


def embed_items(
    items: Iterable[Item], path_of: Callable[[Item], Path], encoder: Encoder, workers: int | None = None
) -> Iterator[Embedded]:
    """Embed items in their order; one that cannot be read comes back with its reason, and the rest goes on.

    `workers` threads read pixels, by default one for each core.
    """
    sent: deque[_Sent] = deque()
    with closing(OpenReaders()) as readers, Encoding(encoder) as encoding:
        source = _Source(path_of, encoder, readers)
        for views in _read_ahead(items, source, workers or min(MOST_WORKERS, n_cores())):
            sent.append(_send(views, source, encoding))
            is_full = len(sent) >= MOST_WAITING * encoding.pace.views
            if is_full:
                encoding.flush()
            yield from _finished(sent, encoding, wait=is_full)
        encoding.flush()
        yield from _finished(sent, encoding, wait=True)


def embed_box(image: Reader, box: Box | None, mpp: float | None, encoder: Encoder) -> NDArray[np.float32]:
    """Embed a rectangle of an image, or all of it, as a unit vector `[D]`; `mpp` None means an unknown scale."""
    part = box or Box(0, 0, *image.size)
    return _mean(_encode(_views(image, part, _plan(part, mpp, encoder), encoder), encoder))


def embed_shape(
    image: Reader, box: Box, mpp: float, encoder: Encoder, covered: Callable[[list[Box]], NDArray[np.float64]]
) -> NDArray[np.float32]:
    """Embed a part of a rectangle as a unit vector `[D]`: the views that it covers by half, else the most covered one.

    `covered` says how much of each of some boxes belongs to the part, 0 to 1.
    """
    plan = _plan(box, mpp, encoder)
    views = [Box(box.x + x, box.y + y, plan.side, plan.side) for x, y in plan.corners]
    shares = covered(views)
    chosen = [corner for corner, share in zip(plan.corners, shares, strict=True) if share >= 0.5]
    chosen = chosen or [plan.corners[int(shares.argmax())]]
    return _mean(_encode(_views(image, box, ViewPlan(plan.side, tuple(chosen)), encoder), encoder))


@dataclass(frozen=True)
class _Source:
    """Where pixels come from and for whom."""

    path_of: Callable[[Item], Path]
    encoder: Encoder
    readers: OpenReaders


def _read_ahead(items: Iterable[Item], source: _Source, workers: int) -> Iterator[_Views]:
    queue: deque[tuple[Future[list[_Views]], int]] = deque()
    pixels = 0
    with ThreadPoolExecutor(workers, thread_name_prefix="pixels") as pool:
        try:
            for run, cost in _runs(items, PIXELS_AHEAD // (4 * workers)):
                while queue and (pixels + cost > PIXELS_AHEAD or len(queue) >= 8 * workers):
                    future, done = queue.popleft()
                    pixels -= done
                    yield from future.result()
                queue.append((pool.submit(_read_run, run, source), cost))
                pixels += cost
            while queue:
                yield from queue.popleft()[0].result()
        finally:
            for future, _ in queue:
                future.cancel()


def _runs(items: Iterable[Item], most_pixels: int) -> Iterator[tuple[list[Item], int]]:
    """Neighbours of one file, to be read by one thread while it is open, with their pixels in all."""
    run: list[Item] = []
    pixels = 0
    for item in items:
        cost = (item.width or 1000) * (item.height or 1000)
        if run and (item.path != run[0].path or len(run) >= RUN or pixels + cost > most_pixels):
            yield run, pixels
            run, pixels = [], 0
        run.append(item)
        pixels += cost
    if run:
        yield run, pixels


def _read_run(run: list[Item], source: _Source) -> list[_Views]:
    if run[0].box is None and PurePosixPath(run[0].path).suffix.lower() in SLIDE_SUFFIXES:
        reason = f"{run[0].path} is a whole slide: cut it into tiles with histoseek prepare slides"
        return [_Views(item, reason=reason) for item in run]
    try:
        with source.readers.open(source.path_of(run[0])) as image:
            return [_read(item, image, source.encoder) for item in run]
    except (ImageError, InputError) as error:
        return [_Views(item, reason=str(error)) for item in run]


def _read(item: Item, image: Reader, encoder: Encoder) -> _Views:
    box = item.box or Box(0, 0, *image.size)
    plan = _plan(box, item.mpp, encoder)
    if len(plan.corners) > MANY_VIEWS:
        return _Views(item, has_many=True)
    try:
        return _Views(item, tuple(_views(image, box, plan, encoder)))
    except ImageError as error:
        return _Views(item, reason=str(error))


def _plan(box: Box, mpp: float | None, encoder: Encoder) -> ViewPlan:
    how = encoder.fingerprint.preprocessing
    return plan_views(box.width, box.height, mpp, how.view_px, how.mpp)


def _views(image: Reader, box: Box, plan: ViewPlan, encoder: Encoder) -> Iterator[NDArray[np.uint8]]:
    how = encoder.fingerprint.preprocessing
    return read_views(image, box, plan, how.view_px, how.interpolation, how.decoding)


def _send(views: _Views, source: _Source, encoding: Encoding) -> _Sent:
    """Hand an item's views to the encoder; many of them are read here, while those before are encoded."""
    if not views.has_many:
        for view in views.pixels:
            encoding.put(view)
        return _Sent(views.item, len(views.pixels), views.reason)
    n_views, failure = 0, ""
    for read in _read_many(views.item, source):
        if isinstance(read, str):
            failure = read
        else:
            encoding.put(read)
            n_views += 1
    return _Sent(views.item, n_views, failure)


def _read_many(item: Item, source: _Source) -> Iterator[NDArray[np.uint8] | str]:
    """The views of an item, and at the end the reason why there are no more, if they are not all."""
    try:
        with closing(open_pixels(source.path_of(item))) as image:
            box = item.box or Box(0, 0, *image.size)
            yield from _views(image, box, _plan(box, item.mpp, source.encoder), source.encoder)
    except (ImageError, InputError) as error:
        yield str(error)


def _finished(sent: deque[_Sent], encoding: Encoding, *, wait: bool) -> Iterator[Embedded]:
    """Items whose vectors are there, in order; `wait` for all that were sent."""
    while sent:
        rows = encoding.take(sent[0].n_views, wait=wait)
        if rows is None:
            return
        one = sent.popleft()
        yield Embedded(one.item, None if one.reason else _mean(rows), one.reason)


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
