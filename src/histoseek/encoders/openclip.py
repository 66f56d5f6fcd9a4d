"""Models of open_clip: built-in architectures with a published or local checkpoint, and hub models in its format.

`MODEL/TAG` names a published checkpoint, `MODEL/PATH.safetensors` a local one, `hf-hub:ORGANISATION/NAME` a hub model,
`local-dir:FOLDER` a copy of one.
Weights are safetensors only: what is published as a pickle alone is refused.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch

from histoseek.encoders.encoder import EncoderCard, Fingerprint, Interpolation, Preprocessing, Settings
from histoseek.encoders.hub import OPENCLIP_WEIGHTS, fetch
from histoseek.encoders.known import known_encoder
from histoseek.encoders.licences import NOT_STATED, commercial_use, licence_in_readme
from histoseek.encoders.model_folder import MPP, read_json
from histoseek.encoders.openclip_name import OpenClipName, parse_openclip_name
from histoseek.encoders.openclip_tokens import reading_sha256, words_like
from histoseek.encoders.torch_encoder import TorchEncoder, Towers, resolved
from histoseek.encoders.words import Words
from histoseek.errors import EncoderError
from histoseek.items.files import sha256_of


@dataclass(frozen=True)
class _Source:
    """Where a checkpoint lies: how open_clip calls the architecture, its weights, and its preprocessing."""

    architecture: str
    weights: Path
    preprocessing: dict[str, Any]
    page: str = ""
    licence: str | None = None


def load_openclip(name: str, settings: Settings) -> TorchEncoder:
    """Load an encoder by its open_clip name.

    Raises:
        EncoderError: the name is malformed or unknown, or its weights cannot be fetched or are not safetensors.
    """
    parsed = parse_openclip_name(name)
    source = _source(parsed)
    try:
        with _quiet():
            model = open_clip.create_model(source.architecture, load_weights=False, pretrained_text=False)
            open_clip.load_checkpoint(model, str(source.weights), strict=True, weights_only=True, device="cpu")
            tokenizer = open_clip.get_tokenizer(source.architecture)
    except (OSError, RuntimeError, ValueError, KeyError, AssertionError) as error:
        raise EncoderError(f"open_clip cannot load {name!r} from {source.weights}: {_first_line(error)}") from error
    model.eval()
    preprocessing = settings.seen(_preprocessing(name, model, source))
    sample = _sample(tokenizer)
    words = words_like(tokenizer, sample, _context(model, tokenizer))
    towers = Towers(OpenClipImage(model), OpenClipText(model), words)
    card = _card(parsed.lasting, source, _dim(towers, words))
    digest = _weights_sha256(source, reading_sha256(words, sample))
    fingerprint = Fingerprint(card.name, digest, preprocessing, resolved(settings.precision))
    return TorchEncoder(card, fingerprint, towers, settings)


def _source(name: OpenClipName) -> _Source:
    if name.hub is not None:
        fetched = fetch(name.hub, None, OPENCLIP_WEIGHTS)
        return _folder_source(fetched.folder, f"hub model {name.hub!r}", f"https://huggingface.co/{name.hub}")
    if name.folder is not None:
        return _folder_source(Path(name.folder), name.folder)
    architecture, checkpoint = name.architecture, name.checkpoint
    if open_clip.get_model_config(architecture) is None:
        raise EncoderError(
            f'open_clip has no architecture {architecture!r}; `python -c "import open_clip; '
            'print(open_clip.list_models())"` prints those it has'
        )
    if checkpoint.endswith(".safetensors"):
        if not Path(checkpoint).is_file():
            raise EncoderError(f"{checkpoint} is no file; give the path of a safetensors checkpoint of {architecture}")
        return _Source(architecture, Path(checkpoint), {})
    published = open_clip.get_pretrained_cfg(architecture, checkpoint)
    if not published:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(architecture)) or "none"
        raise EncoderError(f"open_clip publishes no checkpoint {checkpoint!r} of {architecture}; it has: {tags}")
    return _published_source(architecture, checkpoint, published)


def _published_source(architecture: str, tag: str, published: dict[str, Any]) -> _Source:
    quick = bool(published.get("quick_gelu", False))
    if quick != bool(open_clip.get_model_config(architecture).get("quick_gelu", False)):
        other = f"{architecture}-quickgelu" if quick else architecture.removesuffix("-quickgelu")
        raise EncoderError(f"checkpoint {tag!r} was trained with the other activation; use openclip:{other}/{tag}")
    hub = str(published.get("hf_hub", ""))
    if not hub:
        raise EncoderError(
            f"checkpoint {tag!r} of {architecture} is published as a pickle only, which Histoseek does not open; "
            "convert it to safetensors where you trust it and give its path"
        )
    repository = "/".join(hub.split("/")[:2])
    folder = fetch(repository, None, OPENCLIP_WEIGHTS).folder
    return _Source(
        architecture,
        _weights(folder, f"hub model {repository!r}"),
        published,
        f"https://huggingface.co/{repository}",
        licence_in_readme(folder),
    )


def _folder_source(folder: Path, origin: str, page: str = "") -> _Source:
    config = folder / "open_clip_config.json"
    if not config.is_file():
        raise EncoderError(
            f"{origin} has no open_clip_config.json; if it is a CLIP in the hub's format, use its hf: name"
        )
    preprocessing = read_json(config).get("preprocess_cfg", {})
    return _Source(f"local-dir:{folder}", _weights(folder, origin), preprocessing, page, licence_in_readme(folder))


def _weights(folder: Path, origin: str) -> Path:
    for name in OPENCLIP_WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    pickled, safe = "open_clip_pytorch_model.bin", OPENCLIP_WEIGHTS[0]
    raise EncoderError(
        f"{origin} holds no {' or '.join(OPENCLIP_WEIGHTS)}, and Histoseek opens no pickles; where you trust "
        f'them, fetch the model into DIR, convert (python -c "import torch, safetensors.torch as s; s.save_file('
        f"torch.load('DIR/{pickled}', weights_only=True), 'DIR/{safe}')\") and use openclip:local-dir:DIR"
    )


def _preprocessing(name: str, model: Any, source: _Source) -> Preprocessing:
    settings = {**open_clip.get_model_preprocess_cfg(model), **source.preprocessing}
    size = model.visual.image_size
    sides = {size} if isinstance(size, int) else set(size)
    interpolation: Interpolation = "bilinear" if settings.get("interpolation") == "bilinear" else "bicubic"
    if len(sides) != 1:
        raise EncoderError(f"openclip:{name} takes views of {size} pixels; Histoseek needs square ones")
    mean, std = (tuple(float(value) for value in settings[key]) for key in ("mean", "std"))
    return Preprocessing(sides.pop(), MPP, mean, std, interpolation)  # type: ignore[arg-type]


def _weights_sha256(source: _Source, reading: str) -> str:
    """Digest over weights, architecture and reading: the same weights with another activation are another encoder."""
    architecture = json.dumps(open_clip.get_model_config(source.architecture), sort_keys=True)
    return hashlib.sha256(f"{sha256_of(source.weights)}\n{architecture}\n{reading}".encode()).hexdigest()


def _context(model: Any, tokenizer: Any) -> int:
    return int(getattr(model, "context_length", None) or tokenizer.context_length)


def _sample(tokenizer: Any) -> dict[str, list[int]]:
    """How open_clip itself reads a few texts, for comparison."""
    texts = ["", "Invasive ductal carcinoma, grade 3.", "nests of   atypical cells; Ki-67 > 20 %", "lymphocytes " * 200]
    return dict(zip(texts, tokenizer(texts).tolist(), strict=True))


def _dim(towers: Towers, words: Words) -> int:
    assert towers.text is not None  # noqa: S101
    with torch.inference_mode():
        ids = torch.from_numpy(words.tokens(["tissue"])["input_ids"])
        return int(towers.text(input_ids=ids).shape[-1])


def _card(name: str, source: _Source, dim: int) -> EncoderCard:
    known = known_encoder(f"openclip:{name}")
    licence = source.licence or (known.licence if known else NOT_STATED)
    return EncoderCard(
        name=f"openclip:{name}",
        dim=dim,
        has_text=True,
        licence=licence,
        commercial_use=commercial_use(licence),
        gated=known.gated if known else False,
        source=source.page,
        about=known.about if known else "",
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep open_clip from warning of random weights between making a model and filling it."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


class OpenClipImage(torch.nn.Module):  # type: ignore[misc]
    """Image tower, projection included."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Embed pixels `[N, 3, P, P]` as `[N, D]`, not normalised."""
        return self.model.encode_image(pixel_values)


class OpenClipText(torch.nn.Module):  # type: ignore[misc]
    """Text tower, projection included; it knows padding by itself."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Embed token ids `[N, L]` as `[N, D]`, not normalised."""
        return self.model.encode_text(input_ids)
