from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from histoseek.encoders import folder as module
from histoseek.encoders import load_encoder
from histoseek.encoders.encoder_json import FILE_NAME
from histoseek.encoders.folder import FolderEncoder
from histoseek.errors import DamagedError, EncoderError

Views = list[NDArray[np.uint8]]
TEXTS = ["tumour", "invasive carcinoma of the breast", "", "normal colon mucosa"]


@pytest.fixture
def folder(exported: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of the tiny CLIP's encoder folder, free to be harmed."""
    return Path(shutil.copytree(exported("clip"), tmp_path / "encoder"))


def edit(folder: Path, **changes: object) -> None:
    path = folder / FILE_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def least_cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float((one * other).sum(axis=1).min())


def test_neither_batch_nor_threads_change_vectors(exported: Callable[[str], Path], views: Views) -> None:
    folder = exported("clip")
    alone = np.concatenate([load_encoder(folder).embed_images([view]) for view in views])
    words = np.concatenate([load_encoder(folder).embed_texts([text]) for text in TEXTS])
    for batch, threads in ((1, None), (2, 1), (3, 2), (100, None)):
        encoder = load_encoder(folder, batch=batch, threads=threads)
        assert least_cosine(encoder.embed_images(views), alone) > 0.999999
        assert least_cosine(encoder.embed_texts(TEXTS), words) > 0.999999
        assert encoder.fingerprint == load_encoder(folder).fingerprint


def test_many_views_come_back_in_order(exported: Callable[[str], Path], views: Views) -> None:
    encoder = load_encoder(exported("clip"), batch=2)
    alone = np.concatenate([encoder.embed_images([view]) for view in views])
    assert least_cosine(encoder.embed_images(views * 9), np.tile(alone, (9, 1))) > 0.999999


def test_several_threads_may_call_at_a_time(exported: Callable[[str], Path], views: Views) -> None:
    encoder = load_encoder(exported("clip"), batch=1, threads=2)
    alone = encoder.embed_images(views)
    with ThreadPoolExecutor(7) as pool:  # more than there are requests, each with views for all of them
        for rows in pool.map(encoder.embed_images, [views * 3] * 28):
            assert least_cosine(rows, np.tile(alone, (3, 1))) > 0.999999


def test_the_first_calls_may_come_from_several_threads(exported: Callable[[str], Path]) -> None:
    code = f"""
        import sys, threading
        sys.setswitchinterval(1e-6)
        import numpy as np
        from histoseek.encoders import load_encoder
        encoder, start = load_encoder({str(exported("clip"))!r}), threading.Barrier(4)
        side = encoder.fingerprint.preprocessing.view_px
        def call():
            start.wait()
            encoder.embed_images([np.zeros((side, side, 3), np.uint8)] * 2)
        threads = [threading.Thread(target=call) for _ in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    """
    for _ in range(2):  # each in a fresh process; without the lock about one in three hung
        subprocess.run([sys.executable, "-W", "error", "-c", textwrap.dedent(code)], check=True, timeout=300)


def test_a_folder_is_fed_in_whole_batches_for_every_request(exported: Callable[[str], Path]) -> None:
    encoder = load_encoder(exported("clip"), batch=5, threads=2)
    assert isinstance(encoder, FolderEncoder)
    assert encoder.pace.calls == 2
    assert encoder.pace.views % 5 == 0 < encoder.pace.views


@pytest.mark.parametrize("name", ["image.onnx", "encoder.json"])
def test_altered_or_missing_files_are_named(folder: Path, name: str) -> None:
    path = folder / name
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DamagedError, match=name):
        load_encoder(folder)
    if name == "image.onnx":
        path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
        with pytest.raises(DamagedError, match=name):
            load_encoder(folder)
        path.unlink()
        with pytest.raises(DamagedError, match="cannot be read"):
            load_encoder(folder)


@pytest.mark.parametrize("name", ["text.onnx", "tokenizer.json"])
def test_text_files_are_checked_at_the_first_text(folder: Path, name: str, views: Views) -> None:
    with (folder / name).open("ab") as stream:
        stream.write(b" ")
    encoder = load_encoder(folder)
    assert len(encoder.embed_images(views)) == len(views)
    with pytest.raises(DamagedError, match=name):
        encoder.embed_texts(TEXTS)


