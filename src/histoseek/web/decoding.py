"""Uploads are decoded in a process of their own, which has little memory, little time and no files to write.

The process reads a line with a format and a length, and the bytes of a picture. It answers with a line of JSON, which
is the size and µm per pixel, followed by the pixels, or the reason why there are none. When it is too slow it is
killed, and another takes its place.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from histoseek.errors import ImageError, TooManyPixelsError
from histoseek.web.problems import TooLarge, UnreadablePicture
from histoseek.web.settings import Limits

MAGIC: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    ("JPEG", lambda head: head.startswith(b"\xff\xd8\xff")),
    ("PNG", lambda head: head.startswith(b"\x89PNG\r\n\x1a\n")),
    ("TIFF", lambda head: head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    ("WEBP", lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP"),
    ("BMP", lambda head: head.startswith(b"BM")),
)
"""Formats by their first bytes; a file's name and its stated type are never looked at."""

_MOST_LINE = 4096


@dataclass(frozen=True)
class Decoded:
    """Pixels `[H, W, 3]` of an upload, and its µm per pixel where it states them."""

    pixels: NDArray[np.uint8]
    mpp: float | None


def format_of(data: bytes) -> str:
    """The format of a picture by its first bytes; raises `UnreadablePicture` for any other file."""
    head = data[:16]
    found = next((name for name, fits in MAGIC if fits(head)), None)
    if found is None:
        raise UnreadablePicture("this file is no picture that is read; send JPEG, PNG, TIFF, WebP or BMP")
    return found


class Decoder:
    """One worker process at a time, kept between pictures; one picture is decoded at a time."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._worker: subprocess.Popen[bytes] | None = None

    def decode(self, data: bytes) -> Decoded:
        """Decode a picture.

        Raises:
            UnreadablePicture: it is no picture, a broken one, or one that takes too long or too much memory.
            TooLarge: it has more pixels than are taken.
        """
        kind = format_of(data)
        with self._lock:
            worker = self._started()
            alarm = threading.Timer(self._limits.decode_s, worker.kill)
            alarm.start()
            try:
                told, pixels = _asked(worker, kind, data)
            except (OSError, ValueError, EOFError) as error:
                self._stop()
                raise UnreadablePicture("this picture cannot be decoded within the limits of the server") from error
            finally:
                alarm.cancel()
        if "reason" in told:
            raise (TooLarge if told["is_large"] else UnreadablePicture)(str(told["reason"]))
        shape = (int(told["height"]), int(told["width"]), 3)
        return Decoded(np.frombuffer(pixels, dtype=np.uint8).reshape(shape), told["mpp"])

    def start(self) -> None:
        """Start the process ahead of the first picture."""
        with self._lock:
            self._started()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._stop()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._worker is not None and self._worker.poll() is not None:
            self._stop()
        if self._worker is None:
            limits = (str(self._limits.upload_pixels), str(self._limits.decode_bytes))
            self._worker = subprocess.Popen(  # noqa: S603 - this very program
                [sys.executable, "-m", "histoseek.web.decoding", *limits],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the server, which lets work in hand end
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        return self._worker

    def _stop(self) -> None:
        if self._worker is None:
            return
        self._worker.kill()
        for pipe in (self._worker.stdin, self._worker.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # what was written to it is lost with the process
                    continue
        self._worker.wait()
        self._worker = None


def _asked(worker: subprocess.Popen[bytes], kind: str, data: bytes) -> tuple[dict[str, Any], bytes]:
    assert worker.stdin is not None and worker.stdout is not None  # noqa: S101 - both are pipes
    worker.stdin.write(f"{kind} {len(data)}\n".encode() + data)
    worker.stdin.flush()
    line = worker.stdout.readline(_MOST_LINE)
    if not line.endswith(b"\n"):
        raise EOFError
    told: dict[str, Any] = json.loads(line)
    return told, _exactly(worker.stdout, 0 if "reason" in told else told["height"] * told["width"] * 3)


def _exactly(stream: IO[bytes], length: int) -> bytes:
    found = stream.read(length)
    if len(found) != length:
        raise EOFError
    return found


def work(pixels: int, memory: int, source: IO[bytes], out: IO[bytes]) -> None:
    """Decode pictures until there are no more; this is the worker's life."""
    _shut_in(memory)
    while line := source.readline(_MOST_LINE):
        kind, length = line.split()
        told, rgb = _decoded(_exactly(source, int(length)), kind.decode(), pixels)
        out.write(json.dumps(told).encode() + b"\n")
        if rgb is not None:
            out.write(rgb.data.cast("B"))
        out.flush()


def _decoded(data: bytes, kind: str, most: int) -> tuple[dict[str, Any], NDArray[np.uint8] | None]:
    from histoseek.imaging.flat import flat_of_bytes
    from histoseek.items import Box

    try:
        flat = flat_of_bytes(data, kind, most)
        width, height = flat.size
        rgb = np.ascontiguousarray(flat.read(Box(0, 0, width, height), flat.size))
    except ImageError as error:
        return {"reason": str(error), "is_large": isinstance(error, TooManyPixelsError)}, None
    except MemoryError:
        return {"reason": "the picture takes more memory to decode than the server gives it", "is_large": True}, None
    return {"width": width, "height": height, "mpp": flat.mpp}, rgb


def _shut_in(memory: int) -> None:
    """Limit this process: so much memory beyond what it has now, no file larger than nothing, no core dump."""
    from histoseek.imaging import flat  # noqa: F401 - what is loaded now is not counted

    if sys.platform == "win32":  # which has no such limits; the time limit holds there too
        return
    import resource

    page = os.sysconf("SC_PAGE_SIZE")
    try:
        with open("/proc/self/statm", encoding="ascii") as stream:  # noqa: PTH123
            now = int(stream.read().split()[0]) * page
    except OSError:
        now = 1024**3
    resource.setrlimit(resource.RLIMIT_AS, (now + memory, now + memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    work(int(sys.argv[1]), int(sys.argv[2]), sys.stdin.buffer, sys.stdout.buffer)
