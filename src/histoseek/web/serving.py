"""Running the server: where it listens, how it starts, and how it ends."""

from __future__ import annotations

import errno
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import uvicorn

from histoseek.errors import InputError
from histoseek.index import Index
from histoseek.web.app import create_app
from histoseek.web.headers import ANYWHERE
from histoseek.web.map_making import MapMaking
from histoseek.web.settings import Settings, check_host
from histoseek.web.wire import Connection

FIRST_PORT, PORTS_TRIED, MOST_PORT = 8000, 50, 65_535
GRACE_S = 20
"""How long work in hand may go on once the server is told to stop."""

BACKLOG = 256


@dataclass(frozen=True)
class Listening:
    """An open port, and the address that people type."""

    sockets: list[socket.socket]
    url: str


def serve(index: Index, settings: Settings, started: Callable[[str, Sequence[str]], None]) -> None:
    """Serve an index until the process is told to stop; `started` is told the page's address once it can be opened.

    It is also told which columns of the archive's own stay hidden.

    Raises:
        InputError: the address is taken, or not this machine's, or not loopback without a key file.
    """
    check_host(settings)
    app = create_app(index, settings)
    listening = listen(settings.host, settings.port)
    config = uvicorn.Config(
        app,
        http=Connection,
        proxy_headers=False,  # the application itself believes those that it is told to
        log_level="warning",
        access_log=False,  # paths hold ids and belong into the audit log alone
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=15,
        h11_max_incomplete_event_size=64 * 1024,
        lifespan="on",
        ws="none",
    )
    hidden = app.state.archive.hidden_columns()
    server = Announcing(config, lambda: started(listening.url, hidden))
    for one in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises them again when it has ended; that is no fault
        signal.signal(one, _let_end)
    with MapMaking(app.state.archive) if settings.draw_map else nullcontext():
        server.run(sockets=listening.sockets)


def listen(host: str, port: int | None) -> Listening:
    """Open a port: the one asked for, else 8000 or the next that is free.

    Raises:
        InputError: it is taken, or there is no such port, or the address is not this machine's.
    """
    if port is not None and not 0 <= port <= MOST_PORT:
        raise InputError(f"--port {port} is no port; choose one between 0 (any free one) and {MOST_PORT}")
    tried = [port] if port is not None else list(range(FIRST_PORT, FIRST_PORT + PORTS_TRIED))
    for one in tried:
        try:
            family, _, _, _, address = socket.getaddrinfo(host, one, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
                0
            ]
        except OSError as error:
            raise InputError(f"--host {host} is no address of this machine") from error
        # asyncio sends at once, without waiting for more (TCP_NODELAY), only where the protocol is stated.
        opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            opened.bind(address)
            opened.listen(BACKLOG)
        except OSError as error:
            opened.close()
            if error.errno == errno.EADDRINUSE and port is None:
                continue
            raise InputError(f"cannot listen on {host}, port {one}: {error.strerror}; choose another --port") from error
        return Listening([opened], url_of(host, opened.getsockname()[1]))
    raise InputError(f"ports {tried[0]} to {tried[-1]} are all taken; choose one with --port")


def url_of(host: str, port: int) -> str:
    """The address that people type."""
    shown = "127.0.0.1" if host in ANYWHERE else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/"


class Announcing(uvicorn.Server):
    """A server that says when it answers."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        if not self.should_exit:
            self._ready()


def _let_end(_number: int, _frame: Any) -> None:
    """A second signal after the end is no reason to die by it."""
