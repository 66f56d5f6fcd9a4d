"""From items to vectors: pixels are read by threads ahead of the encoder, in order and within a memory bound."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histoseek.encoders.encoder import Encoder, n_cores, unit_rows
from histoseek.imaging import OpenReaders, Reader, ViewPlan
from histoseek.index.encoding import Encoding
from histoseek.index.reading import Source, Views, plan_of, read_ahead, read_many, views_of
from histoseek.items import Box, Item

BATCH = 64
"""Views per call of the encoder where one picture is embedded."""

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
        source = Source(path_of, encoder, readers)
        with closing(read_ahead(items, source, workers or min(MOST_WORKERS, n_cores()))) as reading:
            for views in reading:
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
    return _mean(_encode(views_of(image, part, plan_of(part, mpp, encoder), encoder), encoder))


def embed_shape(
    image: Reader, box: Box, mpp: float, encoder: Encoder, covered: Callable[[list[Box]], NDArray[np.float64]]
) -> NDArray[np.float32]:
    """Embed a part of a rectangle as a unit vector `[D]`: the views that it covers by half, else the most covered one.

    `covered` says how much of each of some boxes belongs to the part, 0 to 1.
    """
    plan = plan_of(box, mpp, encoder)
    views = [Box(box.x + x, box.y + y, plan.side, plan.side) for x, y in plan.corners]
    shares = covered(views)
    chosen = [corner for corner, share in zip(plan.corners, shares, strict=True) if share >= 0.5]
    chosen = chosen or [plan.corners[int(shares.argmax())]]
    return _mean(_encode(views_of(image, box, ViewPlan(plan.side, tuple(chosen)), encoder), encoder))


def _send(views: Views, source: Source, encoding: Encoding) -> _Sent:
    """Hand an item's views to the encoder; many of them are read here, while those before are encoded."""
    if not views.has_many:
        for view in views.pixels:
            encoding.put(view)
        return _Sent(views.item, len(views.pixels), views.reason)
    n_views, failure = 0, ""
    with closing(read_many(views.item, source)) as many:
        for read in many:
            if isinstance(read, str):
                failure = read
            else:
                encoding.put(read)
                n_views += 1
    return _Sent(views.item, n_views, failure)


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
