"""How fast tiles are read from a slide, against a plain OpenSlide loop, and how fast `index` runs.

    python benchmarks/slides.py [--slide FILE]

Without a slide it draws one of 34 000 × 27 000 pixels at 0.25 µm: four drawn fields, repeated and mirrored. The plain
loop is the usual one: `read_region`, to RGB, resize; a tile at a time, in the order of the grid.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from openslide import OpenSlide
from PIL import Image

import histoseek as hs
from histoseek.imaging import open_slide
from histoseek.items import Box
from histoseek.phantom import KINDS, draw_field, make_patient, write_slide

SIZE, MPP = (34_000, 27_000), 0.25
VIEW, VIEW_MPP = 160, 0.8
ROUNDS = 3
N_TILES = 1200


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--slide", type=Path)
    parser.add_argument("--index", type=Path, help="measure only `index` of this folder (used by this script)")
    parser.add_argument("--draw", type=Path, help="only draw the slide (used by this script)")
    given = parser.parse_args()
    if given.draw is not None:
        draw_slide(given.draw)
        return
    if given.index is not None:
        measure_index(given.index)
        return
    names = ("openslide-python", "openslide-bin", "tifffile", "imagecodecs", "pillow", "openvino")
    told = ", ".join(f"{name} {version(name)}" for name in names)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {told}\n")
    with tempfile.TemporaryDirectory() as folder:
        slide = given.slide or Path(folder) / "slides" / "drawn.tif"
        if given.slide is None:  # in a process of its own, whose memory would count as that of its brothers
            subprocess.run([sys.executable, __file__, "--draw", str(slide)], check=True)
        measure_reading(slide)
        subprocess.run([sys.executable, __file__, "--index", str(slide.parent)], check=True)


def draw_slide(path: Path) -> None:
    fields = [
        draw_field(2048, 2048, MPP, make_patient(seed), seed, KINDS[seed : seed + 3]).picture for seed in range(4)
    ]
    block = np.concatenate([np.concatenate(fields[:2], axis=1), np.concatenate(fields[2:], axis=1)])
    block = np.concatenate([block, block[:, ::-1]], axis=1)
    repeats = (-(-SIZE[1] // block.shape[0]), -(-SIZE[0] // block.shape[1]), 1)
    write_slide(path, np.tile(block, repeats)[: SIZE[1], : SIZE[0]], MPP)


def measure_reading(path: Path) -> None:
    """Rates of three ways to read the same tiles, in turns, so that a busy moment hits all of them."""
    slide = open_slide(path)
    side = round(VIEW * VIEW_MPP / (slide.mpp or MPP))
    across = min(slide.size[0] // side, 60)
    boxes = [Box(at % across * side, at // across * side, side, side) for at in range(N_TILES)]
    boxes = [box for box in boxes if box.y + side <= slide.size[1]]
    ways: dict[str, Callable[[], None]] = {
        "plain OpenSlide loop": lambda: plain(path, boxes),
        "plain OpenSlide loop, 2 threads": lambda: plain(path, boxes, 2),
        "Histoseek, 1 worker": lambda: ours(path, boxes, 1),
        "Histoseek, 2 workers": lambda: ours(path, boxes, 2),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            rates[name].append(len(boxes) / (time.perf_counter() - start))
    base = np.median(rates["plain OpenSlide loop"])
    print(f"{len(boxes)} tiles of {side} px, {slide.mpp} µm/px, to {VIEW} px; {ROUNDS} rounds\n")
    print("| way | tiles/s, median (range) | against the plain loop |\n|---|--:|--:|")
    for name, found in rates.items():
        print(
            f"| {name} | {np.median(found):.0f} ({min(found):.0f}–{max(found):.0f}) | {np.median(found) / base:.1f} |"
        )
    print(flush=True)


def plain(path: Path, boxes: list[Box], workers: int = 1) -> None:
    def read(part: list[Box]) -> None:
        with OpenSlide(path) as slide:
            for box in part:
                tile = slide.read_region((box.x, box.y), 0, (box.width, box.height)).convert("RGB")
                np.asarray(tile.resize((VIEW, VIEW), Image.Resampling.BICUBIC))

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(read, parts_of(boxes, workers)))


def parts_of(boxes: list[Box], n_parts: int) -> Iterator[list[Box]]:
    step = -(-len(boxes) // n_parts)
    yield from (boxes[start : start + step] for start in range(0, len(boxes), step))


def ours(path: Path, boxes: list[Box], workers: int) -> None:
    slide = open_slide(path)

    def read(run: list[Box]) -> list[NDArray[np.uint8]]:
        return [slide.read(box, (VIEW, VIEW)) for box in run]

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(read, list(parts_of(boxes, -(-len(boxes) // 32)))))
    slide.close()


def measure_index(folder: Path) -> None:
    """`prepare slides` and `index` with `mini`, the encoder alone, and the peak of memory."""
    start = time.perf_counter()
    manifest = hs.prepare("slides", folder)
    prepared = time.perf_counter() - start
    encoder = hs.load_encoder("mini")
    few = hs.Manifest(manifest.table.slice(0, 4000), manifest.root, manifest.facts)
    with tempfile.TemporaryDirectory() as home:
        start = time.perf_counter()
        hs.Index.build(few, encoder, Path(home) / "x.index")
        indexed = len(few) / (time.perf_counter() - start)
    views = np.random.default_rng(0).integers(0, 255, (64, VIEW, VIEW, 3), dtype=np.uint8)
    start = time.perf_counter()
    for _ in range(20):
        encoder.embed_images(views)
    alone = 20 * len(views) / (time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("| step | figure |\n|---|--:|")
    print(f"| prepare slides: tissue, grid, digest, {len(manifest)} tiles | {prepared:.1f} s |")
    print(f"| index with mini, reading and embedding {len(few)} tiles | {indexed:.0f} tiles/s |")
    print(f"| mini alone, pixels in memory | {alone:.0f} views/s |")
    print(f"| peak memory of the process | {peak:.0f} MB |")


if __name__ == "__main__":
    main()
