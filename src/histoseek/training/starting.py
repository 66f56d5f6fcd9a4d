"""What a run starts from: any encoder with a network in the hub's format behind it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from histoseek.encoders import EncoderCard, load_encoder
from histoseek.encoders.folder import FolderEncoder
from histoseek.encoders.loading import MODEL_DIR, load_model_folder
from histoseek.errors import EncoderError

if TYPE_CHECKING:
    from histoseek.encoders.torch_encoder import TorchEncoder


@dataclass(frozen=True)
class Base:
    """The encoder to start from, in PyTorch; the card by which people know it; where its model lies."""

    encoder: TorchEncoder
    card: EncoderCard
    model_folder: Path


def open_base(name: str | Path, mpp: float | None) -> Base:
    """Load the encoder to start from, at the scale `mpp` or its own.

    Raises:
        EncoderError: it has no network that can be trained.
    """
    encoder = load_encoder(name, mpp=mpp)
    if isinstance(encoder, FolderEncoder):
        folder = encoder.folder / MODEL_DIR
        if not (folder / "config.json").is_file():
            raise EncoderError(
                f"{encoder.folder} holds no {MODEL_DIR}/ with the network it was exported from, so it can be used but "
                "not trained; start from the model that it came from"
            )
        return Base(load_model_folder(folder, encoder.fingerprint.preprocessing.mpp), encoder.card, folder)
    model_folder = getattr(encoder, "model_folder", None)
    if model_folder is None:
        raise EncoderError(
            f"encoder {encoder.card.name!r} cannot be trained: there is no model in the hub's format behind it; start "
            "from mini, hf:NAME, a folder in the hub's format, or an earlier run"
        )
    return Base(encoder, encoder.card, model_folder)  # type: ignore[arg-type]
