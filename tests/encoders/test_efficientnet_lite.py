from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from histoseek.encoders import load_encoder
from histoseek.encoders.efficientnet_lite import EfficientNetLiteConfig, EfficientNetLiteModel, SamePadding
from tests.encoders.tiny_models import save_preprocessor


def test_the_network_has_the_published_size_and_stride() -> None:
    model = EfficientNetLiteModel(EfficientNetLiteConfig()).eval()
    assert sum(weight.numel() for weight in model.parameters()) == 3_371_008  # 4.65 million with its classifier
    with torch.inference_mode():
        output = model(pixel_values=torch.zeros(2, 3, 96, 96))
    assert output.last_hidden_state.shape == (2, 1280, 3, 3)
    assert output.pooler_output.shape == (2, 1280)


def test_padding_puts_the_odd_pixel_right_and_below() -> None:
    assert SamePadding(3, 2).sides == (0, 1, 0, 1)
    assert SamePadding(5, 2).sides == (1, 2, 1, 2)
    assert SamePadding(5, 1).sides == (2, 2, 2, 2)


def test_it_loads_from_a_folder_in_the_hubs_format(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = EfficientNetLiteModel(EfficientNetLiteConfig()).eval()
    model.save_pretrained(tmp_path)
    save_preprocessor(tmp_path, image_mean=[0.0] * 3, image_std=[1.0] * 3)
    encoder = load_encoder(tmp_path)
    view = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    with torch.inference_mode():
        pixels = torch.from_numpy(view).permute(2, 0, 1)[None].float() / 255
        features = model(pixel_values=pixels).pooler_output.double()  # small: nothing has trained these norms
    np.testing.assert_allclose(encoder.embed_images([view]), (features / features.norm()).numpy(), atol=1e-5)