def test_a_file_that_is_no_model(folder: Path) -> None:
    import hashlib

    (folder / "image.onnx").write_bytes(b"not a model")
    digests = json.loads((folder / FILE_NAME).read_text())["sha256"]
    edit(folder, sha256=digests | {"image.onnx": hashlib.sha256(b"not a model").hexdigest()})
    with pytest.raises(DamagedError, match="not an ONNX model"):
        load_encoder(folder)


def test_a_width_that_the_model_does_not_have(folder: Path) -> None:
    edit(folder, dim=25)
    with pytest.raises(DamagedError, match=r"24 numbers but encoder\.json says 25"):
        load_encoder(folder)


def test_precision_and_scale_are_part_of_the_fingerprint(folder: Path, views: Views) -> None:
    plain = load_encoder(folder)
    assert load_encoder(folder, mpp=0.25).fingerprint.digest != plain.fingerprint.digest
    assert load_encoder(folder, mpp=0.25).fingerprint.preprocessing.mpp == 0.25
    try:
        low = load_encoder(folder, precision="bf16")
    except EncoderError as refused:
        assert "does not compute in bf16" in str(refused)
    else:
        assert low.fingerprint.digest != plain.fingerprint.digest
        assert least_cosine(low.embed_images(views), plain.embed_images(views)) > 0.98
    with pytest.raises(EncoderError, match="f32, bf16, f16, not int8"):
        load_encoder(folder, precision="int8")


@pytest.mark.parametrize(
    ("preferred", "chosen"), [("f32", "f32"), ("bf16", "bf16"), ("f16", "f16"), ("dynamic", "f32")]
)
def test_auto_is_what_openvino_prefers(preferred: str, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = SimpleNamespace(get_type_name=lambda: preferred)
    core = SimpleNamespace(get_property=lambda device, name: {("CPU", "INFERENCE_PRECISION_HINT"): said}[device, name])
    monkeypatch.setattr(module, "import_openvino", lambda: SimpleNamespace(Core=lambda: core))
    assert module._resolved("auto") == chosen
    assert module._resolved("f16") == "f16"


def test_auto_computes_here(folder: Path, views: Views) -> None:
    encoder = load_encoder(folder, precision="auto")
    exact = load_encoder(folder)
    assert least_cosine(encoder.embed_images(views), exact.embed_images(views)) > 0.98
    assert (encoder.fingerprint.digest == exact.fingerprint.digest) == (encoder.fingerprint.precision == "f32")


def test_a_relative_path_holds_when_the_working_directory_changes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    encoder = load_encoder(folder.name)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert encoder.card.folder == str(folder.resolve())
    assert encoder.embed_texts(TEXTS).shape == (len(TEXTS), encoder.card.dim)


def test_preprocessing_is_taken_from_the_file(folder: Path, views: Views) -> None:
    before = load_encoder(folder).embed_images(views)
    preprocessing = json.loads((folder / FILE_NAME).read_text())["preprocessing"]
    edit(folder, preprocessing=preprocessing | {"mean": [0.1, 0.9, 0.5], "std": [0.5, 0.1, 0.3]})
    assert least_cosine(load_encoder(folder).embed_images(views), before) < 0.99


def test_an_image_only_folder_cannot_read_words(exported: Callable[[str], Path]) -> None:
    encoder = load_encoder(exported("vit"))
    assert isinstance(encoder, FolderEncoder)
    assert not encoder.card.has_text
    with pytest.raises(EncoderError, match="no text tower"):
        encoder.embed_texts(["tumour"])


def test_nothing_is_sent_or_printed(exported: Callable[[str], Path], tmp_path: Path) -> None:
    """OpenVINO reports to Google Analytics when it is imported; here it must not."""
    code = f"""
import os, socket, sys, threading
def refuse(*args, **kwargs):
    print("network:", args)
    raise OSError("no network in this test")
socket.socket.connect = socket.getaddrinfo = refuse
from histoseek.encoders import load_encoder
load_encoder({str(exported("clip"))!r}).embed_texts(["tumour"])
assert "openvino" in sys.modules
assert not [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
"""
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin"}
    command = [sys.executable, "-W", "error", "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    left = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()]
    assert all(name.startswith(".cache/histoseek/compiled/") for name in left)  # our own, and nothing of OpenVINO's
