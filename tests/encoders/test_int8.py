from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histoseek.cli import main
from histoseek.encoders import int8, load_encoder
from histoseek.encoders.int8 import export_int8
from histoseek.errors import EncoderError, InputError, MissingExtraError
from histoseek.items import Item, Manifest
from tests.encoders.conftest import some_views

BESIDE = ("text.onnx", "tokenizer.json")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Forty tinted pictures and one that no one can read."""
    folder = tmp_path_factory.mktemp("calibration")
    for number, view in enumerate(some_views(32, n=40)):
        Image.fromarray(view).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    names = ["broken.png", *(f"{number}.png" for number in range(40))]
    made = Manifest.from_items([Item(name, name) for name in names], folder)
    made.write(folder / "m.parquet")
    return made


@pytest.fixture
def quantiser() -> None:
    pytest.importorskip("nncf")
    pytest.importorskip("onnxruntime")


@pytest.mark.usefixtures("quantiser")
@pytest.mark.parametrize("kind", ["clip", "resnet"])
def test_an_int8_variant_is_an_encoder_folder_near_its_source(
    kind: str, exported: Callable[[str], Path], manifest: Manifest, tmp_path: Path
) -> None:
    source = load_encoder(exported(kind))
    done = export_int8(source, manifest, tmp_path / "out")
    assert (done.n_calibrated, done.n_compared) == (30, 10), "each readable image once, every fourth apart"
    small = load_encoder(tmp_path / "out")
    views = some_views(32, n=9, seed=8)
    cosines = (small.embed_images(views) * source.embed_images(views)).sum(axis=1)
    assert 0.9 < cosines.min() < 0.999999, "the same vectors would mean that nothing was made smaller"
    assert done.least_cosine <= done.mean_cosine < 0.999999
    assert small.card.name == f"{source.card.name}-int8"
    assert small.fingerprint.digest != source.fingerprint.digest
    assert small.fingerprint.preprocessing == source.fingerprint.preprocessing
    if source.card.has_text:
        np.testing.assert_allclose(small.embed_texts(["tumour"]), source.embed_texts(["tumour"]), atol=1e-6)


@pytest.mark.usefixtures("quantiser")
def test_weights_and_activations_are_8_bits(
    exported: Callable[[str], Path], manifest: Manifest, tmp_path: Path
) -> None:
    import onnx

    export_int8(exported("resnet"), manifest, tmp_path / "out")
    model = onnx.load(tmp_path / "out" / "image.onnx")
    kinds = [node.op_type for node in model.graph.node]
    n_layers = sum(kind in ("Conv", "Gemm", "MatMul") for kind in kinds)
    assert kinds.count("DequantizeLinear") >= 2 * n_layers > 0
    weights = [
        tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.INT8 and tensor.dims
    ]
    largest = max(int(np.abs(onnx.numpy_helper.to_array(tensor).astype(int)).max()) for tensor in weights)
    assert largest <= 64, "8-bit weights overflow on processors without VNNI"


@pytest.mark.usefixtures("quantiser")
def test_the_verb_writes_it_and_keeps_stdout_for_its_line(
    exported: Callable[[str], Path], manifest: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, table = exported("clip"), manifest.path_of(manifest[0]).parent / "m.parquet"
    capsys.readouterr()
    out = tmp_path / "small"
    with pytest.raises(SystemExit) as ended:
        main(["encoders", "export", str(folder), "--out", str(out), "--int8", str(table)])
    assert ended.value.code in (0, None)
    told = capsys.readouterr().out
    assert told.startswith(f"wrote {out}, calibrated on 30 views; cosine with the original on 10 others: mean ")
    assert len(told.splitlines()) == 1
    assert "int8, calibrated on 30 views" in json.loads((out / "encoder.json").read_text())["about"]
    assert {path.name for path in out.iterdir()} == {"encoder.json", "image.onnx", *BESIDE}


@pytest.mark.usefixtures("quantiser")
def test_vectors_that_turn_too_far_leave_nothing(
    exported: Callable[[str], Path], manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "LEAST_MEAN_COSINE", 0.9999999)
    with pytest.raises(EncoderError, match="turn too far"):
        export_int8(exported("resnet"), manifest, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_has_no_int8_variant(exported: Callable[[str], Path], manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="'color' is no encoder folder at f32"):
        export_int8("color", manifest, tmp_path / "out")
    few = Manifest.from_items(list(manifest)[:12], manifest.path_of(manifest[0]).parent)
    with pytest.raises(InputError, match="only 11 images of this manifest can be read"):
        export_int8(exported("resnet"), few, tmp_path / "out")
    taken = Path(shutil.copytree(exported("resnet"), tmp_path / "taken"))
    with pytest.raises(InputError, match="not empty"):
        export_int8(exported("resnet"), manifest, taken)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_without_the_extra_its_name_is_said(
    exported: Callable[[str], Path], manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "nncf", None)
    with pytest.raises(MissingExtraError, match="int8"):
        export_int8(exported("resnet"), manifest, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
