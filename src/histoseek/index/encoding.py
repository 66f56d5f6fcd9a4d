"""Views on their way through an encoder: in full batches, whatever item they are of, while others are still read."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from histoseek.encoders.encoder import Encoder, Pace, Paced
from histoseek.errors import EncoderError


class Encoding:
    """Views go in one by one and rows come out in the same order.

    As many calls of the encoder run at a time as its pace says; one more waits, so that the encoder never does, and
    whoever brings more views than that has to wait.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.pace = encoder.pace if isinstance(encoder, Paced) else Pace()
        self._encoder = encoder
        self._pool = ThreadPoolExecutor(self.pace.calls, thread_name_prefix="encoder")
        self._batch: list[NDArray[np.uint8]] = []
        self._calls: deque[tuple[Future[NDArray[np.float32]], int]] = deque()
        self._rows: deque[NDArray[np.float32]] = deque()
        self._n_rows = 0

    def __enter__(self) -> Encoding:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def put(self, view: NDArray[np.uint8]) -> None:
        """Add a view; raises what the encoder raised on an earlier one."""
        self._batch.append(view)
        if len(self._batch) >= self.pace.views:
            self.flush()

    def flush(self) -> None:
        """Send on what is there, though the batch is not full."""
        if not self._batch:
            return
        while len(self._calls) > self.pace.calls:
            self._collect()
        self._calls.append((self._pool.submit(self._encoder.embed_images, self._batch), len(self._batch)))
        self._batch = []

    def take(self, n: int, *, wait: bool) -> NDArray[np.float32] | None:
        """Give the next `n` rows `[n, D]`; None when they are not there yet and `wait` is false.

        Raises what the encoder raised on them. Rows that are waited for must have been flushed.
        """
        while self._n_rows < n and self._calls and (wait or self._calls[0][0].done()):
            self._collect()
        if self._n_rows < n:
            return None
        parts: list[NDArray[np.float32]] = []
        left = n
        while left:
            first = self._rows.popleft()
            parts.append(first[:left])
            if len(first) > left:
                self._rows.appendleft(first[left:])
            left -= len(parts[-1])
        self._n_rows -= n
        return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)

    def _collect(self) -> None:
        call, n_views = self._calls.popleft()
        rows = call.result()
        if len(rows) != n_views:  # else all vectors from here on would go to other items
            name = self._encoder.card.name
            raise EncoderError(
                f"the encoder {name!r} gave {len(rows)} vectors for {n_views} views; mend its embed_images"
            )
        self._rows.append(rows)
        self._n_rows += len(rows)
