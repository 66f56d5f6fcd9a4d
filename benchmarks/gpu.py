"""How much of a graphics card's matrix rate the PyTorch encoders reach: `mini` and a ViT-B/16 CLIP of random weights.

python benchmarks/gpu.py [--device cpu]     # on a processor it is a rehearsal
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[1]))

import histoseek as hs
from benchmarks.random_clip import save_clip
from histoseek.encoders.bundled import BUNDLED

TYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--views", type=int, default=4096)
    parser.add_argument("--side", type=int, default=8192, help="of the square matrices that are multiplied")
    asked = parser.parse_args()
    if asked.device == "cpu":
        torch.cuda.is_available = lambda: False
    name = torch.cuda.get_device_name() if asked.device == "cuda" else "a processor: a rehearsal"
    rates = {precision: matrix_rate(kind, asked.side, asked.device) for precision, kind in TYPES.items()}
    print(f"{name}; torch {version('torch')}; matrices: f32 {rates['f32']:.2f}, bf16 {rates['bf16']:.2f} TFLOP/s\n")
    print("| encoder | precision | views/s | TFLOP/s | of the matrix rate |\n|---|---|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip"
        save_clip(clip, patch_px=16)
        for what, model in (("mini", BUNDLED["mini"] / "model"), ("ViT-B/16 CLIP", clip)):
            for precision in TYPES:
                rate, operations = measure(model, precision, asked.views)
                share = rate * operations / 1e12 / rates[precision]
                print(
                    f"| {what} | {precision} | {rate:.0f} | {rate * operations / 1e12:.3f} | {share:.1%} |", flush=True
                )


def matrix_rate(kind: torch.dtype, side: int, device: str) -> float:
    """10^12 operations a second of one large product; a product and a sum count as two."""
    one, other = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
    best = 0.0
    for _ in range(5):
        _wait(device)
        start = time.perf_counter()
        _ = one @ other
        _wait(device)
        best = max(best, 2 * side**3 / (time.perf_counter() - start) / 1e12)
    return best


def measure(model: Path, precision: Any, n_views: int) -> tuple[float, float]:
    """Views a second through `embed_images`, transfers included, and the operations that one view takes."""
    encoder: Any = hs.load_encoder(model, precision=precision)
    side = encoder.fingerprint.preprocessing.view_px
    views = list(np.random.default_rng(0).integers(0, 256, (n_views, side, side, 3), dtype=np.uint8))
    with FlopCounterMode(display=False) as counter:
        encoder.embed_images(views[:1])
    encoder.embed_images(views[: max(1, n_views // 4)])
    start = time.perf_counter()
    encoder.embed_images(views)
    return n_views / (time.perf_counter() - start), float(counter.get_total_flops())


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
