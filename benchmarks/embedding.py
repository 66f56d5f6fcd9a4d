"""How fast, and in how much memory, images become vectors: tiles, RoIs, and one of 100 megapixels.

python benchmarks/embedding.py
"""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

import histoseek as hs
from histoseek.phantom import KINDS, draw, make_patient

SIZES = {
    "tile, 256 × 256 PNG": (256, 256, 400),
    "RoI, 2048 × 1536 PNG": (2048, 1536, 8),
    "RoI, 10000 × 10000 PNG": (10_000, 10_000, 1),
}


def main() -> None:
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"pillow {version('pillow')}; encoder color, f32, 256 px views at 0.5 µm/px; images at 0.5 µm/px\n"
    )
    print("| images | n | images/s | Mpx/s | peak memory of the process, MB |\n|---|--:|--:|--:|--:|")
    for name in SIZES:
        subprocess.run([sys.executable, __file__, name], check=True)


def measure(name: str) -> None:
    width, height, n = SIZES[name]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        subprocess.run([sys.executable, __file__, "--draw", name, folder], check=True)
        items = [hs.Item(f"{at}", f"{at}.png", mpp=0.5, width=width, height=height) for at in range(n)]
        manifest = hs.Manifest.from_items(items, home)
        from histoseek.index.embedding import embed_items

        start = time.perf_counter()
        found = list(embed_items(manifest, manifest.path_of, hs.load_encoder("color")))
        seconds = time.perf_counter() - start
    if any(one.vector is None for one in found):
        raise SystemExit(found[0].reason)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"| {name} | {n} | {n / seconds:.1f} | {n * width * height / seconds / 1e6:.1f} | {peak:.0f} |", flush=True)


def draw_images(name: str, home: Path) -> None:
    width, height, n = SIZES[name]
    tissue = draw(KINDS[0], min(width, 1024), min(height, 1024), 0.5, make_patient(0), 0)
    whole = np.tile(tissue, (-(-height // tissue.shape[0]), -(-width // tissue.shape[1]), 1))[:height, :width]
    for at in range(n):
        Image.fromarray(np.roll(whole, at, axis=1)).save(home / f"{at}.png", compress_level=1)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        draw_images(sys.argv[2], Path(sys.argv[3]))
    elif len(sys.argv) > 1:
        measure(sys.argv[1])
    else:
        main()
