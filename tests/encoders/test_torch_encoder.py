"""The pass of views through PyTorch, on the processor; a graphics card takes the same steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from histoseek.encoders import load_encoder  # noqa: E402
from histoseek.encoders.pixels import normalised  # noqa: E402
from histoseek.encoders.torch_encoder import BATCH, TorchEncoder, resolved  # noqa: E402

Views = list[NDArray[np.uint8]]


def encoder_of(folder: Path, precision: str = "f32", batch: int | None = None) -> TorchEncoder:
    encoder = load_encoder(folder, precision=precision, batch=batch)  # type: ignore[arg-type]
    assert isinstance(encoder, TorchEncoder)
    return encoder


@pytest.mark.parametrize(
    ("has_card", "is_native", "chosen"), [(True, True, "bf16"), (True, False, "f32"), (False, True, "f32")]
)
def test_auto_is_bf16_on_a_card_that_computes_in_it(
    has_card: bool, is_native: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_card)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: is_native or including_emulation)
    assert resolved("auto") == chosen
    assert resolved("f16") == "f16"


def test_a_tower_sees_normalised_pixels_with_channels_last_in_memory(
    model_folder: Callable[[str], Path], views: Views
) -> None:
    encoder = encoder_of(model_folder("resnet"), batch=4)
    seen: list[torch.Tensor] = []
    encoder.towers.image.register_forward_pre_hook(
        lambda _, __, given: seen.append(given["pixel_values"]), with_kwargs=True
    )
    encoder.embed_images(views)
    assert [len(pixels) for pixels in seen] == [4, 3]
    assert all(pixels.is_contiguous(memory_format=torch.channels_last) for pixels in seen)
    expected = normalised(np.stack(views), encoder.fingerprint.preprocessing)
    np.testing.assert_allclose(torch.cat(seen).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize("kind", ["clip", "resnet"])
def test_views_come_back_in_order_across_batches(
    kind: str, precision: str, model_folder: Callable[[str], Path], views: Views
) -> None:
    many = views * 6
    assert len(many) > BATCH["cpu"]
    rows = encoder_of(model_folder(kind), precision).embed_images(many)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    alone = np.concatenate([encoder_of(model_folder(kind), precision).embed_images([view]) for view in views])
    for start in range(0, len(many), len(views)):
        assert (rows[start : start + len(views)] * alone).sum(axis=1).min() > (
            0.999999 if precision == "f32" else 0.999
        )


def test_cudnn_stays_on_and_does_not_round(model_folder: Callable[[str], Path], views: Views) -> None:
    encoder = encoder_of(model_folder("resnet"))
    seen: list[tuple[bool, bool]] = []
    encoder.towers.image.register_forward_pre_hook(
        lambda *_: seen.append((torch.backends.cudnn.enabled, torch.backends.cudnn.allow_tf32))
    )
    encoder.embed_images(views)
    assert seen == [(True, False)]


def test_an_index_brings_two_of_its_batches_at_a_time(model_folder: Callable[[str], Path]) -> None:
    pace = encoder_of(model_folder("clip"), batch=96).pace  # the default of whoever states none is 64 views
    assert (pace.calls, pace.views) == (1, 192)


def test_no_views_are_no_rows(model_folder: Callable[[str], Path]) -> None:
    encoder = encoder_of(model_folder("clip"))
    assert encoder.embed_images([]).shape == (0, encoder.card.dim)
    assert encoder.embed_texts([]).shape == (0, encoder.card.dim)


def test_pixels_are_left_as_they_were(model_folder: Callable[[str], Path], views: Views) -> None:
    before = [view.copy() for view in views]
    encoder_of(model_folder("clip")).embed_images(views)
    assert all((one == other).all() for one, other in zip(before, views, strict=True))
