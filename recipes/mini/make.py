r"""Make `mini`: from the atlas to a run that `pack.py` turns into the bundled encoder.

    python recipes/mini/make.py --data ../shared/data --lite0 runs/imagenet/lite0 \
        --teacher runs/imagenet/lite0_encoder --out runs/mini

1. The manifest: every tile of the cases that are not held out, organs with two or more cases left as labels, captions
   from titles.
2. The base: EfficientNet-Lite0 with ImageNet weights and a two-layer text tower of random weights, joined as a dual
   encoder whose image projection begins as the principal components of the tiles' features.
3. `histoseek.train` on both, at 128 px. `mini` is then used at 160 px over the same field: Touvron et al., "Fixing the
   train-test resolution discrepancy", NeurIPS 2019, found the larger test size to be the better one.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from captions import captions
from PIL import Image
from split import held_out
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, VisionTextDualEncoderConfig, VisionTextDualEncoderModel

import histoseek as hs
from histoseek.encoders.efficientnet_lite import EfficientNetLiteModel
from histoseek.training import Augmentation

SEED = 0
DIM, WORDS, CONTEXT, WIDTH = 256, 1000, 32, 192
TRAIN_PX, TRAIN_MPP = 128, 1.0
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
FEATURE_TILES = 600

CONFIG = hs.TrainConfig(
    objectives={"clip": 1.0, "views": 1.5, "supcon": 0.25, "distill": 1.0},
    mode="full",
    epochs=2,
    batch=48,
    per_class=4,
    views=2,
    rate=5e-4,
    layer_decay=0.9,
    ema=0.98,
    patience=2,
    validation=0.15,
    augmentation=Augmentation(scale=0.4, stain=0.3, transfer=0.5, brightness=0.15),
    save_every=25,
    seed=SEED,
)


def main() -> None:
    """Make the manifest and the base, and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--lite0", type=Path, default=Path("runs/imagenet/lite0"), help="from imagenet.py")
    parser.add_argument("--teacher", type=Path, default=Path("runs/imagenet/lite0_encoder"), help="its encoder folder")
    parser.add_argument("--manifest", type=Path, help="only write the training manifest, here")
    parser.add_argument("--out", type=Path, default=Path("runs/mini"))
    parser.add_argument("--epochs", type=int, default=CONFIG.epochs)
    parser.add_argument("--resume", action="store_true")
    given = parser.parse_args()
    torch.manual_seed(SEED)
    manifest = training_manifest(given.data)
    if given.manifest is not None:
        manifest.write(given.manifest)
        return
    base = given.out.with_name(f"{given.out.name}-base")
    if not (base / "config.json").is_file():
        write_base(base, given.lite0, manifest)
    config = replace(CONFIG, base=str(base), teacher=str(given.teacher), mpp=TRAIN_MPP, epochs=given.epochs)
    done = hs.train(manifest, given.out, config, resume=given.resume, progress=tell)
    print(f"\nbase {done.base_scores}\nbest {done.best_scores} (epoch {done.best_epoch + 1})")


def tell(done: int, total: int) -> None:
    """One line that counts the steps."""
    print(f"\rstep {done} of {total}", end="", flush=True)


def training_manifest(data: Path) -> hs.Manifest:
    """The tiles of all cases that are not held out; an organ of one case is no label, for no other case is like it."""
    kept = set(held_out())
    tiles = [
        item
        for item in hs.prepare("csv", data / "atlas" / "tiles.csv", columns="label=organ,group=case")
        if item.group not in kept
    ]
    cases = defaultdict(set)
    for item in tiles:
        if item.extra["stain"] == "H&E":
            cases[item.label].add(item.group)
    ready = []
    for item in tiles:
        is_class = item.extra["stain"] == "H&E" and item.label is not None and len(cases[item.label]) > 1
        said = captions({**item.extra, "organ": item.label})
        ready.append(replace(item, label=item.label if is_class else None, caption="\n".join(said) or None))
    facts = {
        "dataset": "Pathology Atlas tiles",
        "licence": "MIT; CC BY 4.0 (credit: Pathology Atlas, Serdar Balci et al.)",
    }
    return hs.Manifest.from_items(ready, data / "atlas", facts)


def write_base(folder: Path, lite0: Path, manifest: hs.Manifest) -> None:
    """The untrained dual encoder, as a model folder in the hub's format."""
    draft = folder.with_name(f".{folder.name}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    write_tokenizer(draft, manifest)
    vision = EfficientNetLiteModel.from_pretrained(lite0).eval()
    text = BertConfig(
        vocab_size=WORDS,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=4 * WIDTH,
        max_position_embeddings=2 * CONTEXT,
    )
    config = VisionTextDualEncoderConfig.from_vision_text_configs(vision.config, text, projection_dim=DIM)
    model = VisionTextDualEncoderModel(config, vision, BertModel(text))
    how = json.loads((lite0 / "preprocessor_config.json").read_text(encoding="utf-8"))
    how |= {"size": {"height": TRAIN_PX, "width": TRAIN_PX}, "crop_size": {"height": TRAIN_PX, "width": TRAIN_PX}}
    (draft / "preprocessor_config.json").write_text(json.dumps(how, indent=2), encoding="utf-8")
    model.visual_projection.weight.data = principal_axes(vision, how, manifest)
    model.save_pretrained(draft)
    shutil.copyfile(lite0 / "README.md", draft / "README.md")
    draft.rename(folder)


def write_tokenizer(folder: Path, manifest: hs.Manifest) -> None:
    """Word pieces learnt from the training captions."""
    tokenizer = Tokenizer(models.WordPiece(unk_token=SPECIAL[1]))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    texts = sorted({line for item in manifest for line in (item.caption or "").splitlines()})
    tokenizer.train_from_iterator(
        texts, trainers.WordPieceTrainer(vocab_size=WORDS, special_tokens=list(SPECIAL), show_progress=False)
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"model_max_length": CONTEXT, "pad_token": "[PAD]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def principal_axes(vision: EfficientNetLiteModel, how: dict[str, list[float]], manifest: hs.Manifest) -> torch.Tensor:
    """The axes `[D, 1280]` along which features of training tiles differ most, at right angles to their mean."""
    rng = np.random.default_rng(SEED)
    chosen = [manifest[int(row)] for row in np.sort(rng.permutation(len(manifest))[:FEATURE_TILES])]
    mean, std = (torch.tensor(how[name]).view(3, 1, 1) for name in ("image_mean", "image_std"))
    features = []
    with torch.inference_mode():
        for start in range(0, len(chosen), 64):
            images = [
                Image.open(manifest.path_of(item)).convert("RGB").resize((TRAIN_PX, TRAIN_PX), Image.Resampling.BICUBIC)
                for item in chosen[start : start + 64]
            ]
            pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2) / 255
            features.append(vision((pixels - mean) / std).pooler_output)
    rows = torch.cat(features)
    middle = torch.nn.functional.normalize(rows.mean(0), dim=0)
    rows = rows - (rows @ middle)[:, None] * middle
    _, _, axes = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    return axes[:DIM].contiguous().clone()


if __name__ == "__main__":
    main()
