"""One connection, with limits of time that uvicorn has none of: for the head of a request, and for a reader's pace."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 20.0
"""How long the head of a request may take to arrive."""

STALL_S = 20.0
LEAST_BYTES_PER_S = 8 * 1024
"""A client takes its answer at this pace, looked at every `STALL_S` seconds, or loses it: it fills our memory."""


class Connection(H11Protocol):
    """A connection that is cut when its client sends no head, or does not take its answer."""

    head_s, stall_s, least_bytes_per_s = HEAD_S, STALL_S, LEAST_BYTES_PER_S
    _head: asyncio.TimerHandle | None = None
    _pace: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, and wait for a head."""
        super().connection_made(transport)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        super().data_received(data)
        self._watch_head()

    def pause_writing(self) -> None:
        """The client takes less than it is sent."""
        super().pause_writing()
        self._watch_pace()

    def resume_writing(self) -> None:
        """It has caught up."""
        super().resume_writing()
        self._leave_pace()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._leave_head()
        self._leave_pace()
        super().connection_lost(exc)

    def _watch_head(self) -> None:
        """Give time to a head that has begun or is due; a whole one needs none."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._leave_head()
        elif self._head is None:
            self._head = self.loop.call_later(self.head_s, self.transport.abort)

    def _leave_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _watch_pace(self) -> None:
        self._leave_pace()
        waiting = self.transport.get_write_buffer_size()
        self._pace = self.loop.call_later(self.stall_s, self._look_again, waiting)

    def _look_again(self, waiting: int) -> None:
        if waiting - self.transport.get_write_buffer_size() < self.least_bytes_per_s * self.stall_s:
            self.transport.abort()
        else:
            self._watch_pace()

    def _leave_pace(self) -> None:
        if self._pace is not None:
            self._pace.cancel()
            self._pace = None
