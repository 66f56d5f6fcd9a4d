"""An encoder that runs in PyTorch, whatever library its towers come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from histoseek.encoders.encoder import (
    AskedPrecision,
    EncoderCard,
    Fingerprint,
    Pace,
    Precision,
    Settings,
    no_text_tower,
    unit_rows,
)
from histoseek.encoders.pixels import spans, stacked
from histoseek.encoders.words import Words
from histoseek.errors import EncoderError

BATCH = {"cpu": 32, "cuda": 128}
"""Views per pass, by the device."""


class Headed(torch.nn.Module):  # type: ignore[misc]
    """A tower with a linear head `[D, D]` on its unit vectors, which begins as the identity."""

    def __init__(self, tower: torch.nn.Module, dim: int) -> None:
        super().__init__()
        self.tower, self.head = tower, torch.nn.Linear(dim, dim, bias=False)
        torch.nn.init.eye_(self.head.weight)

    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Embed what the tower takes as `[N, D]`, not normalised; the export needs every input by its name."""
        inputs = {"pixel_values": pixel_values, "input_ids": input_ids, "attention_mask": attention_mask}
        rows = self.tower(**{name: value for name, value in inputs.items() if value is not None})
        return self.head(torch.nn.functional.normalize(rows.float(), dim=-1))


@dataclass(frozen=True)
class Towers:
    """The networks: `image` takes `[N, 3, P, P]`, `text` takes token ids `[N, L]` (and a mask); both give `[N, D]`."""

    image: torch.nn.Module
    text: torch.nn.Module | None = None
    words: Words | None = None


class TorchEncoder:
    """Two towers, or one, on the graphics card when there is one, else on the processor."""

    model_folder: Path | None = None
    """Where its model lies in the hub's format, if it came from one."""

    def __init__(self, card: EncoderCard, fingerprint: Fingerprint, towers: Towers, settings: Settings) -> None:
        self._card, self._fingerprint = card, fingerprint
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._batch = settings.batch or BATCH[self._device.type]
        self._dtype = _dtype(fingerprint.precision, self._device)
        if settings.threads is not None:  # PyTorch knows one number of threads for the whole process
            torch.set_num_threads(settings.threads)
        # Made once: bringing numbers to a graphics card waits for all that it is doing.
        self._mean, self._std = (
            torch.tensor(numbers, device=self._device)[:, None, None]
            for numbers in (fingerprint.preprocessing.mean, fingerprint.preprocessing.std)
        )
        self._towers = towers
        for tower in (towers.image, towers.text):
            if tower is not None:
                tower.eval().to(self._device, memory_format=torch.channels_last)

    @property
    def card(self) -> EncoderCard:
        """What a person should know about it."""
        return self._card

    @property
    def fingerprint(self) -> Fingerprint:
        """What decides its vectors."""
        return self._fingerprint

    @property
    def pace(self) -> Pace:
        """One call at a time, as PyTorch switches for the whole process; of its two batches one waits on the device."""
        return Pace(1, 2 * self._batch)

    @property
    def log_scale(self) -> float | None:
        """Logarithm of the factor on cosines between views and words that the model was trained with, if it has one."""
        for name, weight in self._towers.image.named_parameters():
            if name.rpartition(".")[2] == "logit_scale":
                return float(weight.detach())
        return None

    @property
    def towers(self) -> Towers:
        """The networks, for export and training."""
        return self._towers

    def embed_images(self, views: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed views `[view_px, view_px, 3]` as unit rows `[N, D]`."""
        pixels = stacked(views, self._fingerprint.preprocessing.view_px)
        return self._rows(len(pixels), lambda span: self._towers.image(pixel_values=self._normalised(pixels[span])))

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts as unit rows `[N, D]`; raises `EncoderError` without a text tower."""
        tower, words = self._towers.text, self._towers.words
        if tower is None or words is None:
            raise no_text_tower(self._card)
        tokens = words.tokens(texts)
        return self._rows(
            len(texts), lambda span: tower(**{name: self._sent(array[span]) for name, array in tokens.items()})
        )

    def _normalised(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        """Send pixels `[N, H, W, 3]` as bytes and scale them there: `[N, 3, H, W]`, still channels last in memory."""
        return self._sent(pixels).permute(0, 3, 1, 2).float().div_(255).sub_(self._mean).div_(self._std)

    def _sent(self, array: NDArray[Any]) -> torch.Tensor:
        """Put an array on the device; a graphics card fetches it from pinned memory while the next is made ready."""
        tensor = torch.from_numpy(array)
        if self._device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self._device, non_blocking=True)

    def _rows(self, n: int, embed: Callable[[slice], torch.Tensor]) -> NDArray[np.float32]:
        if not n:
            return np.zeros((0, self._card.dim), np.float32)
        low = torch.autocast(self._device.type, dtype=self._dtype, enabled=self._dtype is not None)
        # TF32 would round float32 convolutions to 10 bits without being asked. Nothing waits for the card before the
        # last batch has been handed to it, and its weights are rounded once for all batches.
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False), low:
            outputs = [embed(span).float() for span in spans(n, self._batch)]
            return unit_rows(torch.cat(outputs).cpu().numpy())


def resolved(asked: AskedPrecision) -> Precision:
    """What "auto" means on this machine: bf16 on a card that computes in it, else f32; others stay what they are."""
    if asked != "auto":
        return asked
    is_native = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if is_native else "f32"


def _dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """Type to compute in; None is float32.

    Raises:
        EncoderError: PyTorch does not compute in it here.
    """
    types = {"f32": None, "bf16": torch.bfloat16} | ({"f16": torch.float16} if device.type == "cuda" else {})
    if precision not in types:
        raise EncoderError(
            f"PyTorch on this machine's {device.type} computes in {', '.join(types)}, not {precision}; "
            "choose one with --precision"
        )
    return types[precision]
