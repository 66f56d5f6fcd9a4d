from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from histoseek.encoders import load_encoder
from histoseek.encoders.heads import HEADS
from histoseek.errors import DamagedError
from tests.encoders.tiny_models import DIM, save_clip


def test_heads_beside_the_weights_are_put_on_and_count_into_the_fingerprint(tmp_path: Path) -> None:
    folder = save_clip(tmp_path)
    before = load_encoder(folder)
    turn = torch.linalg.qr(torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(1)))[0].contiguous()
    save_file({"image": turn, "text": turn.clone()}, folder / HEADS)
    after = load_encoder(folder)
    view = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    np.testing.assert_allclose(after.embed_images([view]), before.embed_images([view]) @ turn.numpy().T, atol=1e-5)
    np.testing.assert_allclose(after.embed_texts(["gland"]), before.embed_texts(["gland"]) @ turn.numpy().T, atol=1e-5)
    assert after.fingerprint.digest != before.fingerprint.digest


@pytest.mark.parametrize("heads", [{"image": (DIM, DIM)}, {"image": (DIM, DIM), "text": (3, DIM)}])
def test_heads_of_another_model_are_refused(heads: dict[str, tuple[int, int]], tmp_path: Path) -> None:
    folder = save_clip(tmp_path)
    save_file({name: torch.zeros(shape) for name, shape in heads.items()}, folder / HEADS)
    with pytest.raises(DamagedError, match=r"image and text of 24 × 24"):
        load_encoder(folder)
    (folder / HEADS).write_bytes(b"nothing")
    with pytest.raises(DamagedError, match="cannot be read"):
        load_encoder(folder)
