"""A CLIP of random weights in the hub's format: the size of a real one, and nothing is fetched."""

from __future__ import annotations

import json
from pathlib import Path

WORDS = ("<pad>", "<unk>", "<s>", "</s>", "tumour", "normal", "tissue")


def save_clip(folder: Path, patch_px: int = 32) -> Path:
    """Write a CLIP with the image tower of a ViT-B and a small text tower into a folder that does not exist yet."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPConfig, CLIPModel

    folder.mkdir(parents=True)
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 16, "pad_token": "<pad>"}))
    size = {"height": 224, "width": 224}
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                **{"do_resize": True, "size": {"shortest_edge": 224}, "resample": 3, "do_center_crop": True},
                **{"crop_size": size, "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.25] * 3},
            }
        )
    )
    small = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {"vocab_size": len(WORDS), "max_position_embeddings": 16, "pad_token_id": 0, "eos_token_id": 3, **small}
    base = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    vision = {"image_size": 224, "patch_size": patch_px, **base}
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config={"bos_token_id": 2, **text}, vision_config=vision, projection_dim=512))
    model.eval().save_pretrained(folder)
    return folder
