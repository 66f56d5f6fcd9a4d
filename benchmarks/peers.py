"""The ways that `side_by_side.py` compares: each loads one CLIP and turns image files into unit vectors.

A way is a function (the place, the device) → a function (files) → vectors `[N, D]`. The place holds `model` (the hub's
format), `folder` (its encoder folder) and `folder-int8`.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Rows = NDArray[np.float32]
Run = Callable[[list[Path]], Rows]

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


@dataclass(frozen=True)
class Way:
    """How to load it, the packages that it needs, and whether it runs the weights of the place."""

    load: Callable[[Path, str], Run]
    needs: tuple[str, ...]
    has_same_weights: bool = True

    def missing(self) -> list[str]:
        """The packages that are not here."""
        return [name for name in self.needs if find_spec(name) is None]


def transformers_loop(place: Path, device: str) -> Run:
    """What most scripts do: open, process, embed, 32 at a time, one thing after the other."""
    import torch
    import transformers

    processor = transformers.AutoImageProcessor.from_pretrained(place / "model")
    model = transformers.CLIPModel.from_pretrained(place / "model").eval().to(device)

    def run(files: list[Path]) -> Rows:
        rows = []
        with torch.inference_mode():
            for start in range(0, len(files), 32):
                images = [Image.open(file).convert("RGB") for file in files[start : start + 32]]
                pixels = processor(images=images, return_tensors="pt")["pixel_values"].to(device)
                rows.append(_unit(model.get_image_features(pixel_values=pixels)))
        return np.concatenate(rows)

    return run


def sentence_transformers(place: Path, device: str) -> Run:
    """Its CLIP, as its documentation shows it: `encode` of opened images."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(place / "model"), device=device)

    def run(files: list[Path]) -> Rows:
        images = [Image.open(file) for file in files]
        return np.asarray(model.encode(images, batch_size=32, normalize_embeddings=True), np.float32)

    return run


def open_clip_loop(place: Path, device: str) -> Run:
    """A loop over open_clip's transform and model, 32 at a time; the same shape, with random weights of its own."""
    import open_clip
    import torch

    model, _, transform = open_clip.create_model_and_transforms("ViT-B-32-quickgelu", pretrained=None)
    model = model.eval().to(device)

    def run(files: list[Path]) -> Rows:
        rows = []
        with torch.inference_mode():
            for start in range(0, len(files), 32):
                pixels = torch.stack([transform(Image.open(file)) for file in files[start : start + 32]])
                rows.append(_unit(model.encode_image(pixels.to(device))))
        return np.concatenate(rows)

    return run


class Files:
    """A data set for PyTorch's loader: the pixels of each file, processed one by one."""

    def __init__(self, files: list[Path], processor: Any) -> None:
        self.files, self.processor = files, processor

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, at: int) -> Any:
        return self.processor(images=Image.open(self.files[at]).convert("RGB"), return_tensors="pt")["pixel_values"][0]


def clip_retrieval_like(place: Path, device: str) -> Run:
    """What clip-retrieval's inference does with its libraries: worker processes, large batches, vectors of 16 bits.

    Its batches are of 256; here they are an eighth of the images, so that few of them keep both workers busy too.
    """
    import torch
    import transformers

    processor = transformers.AutoImageProcessor.from_pretrained(place / "model")
    model = transformers.CLIPModel.from_pretrained(place / "model").eval().to(device)

    def run(files: list[Path]) -> Rows:
        size = min(256, -(-len(files) // 8))
        batches = torch.utils.data.DataLoader(Files(files, processor), batch_size=size, num_workers=2)
        with torch.no_grad():
            rows = [_unit(model.get_image_features(pixel_values=batch.to(device))).astype("f2") for batch in batches]
        return np.concatenate(rows).astype(np.float32)

    return run


def rclip_like(place: Path, device: str) -> Run:
    """What rclip's indexer does with its libraries: threads read ahead, onnxruntime embeds 8 at a time."""
    import os

    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads = os.cpu_count() or 1
    model = onnxruntime.InferenceSession(place / "folder" / "image.onnx", options, ["CPUExecutionProvider"])
    name = model.get_inputs()[0].name

    def run(files: list[Path]) -> Rows:
        rows = []
        with ThreadPoolExecutor(n_threads) as pool:
            ahead = _ahead(pool, files, 24)
            for start in range(0, len(files), 8):
                batch = [next(ahead) for _ in files[start : start + 8]]
                rows.append(model.run(None, {name: np.stack(batch)})[0])
        found = np.concatenate(rows)
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    return run


def _ahead(pool: ThreadPoolExecutor, files: list[Path], n: int) -> Iterator[Rows]:
    waiting: deque[Future[Rows]] = deque()
    for file in files:
        waiting.append(pool.submit(_pixels, file))
        if len(waiting) >= n:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _pixels(file: Path) -> Rows:
    image = Image.open(file).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
    return ((np.asarray(image, np.float32) / 255 - MEAN) / STD).transpose(2, 0, 1)


def histoseek_index(
    place: Path, device: str, name: str = "folder", precision: Any = "f32", *, fast: bool = False
) -> Run:
    """`Index.build`: everything that the verb `index` does, the table and its fast copy included."""
    import histoseek as hs

    encoder = hs.load_encoder(place / name, precision=precision, fast=fast)

    def run(files: list[Path]) -> Rows:
        sizes = [Image.open(file).size for file in files[:1]]
        items = [hs.Item(file.name, file.name, width=sizes[0][0], height=sizes[0][1]) for file in files]
        with tempfile.TemporaryDirectory() as home:
            index = hs.Index.build(hs.Manifest.from_items(items, files[0].parent), encoder, f"{home}/x.index")
            row_of = {name: row for row, name in enumerate(index.rows.items["id"].to_pylist())}
            return np.array(index.rows.checked(np.array([row_of[file.name] for file in files])), np.float32)

    return run


def _unit(features: Any) -> Rows:
    import torch

    rows = features if isinstance(features, torch.Tensor) else features.pooler_output
    return torch.nn.functional.normalize(rows.float(), dim=-1).cpu().numpy()


WAYS = {
    "plain transformers loop": Way(transformers_loop, ("transformers",)),
    "sentence-transformers, encode": Way(sentence_transformers, ("sentence_transformers",)),
    "open_clip loop": Way(open_clip_loop, ("open_clip", "torchvision"), has_same_weights=False),
    "clip-retrieval's inference, rebuilt": Way(clip_retrieval_like, ("transformers",)),
    "rclip's indexer, rebuilt": Way(rclip_like, ("onnxruntime",)),
    "histoseek index, PyTorch": Way(partial(histoseek_index, name="model"), ("transformers",)),
    "histoseek index, PyTorch bf16": Way(partial(histoseek_index, name="model", precision="bf16"), ("transformers",)),
    "histoseek index, f32": Way(histoseek_index, ()),
    "histoseek index, f32, fast decoding": Way(partial(histoseek_index, fast=True), ()),
    "histoseek index, bf16": Way(partial(histoseek_index, precision="bf16"), ()),
    "histoseek index, int8": Way(partial(histoseek_index, name="folder-int8"), ("nncf", "onnxruntime")),
}
