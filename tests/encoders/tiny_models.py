"""Tiny models that a test saves in the hub's format: every architecture that the encoders load, no weights fetched."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

VIEW_PX = 32
DIM = 24
CONTEXT = 16
WORDS = (
    *("tumour", "normal", "benign", "invasive", "carcinoma", "ductal", "lobular", "grade", "necrosis", "mucosa"),
    *("colon", "breast", "liver", "kidney", "nuclei", "cells", "lymphocytes", "stroma", "gland", "crypt"),
    *("tissue", "of", "the", "in", "with", "and", "no", "a", "slide", "stained"),
)
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
MEAN, STD = [0.48, 0.46, 0.41], [0.27, 0.26, 0.28]


def save_tokenizer(folder: Path, *, start: str | None, end: str, lower: bool = True) -> int:
    """Write a word tokenizer made on the spot; gives the size of its vocabulary."""
    special = [token for token in ("[PAD]", "[UNK]", start, end) if token]
    vocabulary = {word: number for number, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    if lower:
        tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}" if start else f"$A {end}",
        special_tokens=[(token, vocabulary[token]) for token in (start, end) if token],
    )
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"model_max_length": CONTEXT, "pad_token": "[PAD]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return len(vocabulary)


def save_preprocessor(folder: Path, **changes: object) -> None:
    """Write the preprocessor file of a CLIP model."""
    content = {
        "do_center_crop": True,
        "crop_size": {"height": VIEW_PX, "width": VIEW_PX},
        "do_normalize": True,
        "image_mean": MEAN,
        "image_std": STD,
        "do_resize": True,
        "resample": 3,
        "size": {"shortest_edge": VIEW_PX},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(content | changes))


def save_clip(folder: Path, seed: int = 0) -> Path:
    """CLIP: causal text tower, the text's vector at its end mark."""
    n_words = save_tokenizer(folder, start="<s>", end="</s>")
    text = {"vocab_size": n_words, "max_position_embeddings": CONTEXT, "bos_token_id": 2, "eos_token_id": 3, **VISION}
    vision = {"image_size": VIEW_PX, "patch_size": 8, **VISION}
    config = transformers.CLIPConfig(text_config={"pad_token_id": 0, **text}, vision_config=vision, projection_dim=DIM)
    save_preprocessor(folder)
    return _save(folder, lambda: transformers.CLIPModel(config), seed)


def save_siglip(folder: Path, seed: int = 0) -> Path:
    """SigLIP: padding is seen, the text's vector at the last place; its file leaves cleaning to code."""
    n_words = save_tokenizer(folder, start=None, end="</s>", lower=False)
    settings = {"model_max_length": CONTEXT, "pad_token": "</s>", "tokenizer_class": "SiglipTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    text = {"vocab_size": n_words, "max_position_embeddings": CONTEXT, "projection_size": 32, **VISION}
    vision = {"image_size": VIEW_PX, "patch_size": 8, **VISION}
    config = transformers.SiglipConfig(text_config=text, vision_config=vision)
    save_preprocessor(
        folder,
        do_center_crop=None,
        crop_size=None,
        size={"height": VIEW_PX, "width": VIEW_PX},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return _save(folder, lambda: transformers.SiglipModel(config), seed)


def save_dual(folder: Path, seed: int = 0) -> Path:
    """A ViT and a BERT joined: the text tower needs its attention mask."""
    n_words = save_tokenizer(folder, start="[CLS]", end="[SEP]")
    text = transformers.BertConfig(vocab_size=n_words, max_position_embeddings=64, **VISION)
    vision = transformers.ViTConfig(image_size=VIEW_PX, patch_size=8, **VISION)
    config = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(vision, text, projection_dim=DIM)
    save_preprocessor(folder)
    return _save(folder, lambda: transformers.VisionTextDualEncoderModel(config), seed)


def save_vit(folder: Path, seed: int = 0, *, pooler: bool = False) -> Path:
    """A ViT, by default without a pooler in its weights."""
    config = transformers.ViTConfig(image_size=VIEW_PX, patch_size=8, **VISION)
    save_preprocessor(folder, do_center_crop=False, crop_size=None, size=VIEW_PX, resample=2)
    return _save(folder, lambda: transformers.ViTModel(config, add_pooling_layer=pooler), seed)


def save_dinov2(folder: Path, seed: int = 0) -> Path:
    """DINOv2, trained at another size than it is used at."""
    heads = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_ratio": 2}
    config = transformers.Dinov2Config(image_size=2 * VIEW_PX, patch_size=8, **heads)
    save_preprocessor(folder, size={"shortest_edge": VIEW_PX + 8})
    return _save(folder, lambda: transformers.Dinov2Model(config), seed)


def save_resnet(folder: Path, seed: int = 0) -> Path:
    """A ResNet, whose pooled map is `[N, C, 1, 1]`."""
    config = transformers.ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic", num_channels=3
    )
    save_preprocessor(folder)
    return _save(folder, lambda: transformers.ResNetModel(config), seed)


SAVERS: dict[str, Callable[[Path], Path]] = {
    "clip": save_clip,
    "siglip": save_siglip,
    "dual": save_dual,
    "vit": save_vit,
    "dinov2": save_dinov2,
    "resnet": save_resnet,
}


def _save(folder: Path, build: Callable[[], transformers.PreTrainedModel], seed: int) -> Path:
    torch.manual_seed(seed)
    model = build().eval()
    # Fresh weights map all tissue to nearly one vector; larger ones tell views apart, and so make parity worth testing.
    with torch.no_grad():
        for weights in model.parameters():
            if weights.dim() > 1:
                weights.mul_(3)
    model.save_pretrained(folder)
    return folder
