"""Pack a training run as the bundled encoder: half-precision weights, and a card that says where they come from.

    python recipes/mini/pack.py real/mini/run src/histoseek/encoders/weights/mini

Weights are stored as 16-bit floats in the ONNX files and in `model/` (what `histoseek train --base mini` starts from),
and computed with as 32-bit floats. The view becomes 160 px at 0.8 µm/px, the same field as the run's 128 px at 1.0.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file, save_file

from histoseek.encoders import export_encoder, load_encoder
from histoseek.encoders.encoder import Encoder
from histoseek.encoders.encoder_json import read_description, write_description
from histoseek.encoders.loading import MODEL_DIR
from histoseek.items import sha256_of
from histoseek.training.checkpoints import DIR, LAST, read_checkpoint, under
from histoseek.training.run import RUN_FILE

LEAST_VALUES = 256
"""Smaller tensors stay as they are."""

PX, MPP = 160, 0.8
NAME = "mini"
README = """---
license: apache-2.0
---
The network behind `mini`, from which `histoseek train --base mini` starts; `encoder.json` above says what it is.
"""
LICENCE = "Apache-2.0 (weights: from EfficientNet-Lite0, Apache-2.0, trained on Pathology Atlas tiles, MIT)"
ABOUT = "small dual encoder for histology: EfficientNet-Lite0 and a two-layer text tower, trained on {} teaching cases"


def main() -> None:
    """Pack a run and put it in place."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--last", action="store_true", help="take the run's last averaged weights instead of its best")
    given = parser.parse_args()
    draft = given.out.with_name(f".{given.out.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    pack(given.run, draft, given.last)
    original = load_encoder(draft / MODEL_DIR, mpp=MPP)
    print(f"smallest cosine with the same weights in PyTorch: {least_cosine(original, load_encoder(draft)):.6f}")
    shutil.rmtree(given.out, ignore_errors=True)
    draft.rename(given.out)
    size = sum(path.stat().st_size for path in given.out.rglob("*") if path.is_file())
    print(f"wrote {given.out}: {size / 1e6:.1f} MB")


def pack(run: Path, folder: Path, takes_last: bool) -> None:
    """Write the packed encoder into a new folder."""
    model = folder.with_name(f"{folder.name}.model")
    shutil.rmtree(model, ignore_errors=True)
    shutil.copytree(run / MODEL_DIR, model)
    weights = load_file(model / "model.safetensors")
    if takes_last:
        weights |= last_weights(run, weights)
    halved = {name: value.half() if value.dtype == torch.float32 else value for name, value in weights.items()}
    save_file(halved, model / "model.safetensors", metadata={"format": "pt"})
    how = json.loads((model / "preprocessor_config.json").read_text(encoding="utf-8"))
    how |= {"size": {"height": PX, "width": PX}, "crop_size": {"height": PX, "width": PX}}
    (model / "preprocessor_config.json").write_text(json.dumps(how, indent=2), encoding="utf-8")
    (model / "README.md").write_text(README, encoding="utf-8")
    export_encoder(load_encoder(model, mpp=MPP), folder)
    model.rename(folder / MODEL_DIR)
    described = read_description(folder)
    for name in (described.image, described.text.model if described.text else None):
        if name is not None:
            halve_onnx(folder / name)
    n_cases = json.loads((run / RUN_FILE).read_text(encoding="utf-8"))["plan"]["training groups"]
    card = replace(
        described.card,
        name=NAME,
        licence=LICENCE,
        commercial_use=True,
        about=ABOUT.format(n_cases),
        source="recipes/mini",
    )
    digests = {name: sha256_of(folder / name) for name in described.sha256}
    write_description(folder, replace(described, card=card, sha256=digests))


def last_weights(run: Path, names: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The averaged weights of a run's last checkpoint, by their names in the model folder."""
    path = run / DIR / LAST
    averaged = under("average", read_checkpoint(path)[0])
    found = {name.split("model.", 1)[1]: tensor for name, tensor in averaged.items()}
    missing = [name for name in found if name not in names]
    if missing or not found:
        raise SystemExit(f"{path} is of another model: {missing[:3]}")
    return found


def halve_onnx(path: Path) -> None:
    """Store the large float32 tensors of a model as float16, each turned back by a Cast where it is used."""
    model = onnx.load(path)
    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < LEAST_VALUES:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    for cast in reversed(casts):
        model.graph.node.insert(0, cast)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def least_cosine(one: Encoder, two: Encoder) -> float:
    """Smallest cosine between the vectors of two encoders, over noise and plain colours, and over words."""
    rng = np.random.default_rng(0)
    side = one.fingerprint.preprocessing.view_px
    views = [rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(16)]
    views += [np.full((side, side, 3), rng.integers(80, 250, 3), np.uint8) for _ in range(16)]
    images = (one.embed_images(views) * two.embed_images(views)).sum(axis=1).min()
    texts = ["colon", "pancreatic ductal adenocarcinoma", "fat necrosis", "normal liver, H&E"]
    return float(min(images, (one.embed_texts(texts) * two.embed_texts(texts)).sum(axis=1).min()))


if __name__ == "__main__":
    main()
