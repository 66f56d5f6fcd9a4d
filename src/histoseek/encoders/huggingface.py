"""Models in the hub's format, from the Hugging Face hub or a local folder, run in PyTorch.

Dual encoders give their projected image and text features. Image-only models give their trained summary: DINOv2 its
class token after the last norm, ResNet and ConvNeXt their pooled map, a ViT its pooler where the weights hold one and
its class token where they do not.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModel
from transformers.utils import logging as transformers_logging

from histoseek.encoders import efficientnet_lite
from histoseek.encoders.encoder import EncoderCard, Fingerprint, Settings
from histoseek.encoders.heads import HEADS, with_heads, write_heads
from histoseek.encoders.hub import BESIDE_WEIGHTS, TRANSFORMERS_WEIGHTS, conversion, fetch, holds_any, pickles_only
from histoseek.encoders.known import known_encoder
from histoseek.encoders.licences import NOT_STATED, commercial_use, licence_in_readme
from histoseek.encoders.model_folder import read_json, read_preprocessing, read_words
from histoseek.encoders.torch_encoder import Headed, TorchEncoder, Towers, resolved
from histoseek.encoders.words import Words
from histoseek.errors import EncoderError
from histoseek.items.files import sha256_of

IMAGE_ONLY = {
    *("vit", "deit", "dinov2", "dinov2_with_registers", "dinov3_vit", "resnet", "convnext", "convnextv2"),
    efficientnet_lite.MODEL_TYPE,
}
DUAL = {"clip", "siglip", "metaclip_2", "altclip", "chinese_clip", "vision-text-dual-encoder"}
FAMILIES = f"dual encoders ({', '.join(sorted(DUAL))}) and image models ({', '.join(sorted(IMAGE_ONLY))})"

NOT_CONTENT = {"_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures"}
"""Keys of `config.json` that say nothing about what the model computes."""


def load_hub(name: str, settings: Settings) -> TorchEncoder:
    """Load `ORGANISATION/MODEL` or `ORGANISATION/MODEL@REVISION` from the hub or its local cache.

    Raises:
        EncoderError: it cannot be fetched, or is of a family that Histoseek does not know.
    """
    repository, _, revision = name.partition("@")
    folder, fetched = fetch(repository, revision or None, TRANSFORMERS_WEIGHTS)
    if not holds_any(folder, TRANSFORMERS_WEIGHTS):
        raise pickles_only(repository)
    full_name = f"hf:{repository}@{fetched}" if fetched else f"hf:{repository}"
    return _load(folder, full_name, f"https://huggingface.co/{repository}", settings)


def load_folder(folder: Path, settings: Settings) -> TorchEncoder:
    """Load a local folder in the hub's format.

    Raises:
        EncoderError: a file is missing or damaged, or the model is of a family that Histoseek does not know.
    """
    return _load(folder, folder.resolve().name, "", settings)


def _load(folder: Path, name: str, source: str, settings: Settings) -> TorchEncoder:
    config = read_json(folder / "config.json")
    kind = config.get("model_type")
    if kind not in DUAL | IMAGE_ONLY:
        raise EncoderError(f"{folder}: models of type {kind!r} are not supported; Histoseek loads {FAMILIES}")
    preprocessing = settings.seen(read_preprocessing(folder))
    words = read_words(folder, config) if kind in DUAL else None
    model, has_pooler = _model(folder)
    if kind in DUAL:
        towers = Towers(DualImage(model), DualText(model), words)
    else:
        towers = Towers(ImageOnly(model, pooled=has_pooler))
    with torch.inference_mode():
        side = preprocessing.view_px
        dim = int(towers.image.eval()(pixel_values=torch.zeros(1, 3, side, side)).shape[-1])
    digest = _weights_sha256(folder, config, words)
    fingerprint = Fingerprint(name, digest, preprocessing, resolved(settings.precision))
    card = _card(folder, name, source, dim, kind in DUAL)
    encoder = TorchEncoder(card, fingerprint, with_heads(towers, folder, dim), settings)
    encoder.model_folder = folder
    return encoder


def _card(folder: Path, name: str, source: str, dim: int, has_text: bool) -> EncoderCard:
    known = known_encoder(name.partition("@")[0])
    licence = licence_in_readme(folder) or (known.licence if known else NOT_STATED)
    allowed = commercial_use(licence)
    return EncoderCard(
        name=name,
        dim=dim,
        has_text=has_text,
        licence=licence,
        commercial_use=known.commercial_use if known and allowed is None else allowed,
        gated=known.gated if known else False,
        source=source,
        about=known.about if known else "",
        folder="" if source else str(folder.resolve()),
    )


def _model(folder: Path) -> tuple[Any, bool]:
    """Load the weights in float32, and say whether they hold the pooler that the architecture has."""
    if not (folder / "model.safetensors").is_file() and not (folder / "model.safetensors.index.json").is_file():
        raise EncoderError(
            f"{folder} holds no safetensors weights, and Histoseek opens no pickles (pytorch_model.bin); where "
            f"you trust them, convert: {conversion(str(folder))}"
        )
    try:
        with _quiet_transformers():
            model, report = AutoModel.from_pretrained(
                folder,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise EncoderError(f"{folder} cannot be loaded ({reason}); fetch the model again") from error
    missing = set(report["missing_keys"])
    poolers = {key for key in missing if "pooler" in key.split(".")}
    if missing - poolers:
        raise EncoderError(
            f"{folder} lacks {len(missing - poolers)} of the model's weights, {sorted(missing - poolers)[0]!r} among "
            "them; fetch the model again"
        )
    return model, not poolers


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keep loading reports and progress bars off the terminal: what matters in them is checked here."""
    bars, level = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def _weights_sha256(folder: Path, config: dict[str, Any], words: Words | None) -> str:
    """Digest over all that shapes the output: safetensors files, part of the configuration, the tokenizer."""
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        files = ["model.safetensors"]
    else:
        files = sorted(set(read_json(index)["weight_map"].values()))
    files += [HEADS] if (folder / HEADS).is_file() else []
    lines = [f"{name} {sha256_of(folder / name)}" for name in files]
    lines.append(json.dumps(_content(config), sort_keys=True))
    if words is not None:
        lines += [words.json, json.dumps(asdict(words.input), sort_keys=True)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _content(config: Any) -> Any:
    if not isinstance(config, dict):
        return config
    return {key: _content(value) for key, value in config.items() if key not in NOT_CONTENT}


def _features(output: Any) -> torch.Tensor:
    """Take the vectors `[N, D]` out of what `get_…_features` gives: a tensor, or an output that carries it."""
    features = output if isinstance(output, torch.Tensor) else output.pooler_output
    return features.flatten(1)


class DualImage(torch.nn.Module):  # type: ignore[misc]
    """Image tower of a dual encoder, projection included."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Embed pixels `[N, 3, P, P]` as `[N, D]`, not normalised."""
        return _features(self.model.get_image_features(pixel_values=pixel_values))


class DualText(torch.nn.Module):  # type: ignore[misc]
    """Text tower of a dual encoder, projection included."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Embed token ids `[N, L]` as `[N, D]`, not normalised."""
        return _features(self.model.get_text_features(input_ids=input_ids, attention_mask=attention_mask))


class ImageOnly(torch.nn.Module):  # type: ignore[misc]
    """A model without words: its pooled output, or its class token where the pooler was never trained."""

    def __init__(self, model: Any, pooled: bool) -> None:
        super().__init__()
        self.model, self.pooled = model, pooled

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Embed pixels `[N, 3, P, P]` as `[N, D]`, not normalised."""
        output = self.model(pixel_values=pixel_values)
        return _features(output) if self.pooled else output.last_hidden_state[:, 0]


def save_folder(towers: Towers, source: Path, folder: Path) -> None:
    """Write towers as a model folder in the hub's format; what is not weights is taken from `source`, whence they came.

    Raises:
        EncoderError: the towers are of another library.
    """
    tower = towers.image.tower if isinstance(towers.image, Headed) else towers.image
    if not isinstance(tower, DualImage | ImageOnly):
        raise EncoderError(f"a {type(tower).__name__} has no model folder in the hub's format")
    if isinstance(tower, ImageOnly) and not tower.pooled and hasattr(tower.model, "pooler"):
        tower.model.pooler = None  # never trained; written, it would be taken for trained
    folder.mkdir(parents=True, exist_ok=True)
    for pattern in BESIDE_WEIGHTS:
        for path in source.glob(pattern):
            shutil.copyfile(path, folder / path.name)
    with _quiet_transformers():
        tower.model.save_pretrained(folder)
    write_heads(towers, folder)
