"""A CLIP of random weights in the hub's format: the image tower of a real one, and nothing is fetched."""

from __future__ import annotations

import json
from pathlib import Path

WORDS = ("[PAD]", "[UNK]", "<s>", "</s>", "tissue", "tumour", "normal")
"""All that its tokenizer knows."""

SPREAD = 2.0
"""Factor on the random weights: as they are drawn, they map all tissue to nearly one vector."""


def save_clip(folder: Path, patch_px: int = 32) -> Path:
    """Write a CLIP with the image tower of a ViT-B and a small text tower into a folder that does not exist yet."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    folder.mkdir(parents=True)
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"model_max_length": 77, "pad_token": "[PAD]", "eos_token": "</s>", "tokenizer_class": "CLIPTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    CLIPImageProcessor().save_pretrained(folder)
    small = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {"vocab_size": len(WORDS), "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, **small}
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config={"patch_size": patch_px}, projection_dim=512)).eval()
    with torch.no_grad():
        for weights in model.vision_model.parameters():
            if weights.dim() > 1:
                weights.mul_(SPREAD)
    model.save_pretrained(folder)
    return folder
