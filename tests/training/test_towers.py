from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from histoseek.encoders.encoder import Settings
from histoseek.encoders.huggingface import load_folder
from histoseek.encoders.torch_encoder import Towers
from histoseek.errors import EncoderError
from histoseek.training.config import TrainConfig
from histoseek.training.towers import (
    count_parameters,
    layer_depths,
    merge_adapters,
    parameter_groups,
    prepare_towers,
    root_of,
    set_training,
)


def towers_of(folder: Path) -> Towers:
    return load_folder(folder, Settings()).towers


def test_depth_counts_from_the_top_of_each_tower() -> None:
    names = [
        "image.model.vision_model.embeddings.patch_embedding.weight",
        *(f"image.model.vision_model.encoder.layers.{n}.mlp.fc1.weight" for n in range(4)),
        *(f"image.model.text_model.encoder.layers.{n}.mlp.fc1.weight" for n in range(2)),
        "image.model.visual_projection.weight",
        "image.model.text_model.embeddings.token_embedding.weight",
    ]
    depths = list(layer_depths(names).values())
    assert depths == [0, 1, 2, 3, 4, 3, 4, 5, 2]


def test_rates_fall_with_depth_and_norms_do_not_decay(clip_model: Path) -> None:
    root = root_of(prepare_towers(towers_of(clip_model), 24, "full", 4))
    groups = parameter_groups(root, TrainConfig(mode="full", rate=1.0, layer_decay=0.5, decay=0.1))
    assert {group["lr"] for group in groups} == {1.0, 0.5, 0.25}
    of = {id(weight): group for group in groups for weight in group["params"]}
    named = dict(root.named_parameters())
    assert len(of) == len(named)
    for name, weight in named.items():
        still = "norm" in name or name.endswith("bias") or "position" in name or "logit_scale" in name
        assert (of[id(weight)]["weight_decay"] == 0.0) == (still or weight.ndim < 2), name
    assert of[id(named["image.model.visual_projection.weight"])]["lr"] == 1.0


@pytest.mark.parametrize("kind", ["clip", "resnet"])
def test_adapters_start_as_nothing_and_merge_into_what_they_were(kind: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(f"{kind}_model")
    pixels = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32))
    before = towers_of(folder).image.eval()(pixel_values=pixels)
    towers = prepare_towers(towers_of(folder), 24, "lora", 4)
    root = root_of(towers).eval()
    torch.testing.assert_close(towers.image(pixel_values=pixels), before)
    trained, whole = count_parameters(root)
    assert 0 < trained < whole / 2
    with torch.no_grad():
        for name, weight in root.named_parameters():
            if weight.requires_grad:
                assert "lora" in name
                weight.add_(0.05)
    adapted = towers.image(pixel_values=pixels)
    merge_adapters(root)
    torch.testing.assert_close(towers.image(pixel_values=pixels), adapted, atol=1e-4, rtol=1e-4)
    assert not any("lora" in name for name, _ in root.named_parameters())
    assert not torch.allclose(adapted, before)


def test_a_head_starts_as_the_identity_and_alone_is_trained(resnet_model: Path) -> None:
    pixels = torch.rand(2, 3, 32, 32)
    before = torch.nn.functional.normalize(towers_of(resnet_model).image.eval()(pixel_values=pixels), dim=-1)
    towers = prepare_towers(towers_of(resnet_model), 32, "head", 4)
    torch.testing.assert_close(towers.image.eval()(pixel_values=pixels), before)
    assert count_parameters(root_of(towers))[0] == 32 * 32
    assert prepare_towers(towers, 32, "head", 4).image is towers.image


def test_batch_norm_stays_in_evaluation_while_the_rest_trains(resnet_model: Path) -> None:
    root = root_of(towers_of(resnet_model))
    set_training(root)
    norms = [module for module in root.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms and not any(norm.training for norm in norms) and root.training


def test_lora_without_a_layer_to_fit_says_so() -> None:
    with pytest.raises(EncoderError, match="no layer that LoRA fits"):
        prepare_towers(Towers(torch.nn.Conv2d(3, 4, 3)), 4, "lora", 4)
