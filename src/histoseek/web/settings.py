"""How a server is set up."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path

from histoseek.errors import InputError

MEBIBYTE = 1024**2
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Limits:
    """What one server takes at once, and one client in a while.

    A client is a key, or an address where no key is needed. `asks_per_s` and `asks_at_once` count questions, exports,
    uploads and new sessions (a token bucket: so many at once, then so many a second); `looks_per_s` and `looks_at_once`
    everything else, tiles above all. Requests in flight with a key, and those of all strangers, are `at_once` each, of
    one stranger's address `strangers_at_once`. One piece of work of the encoder runs at a time, and `encoding_waits`
    others may wait. `uploads_at_once` are received, decoded and searched with together, and as many as for the encoder
    wait before they are received.
    """

    upload_bytes: int = 20 * MEBIBYTE
    upload_pixels: int = 50_000_000
    batch_bytes: int = 4 * MEBIBYTE
    body_bytes: int = MEBIBYTE
    key_bytes: int = 4096
    receive_s: float = 60.0
    key_receive_s: float = 5.0
    decode_s: float = 20.0
    decode_bytes: int = 1536 * MEBIBYTE
    asks_per_s: float = 40.0
    asks_at_once: int = 200
    looks_per_s: float = 400.0
    looks_at_once: int = 2000
    failures_at_once: int = 10
    failures_per_s: float = 0.2
    at_once: int = 256
    strangers_at_once: int = 64
    encoding_waits: int = 16
    uploads_at_once: int = 3
    batch_lines: int = 256


@dataclass(frozen=True)
class Settings:
    """What `histoseek serve` is told.

    Without `api_key_file` the server listens on loopback only, and whoever reaches it may do everything. `report` is a
    report folder of an evaluation of the same index. `allow_hosts` are names beyond `host` that clients may call it by.
    `trust_proxies` are addresses or networks of proxies that are believed when they say who asks them, and how.
    `audit_log` is written beside the index, or into the cache where that is read-only, unless it is given.
    `draw_map` lets the server draw the map of an archive that has none, in a process of its own.
    `show_columns` are shown although they look as if they told who somebody is.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    api_key_file: Path | None = None
    report: Path | None = None
    keep_names: bool = False
    show_columns: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    trust_proxies: tuple[str, ...] = ()
    audit_log: Path | None = None
    metrics: bool = False
    draw_map: bool = True
    limits: Limits = field(default_factory=Limits)


def check_host(settings: Settings) -> None:
    """Refuse to listen beyond loopback without keys, and to believe what is no proxy's address; raises `InputError`."""
    for proxy in settings.trust_proxies:
        try:
            ip_network(proxy)
        except ValueError as error:
            raise InputError(
                f"--trust-proxy {proxy} is no address; write one like 127.0.0.1, or a network like 172.16.0.0/12"
            ) from error
    if settings.host not in LOOPBACK and settings.api_key_file is None:
        raise InputError(
            f"--host {settings.host} lets other machines in, so it needs keys: make one with histoseek keys add FILE "
            "--role read, and give --api-key-file FILE too"
        )
