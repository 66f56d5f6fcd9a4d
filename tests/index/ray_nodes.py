"""A Ray cluster of two nodes with one processor each on loopback: real processes, to be killed by tests.

Run as a program it starts the nodes, says where they are in one line of JSON, and ends them when its input closes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # off; loopback only


@dataclass(frozen=True)
class Cluster:
    """Its address, and the process ids of its nodes' raylets: the head's first."""

    address: str
    raylets: tuple[int, ...]

    def kill_a_working_process(self) -> int:
        """Kill -9 the first worker that is embedding; returns the process id."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for process, parent, title in _processes():
                if parent in self.raylets and title.startswith("ray::histoseek"):
                    os.kill(process, signal.SIGKILL)
                    return process
            time.sleep(0.01)
        raise AssertionError("no worker embeds anything")

    def kill_a_node(self) -> None:
        """Kill -9 the raylet of the second node, which takes its workers along."""
        os.kill(self.raylets[1], signal.SIGKILL)


@contextmanager
def two_nodes() -> Iterator[Cluster]:
    """Start the nodes; end them."""
    command = [sys.executable, "-W", "ignore", str(Path(__file__).resolve())]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ | ENVIRONMENT
    ) as holder:
        assert holder.stdin is not None and holder.stdout is not None
        try:
            for line in holder.stdout:  # Ray prints lines of its own
                if line.startswith(b"{"):
                    told = json.loads(line)
                    yield Cluster(told["address"], tuple(told["raylets"]))
                    break
            else:
                raise RuntimeError("the Ray cluster did not start")
        finally:
            holder.stdin.close()
            holder.wait(60)


def _processes() -> Iterator[tuple[int, int, str]]:
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit():
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                yield int(folder.name), parent, (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:  # it ended meanwhile
            continue


def main() -> None:
    from ray.cluster_utils import Cluster as Nodes

    size = 150_000_000
    own = {"node_ip_address": "127.0.0.1", "num_cpus": 1, "object_store_memory": size, "include_dashboard": False}
    nodes = Nodes(initialize_head=True, head_node_args=own)
    nodes.add_node(**own)
    nodes.wait_for_nodes()
    raylets = [node.all_processes["raylet"][0].process.pid for node in nodes.list_all_nodes()]
    print(json.dumps({"address": nodes.address, "raylets": raylets}), flush=True)
    sys.stdin.read()
    nodes.shutdown()


if __name__ == "__main__":
    main()
