"""Pictures as answers: encoded without anything beside their pixels, and known again by an ETag."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, TypeVar

import numpy as np
from fastapi import Header, Response
from fastapi import Path as InPath
from numpy.typing import NDArray
from PIL import Image

from histoseek.errors import HistoseekError
from histoseek.web.problems import Problem
from histoseek.web.schemas import ID

if TYPE_CHECKING:
    from histoseek.imaging import Reader
    from histoseek.web.archive import Archive

QUALITY = 85
PROBLEM: dict[str, Any] = {"content": {"application/problem+json": {}}}

PathId = Annotated[str, InPath(pattern=ID)]
"""An opaque id in an address; one of another form is as unknown as any other."""

Held = Annotated[str | None, Header(alias="If-None-Match", description="ETags of what the client holds.")]

Key = TypeVar("Key")
Value = TypeVar("Value")


class NoPicture(Problem):
    """The file of an item or a slide is gone, or cannot be read any more."""

    status: ClassVar[int] = 404


class Remembered(Generic[Key, Value]):
    """The last few results by what they were made from, for many threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        """What was kept; None when it was not, or not any more."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: Key, value: Value) -> None:
        """Keep something, and forget what was not asked for longest."""
        with self._lock:
            self._kept[key] = value
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)


def mark_of(path: Path) -> tuple[int, int]:
    """What tells a file from another one of its name; raises `NoPicture` when it is gone."""
    try:
        stat = path.stat()
    except OSError as error:
        raise NoPicture("the picture is gone: its file is not where the archive knows it; ask who runs it") from error
    return stat.st_mtime_ns, stat.st_size


@contextmanager
def opened(archive: Archive, path: Path) -> Iterator[Reader]:
    """A reader of a file of the archive; raises `NoPicture` when it is gone or cannot be opened."""
    mark_of(path)
    with ExitStack() as stack:
        try:
            reader = stack.enter_context(archive.readers.open(path))
        except (HistoseekError, OSError) as error:  # what readers say names files of the server
            raise damaged() from error
        yield reader


def damaged() -> NoPicture:
    """What is said of a file that cannot be decoded."""
    return NoPicture("the picture cannot be read: its file is damaged, or of a kind that is not read here")


def jpeg_of(pixels: NDArray[np.uint8]) -> bytes:
    """RGB pixels `[H, W, 3]` as JPEG, without EXIF or anything else that a file may carry."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()


def png_of(pixels: NDArray[np.uint8]) -> bytes:
    """RGBA pixels `[H, W, 4]` as PNG."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def tag_of(*parts: Any) -> str:
    """The ETag of what is made from these parts."""
    return f'"{blake2b(repr(parts).encode(), digest_size=12).hexdigest()}"'


def answer(held: str | None, tag: str, kind: str, make: Callable[[], bytes]) -> Response:
    """A picture of the media type `kind`, or 304 where the client holds it: `held` is its If-None-Match."""
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}  # kept, and asked about before it is shown
    tags = {one.strip().removeprefix("W/") for one in (held or "").split(",")}
    if tag in tags or "*" in tags:
        return Response(status_code=304, headers=headers)
    return Response(make(), media_type=kind, headers=headers)


def documented(kind: str, *statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI is told of a route that answers with bytes of the media type `kind`, and with problems."""
    told: dict[int | str, dict[str, Any]] = {200: {"content": {kind: {}}, "description": "The file."}}
    told |= {status: {**PROBLEM, "description": "A problem."} for status in statuses if status >= 400}
    return told | ({304: {"description": "The client holds it already."}} if 304 in statuses else {})
