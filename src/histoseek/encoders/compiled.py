"""Models as OpenVINO compiled them, kept in the user's cache, so that the next process starts sooner.

A kept model is derived and disposable: it is written whole, held against its checksum, and made again where it is
damaged, of another OpenVINO or of another processor. What cannot be kept is compiled in each process, as without it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from histoseek import __version__
from histoseek.encoders.silent_openvino import import_openvino
from histoseek.errors import HistoseekError
from histoseek.items.files import user_cache, written_whole

SWITCH = "HISTOSEEK_COMPILED"
"""The environment variable that, as "off", has nothing kept and nothing read."""

FORMAT = 1
"""Of a file, and of what `histoseek.encoders.folder` puts in front of a model."""

MOST_BYTES = 1_000_000_000
"""What all kept models may take together; the ones that were used longest ago are deleted first."""

_DIGEST = hashlib.sha256().digest_size
_UNWRITABLE = (OSError, HistoseekError, RuntimeError)  # RuntimeError: OpenVINO cannot export it, or there is no home


def compiled_model(make: Callable[[], Any], marks: Sequence[str | float], options: Mapping[str, Any]) -> Any:
    """A model compiled for the processor: a kept one, or what `make` gives, which is then kept.

    `marks` are all that decides which model `make` gives. Raises `RuntimeError` where OpenVINO cannot compile it.
    """
    core = import_openvino().Core()
    if os.environ.get(SWITCH, "").lower() == "off":
        return core.compile_model(make(), "CPU", dict(options))
    place = _place(core, marks, options)
    if place is not None and (kept := _kept(core, place, options)) is not None:
        return kept
    model = make()
    compiled = core.compile_model(model, "CPU", dict(options))
    if place is not None and _weight_bytes(model) <= MOST_BYTES:
        with suppress(*_UNWRITABLE):
            _keep(compiled, place)
    return compiled


def _place(core: Any, marks: Sequence[str | float], options: Mapping[str, Any]) -> Path | None:
    """Where such a model is kept; None where a user has no home, or where others could write what is kept.

    Homes are shared between unlike machines, so the place names the processor.
    """
    machine = [core.get_property("CPU", name) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")]
    versions = [FORMAT, __version__, import_openvino().get_version()]
    whole = json.dumps([versions, machine, list(marks), sorted(options.items())])
    try:
        folder = user_cache() / "compiled"
        is_safe = not folder.exists() or _is_own(folder)
    except (OSError, RuntimeError):
        return None
    return folder / f"{hashlib.sha256(whole.encode()).hexdigest()[:32]}.blob" if is_safe else None


def _kept(core: Any, place: Path, options: Mapping[str, Any]) -> Any | None:
    """A kept model; None where there is none, or none that is whole and this user's own."""
    try:
        blob = _whole(place) if _is_own(place) else None
    except OSError:
        return None
    if blob is None:
        return None
    try:
        compiled = core.import_model(blob, "CPU", dict(options))
    except RuntimeError:
        return None
    with suppress(OSError):
        os.utime(place)
    return compiled


def _whole(place: Path) -> Any | None:
    """The bytes of a kept model; None where they are not what was written.

    They are read into OpenVINO's own memory, which the model uses as it is and keeps as long as it lives.
    """
    openvino = import_openvino()
    with place.open("rb") as stream:
        digest = stream.read(_DIGEST)
        length = os.fstat(stream.fileno()).st_size - len(digest)
        blob = openvino.Tensor(openvino.Type.u8, openvino.Shape([length]))
        stream.readinto(blob.data)
    return blob if length and hashlib.sha256(blob.data).digest() == digest else None


def _is_own(path: Path) -> bool:
    """Whether nobody else can write there: what runs in the encoder's place must come from this user."""
    if not hasattr(os, "getuid"):
        return True
    found = path.stat()
    return found.st_uid == os.getuid() and not found.st_mode & 0o022


def _weight_bytes(model: Any) -> int:
    """What a model's numbers take, and so about what a kept one would take."""
    return sum(op.get_byte_size() for op in model.get_ops() if op.get_type_name() == "Constant")


def _keep(compiled: Any, place: Path) -> None:
    blob = compiled.export_model().getbuffer()
    if len(blob) > MOST_BYTES:
        return
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with written_whole(place, 0o600) as draft, draft.open("wb") as stream:
        stream.write(hashlib.sha256(blob).digest())
        stream.write(blob)
    left = MOST_BYTES
    for one in sorted(place.parent.glob("*.blob"), key=lambda path: path.stat().st_mtime, reverse=True):
        left -= one.stat().st_size
        if left < 0:
            one.unlink(missing_ok=True)
