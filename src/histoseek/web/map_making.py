"""Drawing the map while the server runs: in a process of its own, after the first questions, and anew after changes."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

from histoseek.errors import HistoseekError
from histoseek.index.layout import has_layout, layout_key

if TYPE_CHECKING:
    from histoseek.web.archive import Archive

FIRST_AFTER_S, EVERY_S = 5.0, 60.0
"""When it is looked for a map first, and how often later; so a server that is only tried out draws none."""

_CHILD = """
import os, sys
if hasattr(os, "nice"):
    os.nice(10)  # questions come first
from histoseek.cli import main
main(["map", sys.argv[1]])
"""
_LOG = logging.getLogger("histoseek.web")


class MapMaking:
    """Draws the map of an archive as long as the block lasts; what fails is logged, and not tried again."""

    def __init__(self, archive: Archive, first_after_s: float = FIRST_AFTER_S) -> None:
        self._archive, self._first_after_s = archive, first_after_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="map", daemon=True)
        self._failed: str | None = None

    def __enter__(self) -> MapMaking:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        self._thread.join(15)

    def _run(self) -> None:
        wait = self._first_after_s
        while not self._stop.wait(wait):
            wait = EVERY_S
            try:
                index = self._archive.now()
                key = layout_key(index)
                is_wanted = key != self._failed and len(index) > 0 and not has_layout(index)
            except (HistoseekError, OSError) as error:  # told to whoever asks the archive itself
                _LOG.warning("no map can be drawn: %s", error)
                continue
            if is_wanted and not self._drawn():
                self._failed = key

    def _drawn(self) -> bool:
        """Draw it; False where that failed."""
        command = [sys.executable, "-c", _CHILD, self._archive.index.address]
        nothing = subprocess.DEVNULL
        with subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing) as child:  # noqa: S603 - ourselves
            while child.poll() is None:
                if self._stop.wait(0.2):
                    child.terminate()
            if child.returncode and not self._stop.is_set():
                _LOG.warning("the map could not be drawn; histoseek map %s says why", self._archive.index.address)
            return child.returncode == 0
