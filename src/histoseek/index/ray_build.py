"""Embedding a manifest on a Ray cluster: chunks go out, a bounded number at a time; batches of vectors are stored."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from histoseek.encoders.encoder import Encoder, loadable_name
from histoseek.errors import ClusterError, DamagedError, HistoseekError
from histoseek.index.ray_cluster import connected, cpus_of_task, slots
from histoseek.index.ray_worker import ChunkReport, ChunkWork, embed_chunk
from histoseek.index.ray_writing import Sink
from histoseek.items import Manifest, Skipped

CHUNK = 256
"""Items of a task: some seconds of work, what the death of a worker costs."""

ROWS_A_COMMIT = 20_000
SECONDS_A_COMMIT = 60.0
"""A batch is committed when it has this many rows or this age: what the death of the driver costs."""

TRIES = 4
"""How often Ray runs a chunk again whose worker or node died."""

AHEAD = 2
"""Chunks in flight for each task that the cluster runs at once."""


@dataclass(frozen=True)
class RayWork:
    """Which cluster, and what each task asks of it.

    `address` is `local`, `auto`, `host:port` or `ray://host:port`. `cpus` of None means a few of a node's; `gpus` may
    be a part of one. Every node needs the same histoseek, the images under the same path, and the encoder.
    """

    address: str
    cpus: int | None = None
    gpus: float = 0.0


def embed_on_ray(
    left: Manifest, encoder: Encoder, sink: Sink, work: RayWork, progress: Callable[[int], None] | None = None
) -> list[Skipped]:
    """Embed the items of `left` on a cluster and give them to `sink`; returns what could not be read.

    A chunk whose worker dies is run again, and reaches the table once. On an error or Ctrl-C what is embedded is
    stored before it goes up. `progress` is told how many items are through.

    Raises:
        ClusterError: the cluster cannot be reached, or a chunk killed its worker again and again.
        FingerprintError: a node has another encoder.
        InputError: a node does not see the images, or has not what `work` asks for.
    """
    with connected(work.address) as ray, _told():
        cpus = cpus_of_task(ray, work.cpus, work.gpus)
        chunk_work = ray.put(_chunk_work(left, encoder, cpus))
        task = ray.remote(embed_chunk).options(
            num_returns=2, num_cpus=cpus, num_gpus=work.gpus, max_retries=TRIES, name="histoseek"
        )
        stream = _Stream(ray, sink, lambda rows: task.remote(rows, chunk_work), progress or (lambda _: None))
        return stream.run(chunks_of(left.table, CHUNK), lambda: AHEAD * slots(ray, cpus, work.gpus))


def without(manifest: Manifest, ids: set[str]) -> Manifest:
    """The manifest's items but those with the given ids: what is left to do on resume."""
    if not ids:
        return manifest
    done = pc.is_in(manifest.table["id"], value_set=pa.array(sorted(ids), pa.string()))
    return Manifest(manifest.table.filter(pc.invert(done)), manifest.root, manifest.facts)


def chunks_of(table: pa.Table, size: int) -> Iterator[pa.Table]:
    """Cut rows into chunks of `size`, up to four times that where it keeps neighbours of one file together."""
    paths = table["path"]
    start = 0
    while start < table.num_rows:
        end = min(start + size, table.num_rows)
        most = min(start + 4 * size, table.num_rows)
        while end < most and paths[end].as_py() == paths[end - 1].as_py():
            end += 1
        yield table.take(pa.array(range(start, end)))  # a copy: a slice would carry the whole table along
        start = end


class _Stream:
    """Chunks in flight, and embedded ones that wait for their commit."""

    def __init__(self, ray: Any, sink: Sink, submit: Callable[[pa.Table], Any], progress: Callable[[int], None]):
        self._ray = ray
        self._sink = sink
        self._submit = submit
        self._progress = progress
        self._running: dict[Any, tuple[Any, str]] = {}  # reference to a report → reference to its rows, first item
        self._waiting: list[Any] = []
        self._n_waiting = 0
        self._since = time.monotonic()

    def run(self, chunks: Iterator[pa.Table], most: Callable[[], int]) -> list[Skipped]:
        skipped: list[Skipped] = []
        try:
            while True:
                limit = most()
                while len(self._running) < limit and (chunk := next(chunks, None)) is not None:
                    rows, report = self._submit(chunk)
                    self._running[report] = rows, chunk["id"][0].as_py()
                if not self._running:
                    return skipped
                for report in self._reports():
                    skipped += report.skipped
                    self._progress(report.n_rows + len(report.skipped))
                if self._n_waiting >= ROWS_A_COMMIT or time.monotonic() - self._since > SECONDS_A_COMMIT:
                    self._commit()
        finally:  # an error or Ctrl-C keeps what is embedded
            for reference in self._running:
                self._ray.cancel(reference, force=True)
            self._commit()

    def _reports(self) -> Iterator[ChunkReport]:
        """Reports of the chunks that are through by now; one at least."""
        ready, _ = self._ray.wait(list(self._running), num_returns=1)
        for reference in ready:
            rows, first = self._running.pop(reference)
            with _lost(f"the chunk that begins with item {first!r}"):
                report: ChunkReport = self._ray.get(reference)
            self._waiting.append(rows)
            self._n_waiting += report.n_rows
            yield report

    def _commit(self) -> None:
        parts, expected = self._waiting, self._n_waiting
        self._waiting, self._n_waiting, self._since = [], 0, time.monotonic()  # before: nothing is stored twice
        if not expected:
            return
        with _lost("a batch of vectors"):
            stored = self._sink.add(self._ray, parts)
        if stored != expected:  # a chunk lost with its node was embedded again, and its images are gone meanwhile
            raise DamagedError(f"{stored} of {expected} embedded items were stored; look at the images, then --resume")


def _chunk_work(left: Manifest, encoder: Encoder, cpus: int) -> ChunkWork:
    name = loadable_name(encoder.card)
    if Path(name).is_dir():  # a worker has another working folder
        name = str(Path(name).resolve())
    return ChunkWork(name, encoder.fingerprint, str(left.root), cpus)


@contextmanager
def _lost(what: str) -> Iterator[None]:
    """Say what the cluster lost for good."""
    from ray.exceptions import RayError, RayTaskError

    try:
        yield
    except RayError as error:
        if isinstance(error, RayTaskError):
            raise
        raise ClusterError(
            f"the Ray cluster lost {what} more often than it tries again ({type(error).__name__}); look at the nodes' "
            "memory and logs, then go on with --resume: what is embedded is kept"
        ) from error


@contextmanager
def _told() -> Iterator[None]:
    """Let the worker's own error through, without Ray's words around it."""
    from ray.exceptions import RayTaskError

    try:
        yield
    except RayTaskError as error:
        if isinstance(error.cause, HistoseekError):
            raise error.cause from error
        raise
