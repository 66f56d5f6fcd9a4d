"""Pixels of items, read by threads ahead of the encoder, in order and within bounds whatever the items are."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from histoseek.encoders.encoder import Encoder
from histoseek.errors import ImageError, InputError
from histoseek.imaging import (
    SLIDE_SUFFIXES,
    FlatImage,
    OpenReaders,
    Reader,
    ViewPlan,
    open_pixels,
    plan_views,
    read_views,
)
from histoseek.items import Box, Item

PIXELS_AT_ONCE = 100_000_000
"""Pixels of flat images that all threads together may have decoded; an image larger than this is decoded alone."""

RUN = 32
"""Neighbours of one file that a thread reads while it is open, at most; a flat image is decoded once for them."""

BYTES_A_RUN = 8_000_000
"""Views that a thread reads before it hands them over: a run ends there."""

RUNS_AHEAD = 8
"""Runs that are read or wait, for each thread, at most."""

BYTES_AHEAD = 300_000_000
"""Views that may be read or wait, of all threads together; a picture of unstated size counts as a whole run."""

MANY_VIEWS = 256
"""An image with more views than this is read while it is encoded, so that they are never in memory together."""


class Room:
    """A number of pixels that threads share: who wants some waits until enough are free."""

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self._changed = threading.Condition()

    def take(self, n: int) -> int:
        """Wait until `n` are free, or all where `n` is more than there are, and say how many that is."""
        n = min(n, self._size)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= n)
            self._free -= n
        return n

    def give(self, n: int) -> None:
        """Give some back."""
        with self._changed:
            self._free += n
            self._changed.notify_all()


@dataclass(frozen=True)
class Source:
    """Where pixels come from and for whom."""

    path_of: Callable[[Item], Path]
    encoder: Encoder
    readers: OpenReaders
    room: Room = field(default_factory=lambda: Room(PIXELS_AT_ONCE))


@dataclass(frozen=True)
class Views:
    """What was read of an item; `has_many` of them are read only when their turn comes."""

    item: Item
    pixels: tuple[NDArray[np.uint8], ...] = ()  # each [view_px, view_px, 3]
    reason: str = ""
    has_many: bool = False


@dataclass(frozen=True)
class _Run:
    """What a thread read, and the items that it left for another turn."""

    read: list[Views]
    left: list[Item]


def read_ahead(items: Iterable[Item], source: Source, workers: int) -> Generator[Views]:
    """Read the views of items in their order, with as many threads as `workers`."""
    queue: deque[tuple[Future[_Run], int]] = deque()
    waiting = 0
    with ThreadPoolExecutor(workers, thread_name_prefix="pixels") as pool:

        def oldest() -> list[Views]:
            nonlocal waiting
            future, n_bytes = queue.popleft()
            run = future.result()
            if run.left:  # it had more views than its manifest let expect; its items still come before the others
                queue.appendleft((pool.submit(_read_run, run.left, source), n_bytes))
            else:
                waiting -= n_bytes
            return run.read

        try:
            for run, n_bytes in _runs(items, source.encoder):
                while queue and (waiting + n_bytes > BYTES_AHEAD or len(queue) >= RUNS_AHEAD * workers):
                    yield from oldest()
                queue.append((pool.submit(_read_run, run, source), n_bytes))
                waiting += n_bytes
            while queue:
                yield from oldest()
        finally:
            for future, _ in queue:
                future.cancel()


def read_many(item: Item, source: Source) -> Generator[NDArray[np.uint8] | str]:
    """The views of an item, and at the end the reason why there are no more, if they are not all."""
    try:
        with _roomy(closing(open_pixels(source.path_of(item))), source.room) as image:
            box = item.box or Box(0, 0, *image.size)
            yield from views_of(image, box, plan_of(box, item.mpp, source.encoder), source.encoder)
    except (ImageError, InputError) as error:
        yield str(error)


def plan_of(box: Box, mpp: float | None, encoder: Encoder) -> ViewPlan:
    """Where an encoder's views of a rectangle lie."""
    how = encoder.fingerprint.preprocessing
    return plan_views(box.width, box.height, mpp, how.view_px, how.mpp)


def views_of(image: Reader, box: Box, plan: ViewPlan, encoder: Encoder) -> Iterator[NDArray[np.uint8]]:
    """Read the views of a plan as an encoder wants them."""
    how = encoder.fingerprint.preprocessing
    return read_views(image, box, plan, how.view_px, how.interpolation, how.decoding)


def _runs(items: Iterable[Item], encoder: Encoder) -> Iterator[tuple[list[Item], int]]:
    """Neighbours of one file, to be read by one thread while it is open, with the bytes of their views."""
    run: list[Item] = []
    n_bytes = 0
    for item in items:
        if run and (item.path != run[0].path or len(run) >= RUN or n_bytes >= BYTES_A_RUN):
            yield run, n_bytes
            run, n_bytes = [], 0
        run.append(item)
        n_bytes += _expected_bytes(item, encoder)
    if run:
        yield run, n_bytes


def _expected_bytes(item: Item, encoder: Encoder) -> int:
    """What an item's views take, as far as its manifest states its size; many of them are not read ahead."""
    width, height = (item.box.width, item.box.height) if item.box else (item.width, item.height)
    if not width or not height:
        return BYTES_A_RUN
    n_views = len(plan_of(Box(0, 0, width, height), item.mpp, encoder).corners)
    return n_views * 3 * encoder.fingerprint.preprocessing.view_px**2 if n_views <= MANY_VIEWS else 0


def _read_run(run: list[Item], source: Source) -> _Run:
    if run[0].box is None and PurePosixPath(run[0].path).suffix.lower() in SLIDE_SUFFIXES:
        reason = f"{run[0].path} is a whole slide: cut it into tiles with histoseek prepare slides"
        return _Run([Views(item, reason=reason) for item in run], [])
    try:
        with _roomy(source.readers.open(source.path_of(run[0])), source.room) as image:
            return _read_some(run, image, source.encoder)
    except (ImageError, InputError) as error:
        return _Run([Views(item, reason=str(error)) for item in run], [])


def _read_some(run: list[Item], image: Reader, encoder: Encoder) -> _Run:
    """Read items until they fill a share of the memory: one of them at least."""
    read: list[Views] = []
    n_bytes = 0
    for item in run:
        if n_bytes >= BYTES_A_RUN:
            break
        read.append(_read(item, image, encoder))
        n_bytes += sum(view.nbytes for view in read[-1].pixels)
    return _Run(read, run[len(read) :])


def _read(item: Item, image: Reader, encoder: Encoder) -> Views:
    box = item.box or Box(0, 0, *image.size)
    plan = plan_of(box, item.mpp, encoder)
    if len(plan.corners) > MANY_VIEWS:
        return Views(item, has_many=True)
    try:
        return Views(item, tuple(views_of(image, box, plan, encoder)))
    except ImageError as error:
        return Views(item, reason=str(error))


@contextmanager
def _roomy(opening: AbstractContextManager[Reader], room: Room) -> Iterator[Reader]:
    """An open image, for which there is room until it is closed; a slide wants none, for it is never decoded whole."""
    taken = 0
    try:
        with opening as image:
            if isinstance(image, FlatImage):  # its first read decodes it all
                taken = room.take(image.size[0] * image.size[1])
            yield image
    finally:
        room.give(taken)
