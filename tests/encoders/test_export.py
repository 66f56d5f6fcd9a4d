from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from histoseek.encoders import Encoder, Settings, export, export_encoder, load_encoder  # noqa: E402
from histoseek.encoders.encoder import loadable_name  # noqa: E402
from histoseek.encoders.torch_encoder import TorchEncoder, Towers  # noqa: E402
from histoseek.errors import EncoderError, InputError  # noqa: E402

Views = list[NDArray[np.uint8]]
TEXTS = ["Invasive carcinoma, grade 3", "tumour", "", "normal mucosa " * 60]


@pytest.mark.parametrize("kind", ["clip", "siglip", "vit", "dinov2", "resnet"])
def test_the_folder_gives_the_sources_vectors(
    kind: str, loaded: Callable[[str], Encoder], exported: Callable[[str], Path], views: Views
) -> None:
    same_vectors(loaded(kind), load_encoder(exported(kind)), views)


def same_vectors(source: Encoder, folder: Encoder, views: Views) -> None:
    images = source.embed_images(views)
    assert (images @ images.T).min() < 0.999, "views that all look alike prove no parity"
    assert (images * folder.embed_images(views)).sum(axis=1).min() >= 0.9999
    if source.card.has_text:
        texts = source.embed_texts(TEXTS)
        assert (texts @ texts.T).min() < 0.999
        assert (texts * folder.embed_texts(TEXTS)).sum(axis=1).min() >= 0.9999


def test_the_folder_keeps_card_and_preprocessing(
    loaded: Callable[[str], Encoder], exported: Callable[[str], Path]
) -> None:
    source, folder = loaded("siglip"), load_encoder(exported("siglip"))
    assert replace(folder.card, folder="") == replace(source.card, folder="")
    assert folder.fingerprint.preprocessing == source.fingerprint.preprocessing
    files = {path.name for path in exported("siglip").iterdir()}
    assert files == {"encoder.json", "image.onnx", "text.onnx", "tokenizer.json"}
    assert {path.name for path in exported("vit").iterdir()} == {"encoder.json", "image.onnx"}


def test_export_by_name_with_a_scale_is_silent(
    model_folder: Callable[[str], Path],
    loaded: Callable[[str], Encoder],
    views: Views,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder, out = model_folder("dual"), tmp_path / "deep" / "encoder"
    capfd.readouterr()  # saving a tiny model is not silent
    export_encoder(folder, out, mpp=0.25)
    assert capfd.readouterr() == ("", "")
    same_vectors(loaded("dual"), load_encoder(out), views)
    assert json.loads((out / "encoder.json").read_text())["preprocessing"]["mpp"] == 0.25
    assert [path.name for path in out.parent.iterdir()] == ["encoder"]


def test_what_needs_no_export(exported: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="'color' holds no network, so it needs no export"):
        export_encoder("color", tmp_path / "out")
    with pytest.raises(EncoderError, match="is an encoder folder already"):
        export_encoder(exported("vit"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_exported_as_it_is(model_folder: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mpp is for an encoder given by name"):
        export_encoder(load_encoder(model_folder("vit")), tmp_path / "out", mpp=0.25)
    with pytest.raises(EncoderError, match="from f32"):
        export_encoder(load_encoder(model_folder("vit"), precision="bf16"), tmp_path / "out")


def test_nothing_is_overwritten(loaded: Callable[[str], Encoder], tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        export_encoder(loaded("vit"), tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_an_empty_folder_is_filled_and_two_exports_are_the_same(
    loaded: Callable[[str], Encoder], exported: Callable[[str], Path], tmp_path: Path
) -> None:
    again = export_encoder(loaded("resnet"), tmp_path)
    assert (again.folder, again.text_cosine) == (tmp_path, None)
    assert 0.9999 <= again.image_cosine < 1.0001
    assert load_encoder(tmp_path).fingerprint == load_encoder(exported("resnet")).fingerprint


class Small(torch.nn.Module):  # type: ignore[misc]
    """A tower that is soon exported; one that drifts gives other vectors then than when it is run."""

    def __init__(self, drift: float = 0.0) -> None:
        super().__init__()
        self.layer, self.drift = torch.nn.Linear(3 * 32, 32), drift

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        drift = self.drift if torch.compiler.is_compiling() else 0.0
        return self.layer(pixel_values.mean(-1).flatten(1)) + drift


def with_tower(source: Encoder, tower: torch.nn.Module) -> TorchEncoder:
    return TorchEncoder(source.card, source.fingerprint, Towers(tower), Settings())


def test_other_vectors_fail_and_leave_nothing(loaded: Callable[[str], Encoder], tmp_path: Path) -> None:
    drifting = with_tower(loaded("vit"), Small(drift=0.3))
    with pytest.raises(EncoderError, match=r"image tower of 'vit.*' gives other vectors"):
        export_encoder(drifting, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_tower_too_large_for_one_file(
    loaded: Callable[[str], Encoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from histoseek.encoders import onnx_export

    monkeypatch.setattr(onnx_export, "LARGEST_BYTES", 1000)
    with pytest.raises(EncoderError, match="use this encoder through PyTorch"):
        export_encoder(with_tower(loaded("vit"), Small()), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_views_for_comparison_are_not_all_alike() -> None:
    views = export._views(32)
    assert len({view.tobytes() for view in views}) == len(views)


def test_another_tokenizer_or_text_input_is_another_fingerprint(
    model_folder: Callable[[str], Path], exported: Callable[[str], Path], tmp_path: Path
) -> None:
    for source, name in ((model_folder("clip"), "tokenizer.json"), (exported("clip"), "encoder.json")):
        before = load_encoder(source).fingerprint.digest
        changed = tmp_path / name
        shutil.copytree(source, changed)
        content = json.loads((changed / name).read_text(encoding="utf-8"))
        if name == "encoder.json":
            content["text"]["context"] -= 1
        else:
            content["normalizer"] = None
        (changed / name).write_text(json.dumps(content), encoding="utf-8")
        assert load_encoder(changed).fingerprint.digest != before


def test_a_loadable_name_loads_the_same_encoder(
    model_folder: Callable[[str], Path], exported: Callable[[str], Path]
) -> None:
    for name in ("color", exported("vit"), model_folder("vit"), f"hf:{model_folder('vit')}"):
        encoder = load_encoder(name)
        assert load_encoder(loadable_name(encoder.card)).fingerprint == encoder.fingerprint


def test_the_folder_says_nothing_of_the_machine_that_wrote_it(exported: Callable[[str], Path]) -> None:
    """The exporter notes stack traces on every node; a folder is given to others."""
    for path in exported("clip").iterdir():
        content = path.read_bytes()
        assert b"site-packages" not in content and b"stack_trace" not in content, path.name
