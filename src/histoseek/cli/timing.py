"""`--timing`: where the time of a command went, from the start of its process on."""

from __future__ import annotations

import builtins
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from histoseek.cli.output import note

_START = "Python and the command line"


class Clock:
    """Seconds of each step of a command, and how many of them went into importing other packages.

    One that is not `running` measures nothing and tells nothing.
    """

    def __init__(self, running: bool) -> None:
        self._running, self._since = running, time.perf_counter()
        self._steps: dict[str, tuple[float, float]] = {_START: (seconds_since_start(), 0.0)} if running else {}
        self._importing = 0.0

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure what is done inside, as a step of this name; steps follow one another."""
        if not self._running:
            yield
            return
        since, self._importing = time.perf_counter(), 0.0
        with self._imports_watched():
            yield
        took, importing = self._steps.get(name, (0.0, 0.0))
        self._steps[name] = (took + time.perf_counter() - since, importing + self._importing)

    def tell(self) -> None:
        """Print the steps to stderr, the time since the process began, and the share that is Histoseek's own.

        That is all but the first step, in which Python starts and the command line is set up, and importing other
        packages; what those packages do for it counts in.
        """
        if not self._running:
            return
        started = self._steps[_START][0]
        total = started + time.perf_counter() - self._since
        importing = sum(one for _, one in self._steps.values())
        lines = [f"{'step':34}{'s':>7}  of it importing other packages"]
        lines += [f"{name:34}{took:7.3f}{one:9.3f}" for name, (took, one) in self._steps.items()]
        lines.append(f"{'since the process began':34}{total:7.3f}{importing:9.3f}")
        lines.append(f"{'Histoseek itself':34}{total - importing - started:7.3f}")
        note("\n".join(lines))

    @contextmanager
    def _imports_watched(self) -> Iterator[None]:
        """Add up the time of every import that is not of one file of Histoseek by another; nested ones count once."""
        plain, depth = builtins.__import__, 0

        def watched(name: str, *given: Any, **named: Any) -> Any:
            nonlocal depth
            where = given[0] if given else named.get("globals")
            is_own = _is_own(name) and _is_own(str((where or {}).get("__name__", "")))
            if is_own or depth:
                return plain(name, *given, **named)
            since, depth = time.perf_counter(), 1
            try:
                return plain(name, *given, **named)
            finally:
                depth = 0
                self._importing += time.perf_counter() - since

        builtins.__import__ = watched
        try:
            yield
        finally:
            builtins.__import__ = plain


def seconds_since_start() -> float:
    """Seconds since this process was started; where the system does not say when, its processor time."""
    if not sys.platform.startswith("linux"):
        return time.process_time()
    told = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace")
    ticks = int(told.rpartition(")")[2].split()[19])  # the name in brackets may hold anything
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def _is_own(module: str) -> bool:
    return module.partition(".")[0] == "histoseek"
