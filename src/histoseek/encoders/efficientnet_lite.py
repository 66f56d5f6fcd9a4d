"""EfficientNet-Lite0 as a model of `transformers`, so that it loads, trains and exports like any other of its models.

Tan M., Le Q. "EfficientNet: Rethinking model scaling for convolutional neural networks", ICML 2019; the Lite variant
(no squeeze-and-excite, ReLU6 for swish) is described with Google's reference code in tensorflow/tpu.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

MODEL_TYPE = "efficientnet_lite"
STAGES = (
    # kernel, stride, expansion, channels, blocks
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
STEM, HEAD = 32, 1280
EPSILON = 1e-3


class EfficientNetLiteConfig(PreTrainedConfig):  # type: ignore[misc]
    """The one size there is: Lite0, with `hidden_size` numbers a picture."""

    model_type = MODEL_TYPE

    def __init__(self, image_size: int = 224, hidden_size: int = HEAD, **others: Any) -> None:
        super().__init__(**others)
        self.image_size, self.hidden_size = image_size, hidden_size


class SamePadding(nn.Module):  # type: ignore[misc]
    """Padding of a convolution whose weights come from TensorFlow: with stride 2 the odd pixel goes right and below."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        total = kernel - stride
        before = total // 2
        self.sides = (before, total - before, before, total - before)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pad `[N, C, H, W]`, with H and W even where the stride is 2."""
        return nn.functional.pad(x, self.sides)


def convolution(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution with its padding and its batch norm."""
    padded = [SamePadding(kernel, stride)] if kernel > 1 else []
    return [
        *padded,
        nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=EPSILON, momentum=0.01),
    ]


class Block(nn.Module):  # type: ignore[misc]
    """An inverted residual: widen, filter each channel, narrow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.is_residual = stride == 1 and inputs == outputs
        self.layers = nn.Sequential(
            *([*convolution(inputs, wide), nn.ReLU6()] if expansion > 1 else []),
            *convolution(wide, wide, kernel, stride, groups=wide),
            nn.ReLU6(),
            *convolution(wide, outputs),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[N, inputs, H, W]` to `[N, outputs, H / stride, W / stride]`."""
        return x + self.layers(x) if self.is_residual else self.layers(x)


class EfficientNetLiteModel(PreTrainedModel):  # type: ignore[misc]
    """The network without its classifier."""

    config_class = EfficientNetLiteConfig
    main_input_name = "pixel_values"

    def __init__(self, config: EfficientNetLiteConfig) -> None:
        super().__init__(config)
        self.stem = nn.Sequential(*convolution(3, STEM, 3, 2), nn.ReLU6())
        blocks, inputs = [], STEM
        for kernel, stride, expansion, outputs, n_blocks in STAGES:
            for nth in range(n_blocks):
                blocks.append(Block(inputs, outputs, kernel, stride if nth == 0 else 1, expansion))
                inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Sequential(*convolution(inputs, config.hidden_size), nn.ReLU6())
        self.post_init()

    def forward(self, pixel_values: torch.Tensor, **_: Any) -> BaseModelOutputWithPooling:
        """Features of pixels `[N, 3, P, P]`: the map `[N, D, P / 32, P / 32]` and its mean `[N, D]`."""
        x = self.stem(pixel_values)
        for block in self.blocks:
            x = block(x)
        x = self.head(x)
        return BaseModelOutputWithPooling(last_hidden_state=x, pooler_output=x.mean((2, 3)))


AutoConfig.register(MODEL_TYPE, EfficientNetLiteConfig, exist_ok=True)
AutoModel.register(EfficientNetLiteConfig, EfficientNetLiteModel, exist_ok=True)
