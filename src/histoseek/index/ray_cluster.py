"""A Ray cluster to work on: one that runs already, or one on this machine for as long as the work lasts."""

from __future__ import annotations

import os
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from histoseek.errors import ClusterError, InputError, needs_extra

LOCAL = "local"

OBJECT_STORE_BYTES = 500_000_000
"""Shared memory of a cluster on this machine: what waits there is a few batches of vectors."""

MOST_CPUS = 4
"""Processors of one task unless asked otherwise: each worker process holds an encoder, so one per core is too many."""

SECONDS_TO_ANSWER = 10.0

_QUIET = {"log_to_driver": False, "logging_level": "ERROR"}


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Give the module `ray`, connected to `address`: `local`, `auto`, `host:port` or `ray://host:port`.

    `local` starts a cluster that listens on loopback only and ends with the work. A connection that the program has
    already is used and left open. Ray's usage statistics are off.

    Raises:
        ClusterError: nothing answers at the address.
        MissingExtraError: Ray is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if address == LOCAL:  # read when Ray is imported; without it Ray turns 127.0.0.1 into the address of a network card
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    with redirect_stdout(sys.stderr), needs_extra("cluster"):  # results alone go to stdout
        import lance_ray  # noqa: F401 (what `LanceRaySink` needs later, when hours of work wait; it imports Ray)
        import ray
    if ray.is_initialized():
        yield ray
        return
    try:
        _knock(address)
        with redirect_stdout(sys.stderr), warnings.catch_warnings():
            # Lance warns of forks; each of Ray's becomes another program at once
            warnings.filterwarnings("ignore", message="lance.*fork")
            _connect(ray, address)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise ClusterError(f"no Ray cluster answers at {address} ({reason}); start it, or use --ray local") from error
    try:
        yield ray
    finally:
        with redirect_stdout(sys.stderr):
            ray.shutdown()


def _knock(address: str) -> None:
    """Ray itself waits for minutes, then ends the process, where nothing listens."""
    host, colon, port = address.removeprefix("ray://").partition("/")[0].rpartition(":")
    if colon:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER).close()


def _connect(ray: Any, address: str) -> None:
    if address != LOCAL:
        ray.init(address=address, **_QUIET)
        return
    ray.init(address=LOCAL, include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES, **_QUIET)
    if ray.util.get_node_ip_address() != "127.0.0.1":
        ray.shutdown()
        raise ClusterError(
            "Ray was imported before histoseek and would listen on the network; set "
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 before importing it, or give the address of a running cluster"
        )


def cpus_of_task(ray: Any, wanted: int | None, gpus: float) -> int:
    """Processors that each task asks for: `wanted`, or a few of a node's.

    Raises:
        InputError: no node has that many processors, or the GPUs asked for.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    able = [int(node.get("CPU", 0)) for node in nodes if node.get("GPU", 0) >= gpus]
    if not able or max(able) < (wanted or 1):
        raise InputError(
            f"no node of the Ray cluster has {wanted or 1} processors and {gpus:g} GPUs; ask for less, or add a node"
        )
    return wanted or min(MOST_CPUS, max(able))


def slots(ray: Any, cpus: int, gpus: float) -> int:
    """How many tasks run at once on all nodes."""
    held = ray.cluster_resources()
    fit = held.get("CPU", 0) // cpus
    return max(1, int(min(fit, held.get("GPU", 0) // gpus) if gpus else fit))
