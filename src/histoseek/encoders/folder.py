"""The encoder folder, run by OpenVINO on processors: the one runtime format."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histoseek.encoders.compiled import compiled_model
from histoseek.encoders.encoder import (
    AskedPrecision,
    EncoderCard,
    Fingerprint,
    Pace,
    Precision,
    Preprocessing,
    Settings,
    n_cores,
    no_text_tower,
    unit_rows,
)
from histoseek.encoders.encoder_json import FolderDescription, TextFiles, read_description
from histoseek.encoders.pixels import spans, stacked
from histoseek.encoders.silent_openvino import import_openvino
from histoseek.encoders.words import Words
from histoseek.errors import DamagedError, EncoderError
from histoseek.items import sha256_of

BATCH = 8
"""Rows per request; measured fastest on 2 cores for ViT-B/32 and within 5 % for ResNet-50."""

_python_side = threading.Lock()
"""Held around OpenVINO's Python side, which makes its tables at their first use and hangs when two threads do."""

PRECISIONS: tuple[Precision, ...] = ("f32", "bf16", "f16")


class FolderEncoder:
    """An encoder folder in OpenVINO; several requests run at a time, the text tower is loaded at the first text.

    One that `has_name` ships with Histoseek and is found by its name, wherever that is installed.

    Raises:
        DamagedError: `encoder.json` or a file it names is incomplete or altered.
        EncoderError: this machine or this build of OpenVINO cannot do what the settings ask.
    """

    def __init__(self, folder: Path, settings: Settings | None = None, *, has_name: bool = False) -> None:
        settings = settings or Settings()
        precision = _resolved(settings.precision)
        settings = replace(settings, precision=precision)
        description = read_description(folder)
        preprocessing = settings.seen(description.preprocessing)
        # Absolute, because the text tower and the archive come back to it from whatever working directory.
        self._folder, self._settings, self._description = folder.resolve(), settings, description
        self._has_name = has_name
        self._fingerprint = Fingerprint(
            encoder=description.card.name,
            weights_sha256=description.weights_sha256,
            preprocessing=preprocessing,
            precision=precision,
        )
        _check_file(folder, description.image, description)
        self._image = _Requests(
            lambda: _taking_pixels(_read_model(folder, description.image, description), preprocessing),
            [description.sha256[description.image], "pixels", *preprocessing.mean, *preprocessing.std],
            description.card.dim,
            settings,
        )
        self._text: tuple[Words, _Requests] | None = None

    @property
    def card(self) -> EncoderCard:
        """What `encoder.json` says of it."""
        return replace(self._description.card, folder="" if self._has_name else str(self._folder))

    @property
    def fingerprint(self) -> Fingerprint:
        """What decides its vectors."""
        return self._fingerprint

    @property
    def folder(self) -> Path:
        """Where it lies, as an absolute path."""
        return self._folder

    @property
    def pace(self) -> Pace:
        """Two calls at a time, each with a batch for every request: one begins while the other still ends."""
        return Pace(2, self._image.n_rows_at_once)

    def embed_images(self, views: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed views `[view_px, view_px, 3]` as unit rows `[N, D]`."""
        return unit_rows(self._image.run({"views": stacked(views, self._fingerprint.preprocessing.view_px)}))

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts as unit rows `[N, D]`.

        Raises:
            EncoderError: there is no text tower.
            DamagedError: its files are altered.
        """
        files = self._description.text
        if files is None:
            raise no_text_tower(self.card)
        if self._text is None:
            self._text = self._text_tower(files)
        words, requests = self._text
        return unit_rows(requests.run(words.tokens(texts)))

    def _text_tower(self, files: TextFiles) -> tuple[Words, _Requests]:
        tokenizer = _checked_bytes(self._folder, files.tokenizer, self._description).decode()
        _check_file(self._folder, files.model, self._description)
        requests = _Requests(
            lambda: _read_model(self._folder, files.model, self._description),
            [self._description.sha256[files.model], "words"],
            self.card.dim,
            self._settings,
        )
        return Words(tokenizer, files.input), requests


class _Requests:
    """A compiled model that answers several batches at a time, to one thread or to several.

    `make` gives the model where it was not compiled before; `marks` are all that decides which model that is.
    """

    def __init__(self, make: Callable[[], Any], marks: Sequence[str | float], dim: int, settings: Settings) -> None:
        self._dim, self._batch = dim, settings.batch or BATCH
        compiled = _compiled(make, marks, settings)
        width = compiled.output(0).partial_shape[-1]
        if width.is_static and width.get_length() != dim:
            raise DamagedError(
                f"the model gives vectors of {width.get_length()} numbers but encoder.json says {dim}; export it again"
            )
        self._n_requests = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._free: SimpleQueue[Any] = SimpleQueue()
        for _ in range(self._n_requests):
            self._free.put(compiled.create_infer_request())

    @property
    def n_rows_at_once(self) -> int:
        """Rows that keep every request busy with a full batch."""
        return self._n_requests * self._batch

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Feed arrays `[N, …]` in batches and give the outputs `[N, D]` in the order of the inputs."""
        n = len(next(iter(inputs.values())))
        rows = np.zeros((n, self._dim), np.float32)
        share = -(-n // self._n_requests) or 1
        running: deque[tuple[Any, NDArray[np.float32]]] = deque()
        try:
            for span in spans(n, min(self._batch, share)):
                request = self._idle(running)
                running.append((request, rows[span]))
                with _python_side:
                    request.start_async({name: array[span] for name, array in inputs.items()}, share_inputs=True)
            while running:
                self._free.put(_finished(running))
        finally:
            for request, _ in running:  # an error: they read from the inputs until they end
                with suppress(RuntimeError):
                    request.wait()
                self._free.put(request)
        return rows

    def _idle(self, running: deque[tuple[Any, NDArray[np.float32]]]) -> Any:
        """A request that is free, else our own oldest; who holds some never waits for other threads' to come free."""
        try:
            return self._free.get(block=not running)
        except Empty:
            return _finished(running)


def _finished(running: deque[tuple[Any, NDArray[np.float32]]]) -> Any:
    """Wait for the oldest request, keep its rows, and give it back."""
    request, rows = running[0]
    request.wait()
    with _python_side:
        rows[:] = request.get_output_tensor(0).data
    running.popleft()
    return request


def _check_file(folder: Path, name: str, description: FolderDescription) -> None:
    """Hold a file against its digest without having it in memory; it may be large and its compiled model kept."""
    path = folder / name
    try:
        digest = sha256_of(path)
    except OSError as error:
        raise DamagedError(f"{path} cannot be read ({error.strerror}); copy the encoder folder again") from error
    if digest != description.sha256[name]:
        raise DamagedError(f"{path} is not the file that encoder.json describes; export or copy the folder again")


def _checked_bytes(folder: Path, name: str, description: FolderDescription) -> bytes:
    path = folder / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DamagedError(f"{path} cannot be read ({error.strerror}); copy the encoder folder again") from error
    if hashlib.sha256(content).hexdigest() != description.sha256[name]:
        raise DamagedError(f"{path} is not the file that encoder.json describes; export or copy the folder again")
    return content


def _read_model(folder: Path, name: str, description: FolderDescription) -> Any:
    content = _checked_bytes(folder, name, description)
    try:
        return import_openvino().Core().read_model(content, b"")
    except RuntimeError as error:
        raise DamagedError(f"{folder / name} is not an ONNX model that OpenVINO reads: {_first_line(error)}") from error


def _taking_pixels(model: Any, preprocessing: Preprocessing) -> Any:
    """Put scaling and normalisation in front of the model, so that it takes uint8 views `[N, H, W, 3]`.

    Models that were compiled with it are kept: what changes here needs a new `compiled.FORMAT`.
    """
    openvino = import_openvino()
    steps = openvino.preprocess.PrePostProcessor(model)
    views = steps.input(0)
    views.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    views.model().set_layout(openvino.Layout("NCHW"))
    converted = views.preprocess().convert_element_type(openvino.Type.f32).scale(255.0)
    converted.mean(list(preprocessing.mean)).scale(list(preprocessing.std))
    ready = steps.build()
    ready.input(0).get_tensor().set_names({"views"})
    return ready


def _resolved(asked: AskedPrecision) -> Precision:
    """What "auto" means on this processor: what OpenVINO prefers on it; others stay what they are."""
    if asked != "auto":
        return asked
    preferred = import_openvino().Core().get_property("CPU", "INFERENCE_PRECISION_HINT").get_type_name()
    return next((one for one in PRECISIONS if one == preferred), "f32")


def _compiled(make: Callable[[], Any], marks: Sequence[str | float], settings: Settings) -> Any:
    precision = settings.precision
    if precision not in PRECISIONS:
        raise EncoderError(
            f"an encoder folder runs in {', '.join(PRECISIONS)}, not {settings.precision}; choose one with --precision "
            "(int8 is a folder of its own, written by `histoseek encoders export --int8`)"
        )
    options: dict[str, Any] = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": precision}
    # OpenVINO knows the affinity by itself, but not the quota of a container.
    if settings.threads is not None or n_cores() < (os.cpu_count() or 1):
        options["INFERENCE_NUM_THREADS"] = settings.threads or n_cores()
    try:
        compiled = compiled_model(make, marks, options)
    except RuntimeError as error:
        raise EncoderError(f"OpenVINO cannot run this encoder here: {_first_line(error)}") from error
    given = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if given != precision:
        raise EncoderError(f"this processor does not compute in {precision}, only {given}; leave --precision out")
    return compiled


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
