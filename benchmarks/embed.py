"""How far `index` is from what the machine can do: operations, memory, decoding, and how many pictures a second.

python benchmarks/embed.py
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import histoseek as hs
from histoseek.encoders.bundled import BUNDLED
from histoseek.encoders.encoder import EncoderCard, Fingerprint, Pace, Preprocessing
from histoseek.imaging import open_pixels, plan_views, read_views
from histoseek.index.drift import drift_of
from histoseek.index.embedding import embed_items
from histoseek.index.encoding import Encoding
from histoseek.items import Box
from histoseek.phantom import KINDS, draw, make_patient

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks import machine, random_clip

TILE, ROI, LARGE = (512, 512), (2048, 1536), (10_000, 10_000)
VIT = "ViT-B/32"
DOT = (16, 16)
"""A picture so small that only the pipeline itself costs time."""


@dataclass(frozen=True)
class Run:
    """Some pictures of one kind through one encoder, in a process of its own.

    `view_mpp` is the scale of the encoder's views, None its own; `share` of the `--tiles` is how many pictures; `fast`
    decodes JPEG at a fraction of its size.
    """

    encoder: str
    pictures: str
    size: tuple[int, int]
    suffix: str
    mpp: float
    share: float
    view_mpp: float | None = None
    fast: bool = False


RUNS = {
    "mini-tile-jpeg": Run("mini", "tile, 512 × 512 JPEG, 40x", TILE, ".jpg", 0.25, 1),
    "mini-tile-fast": Run("mini", "tile, 512 × 512 JPEG, 40x, fast", TILE, ".jpg", 0.25, 1, fast=True),
    "mini-tile-png": Run("mini", "tile, 512 × 512 PNG, 40x", TILE, ".png", 0.25, 0.5),
    "mini-roi": Run("mini", "RoI, 2048 × 1536 JPEG, 20x", ROI, ".jpg", 0.5, 1 / 32),
    "vit-tile-jpeg": Run(VIT, "tile, 512 × 512 JPEG, 40x", TILE, ".jpg", 0.25, 1 / 8, 0.25 * 512 / 224),
    "color-tile-png": Run("color", "tile, 512 × 512 PNG, 20x", TILE, ".png", 0.5, 0.25),
    "color-large": Run("color", "one of 10000 × 10000 PNG, 20x", LARGE, ".png", 0.5, 0),
    "nothing": Run("nothing", "dot, 16 × 16 JPEG", DOT, ".jpg", 0.5, 4),
}
HEAD = (
    "| encoder | pictures | n | views each | pictures/s | reading alone | encoder alone | of the slower | "
    "of both on the same cores | CPU ms a picture | peak memory, MB |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
)


class NoEncoder:
    """Gives every view the same vector at no cost."""

    card = EncoderCard("nothing", 8, False, "MIT", True)
    fingerprint = Fingerprint("nothing", "nothing", Preprocessing(DOT[0], 0.5))
    pace = Pace(2, 64)

    def embed_images(self, views: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        return np.full((len(views), 8), 8**-0.5, np.float32)

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self.embed_images([np.zeros((*DOT, 3), np.uint8)] * len(texts))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tiles", type=int, default=400, help="tiles of the longest run; the others follow from it")
    options.add_argument("--rounds", type=int, default=3, help="times that ways take turns; medians are printed")
    options.add_argument("--run", choices=[*RUNS, "clip", "drift", "memory"], help=argparse.SUPPRESS)
    options.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.run == "clip":
        hs_export(given.home)
    elif given.run == "drift":
        measure_drift(given.home, given.tiles)
    elif given.run == "memory":
        measure_memory(given.home, given.tiles)
    elif given.run:
        measure(RUNS[given.run], given.home, given.tiles, given.rounds)
    else:
        with tempfile.TemporaryDirectory() as folder:
            print_all(Path(folder), given.tiles, given.rounds)


def print_all(home: Path, tiles: int, rounds: int) -> None:
    names = ("histoseek", "openvino", "pillow", "numpy")
    print(f"{machine.told()}, Python {platform.python_version()}, {', '.join(f'{n} {version(n)}' for n in names)}\n")
    has_torch = find_spec("torch") is not None and find_spec("onnxscript") is not None
    if has_torch:
        again("clip", home, tiles, rounds)
    draw_pictures(home, tiles)
    rates = print_machine(home)
    print_encoders(home, rates, has_torch)
    print(HEAD, flush=True)
    for name, run in RUNS.items():
        if has_torch or run.encoder != VIT:
            again(name, home, tiles, rounds)
    print(flush=True)
    again("drift", home, tiles, 1)
    if not has_torch:
        print("\nThe CLIP is left out: PyTorch is not installed.")
    print("\n| tiles indexed with mini | peak memory, MB | pictures/s |\n|--:|--:|--:|", flush=True)
    for n in (tiles // 2, tiles * 2):
        again("memory", home, n, 1)


def again(name: str, home: Path, tiles: int, rounds: int) -> None:
    """Run a part in a process of its own, for its own peak of memory."""
    command = [sys.executable, __file__, "--run", name, "--home", str(home), "--tiles", str(tiles)]
    subprocess.run([*command, "--rounds", str(rounds)], check=True)


def print_machine(home: Path) -> dict[str, float]:
    rates = machine.matrix_rates()
    print("| the machine | figure |\n|---|--:|")
    for name, rate in rates.items():
        print(f"| large product in {name}, all cores | {rate:.0f} GFLOP/s |")
    print(f"| copying memory, all cores, read and written | {machine.bandwidth():.1f} GB/s |")
    for suffix in ("jpg", "png"):
        for what, size in (("tile", TILE), ("RoI", ROI)):
            ms = machine.reading_ms(home / f"{size[0]}-0.{suffix}", None)
            rate, pixels = 1000 / ms, size[0] * size[1] / 1e3 / ms
            print(f"| decoding a {suffix.upper()} {what}, a core | {rate:.0f} a second, {pixels:.0f} Mpx/s |")
    ms = machine.reading_ms(home / f"{TILE[0]}-0.jpg", 160, 0.25, 0.8)
    print(f"| decoding a JPEG tile and shrinking it to 160 px, a core | {1000 / ms:.0f} a second |\n", flush=True)
    return rates


def print_encoders(home: Path, rates: dict[str, float], has_torch: bool) -> None:
    print(
        "| encoder | view, px | operations a view, G | floor by the large product, views/s | alone, views/s | of it |\n"
        "|---|--:|--:|--:|--:|--:|"
    )
    folders = {"mini": BUNDLED["mini"]} | ({VIT: home / "clip"} if has_torch else {})
    for name, folder in folders.items():
        encoder = hs.load_encoder(folder)
        side = encoder.fingerprint.preprocessing.view_px
        needed = 2 * machine.operations(folder / "image.onnx", side)
        floor = rates["f32"] / needed
        noise = np.random.default_rng(0).integers(0, 256, (64, side, side, 3), dtype=np.uint8)
        alone = views_a_second(encoder, list(noise), max(64, round(floor)))
        print(f"| {name} | {side} | {needed:.2f} | {floor:.0f} | {alone:.0f} | {alone / floor:.0%} |", flush=True)
    print()


def measure(run: Run, home: Path, tiles: int, rounds: int) -> None:
    """Reading alone, the encoder alone and both together, in turns; prints a row."""
    n = max(1, round(tiles * run.share))
    manifest = manifest_of(run, home, n)
    encoder = encoder_of(run, home)
    list(embed_items(list(manifest)[: n // 2], manifest.path_of, encoder))
    times: list[tuple[float, float, float, float]] = []
    peak, views = 0.0, []
    for _ in range(rounds if n > 1 else 1):
        cpu = time.process_time()
        whole = n / seconds(lambda: embed_all(manifest, encoder))
        cpu = (time.process_time() - cpu) / n * 1000
        peak = peak or machine.peak_mb()  # before the other two keep what the pipeline does not
        views = views or views_of(manifest[0], manifest, encoder)
        reading = n / seconds(lambda: read_all(manifest, encoder))
        encoding = views_a_second(encoder, views, min(n * len(views), 2048)) / len(views)
        times.append((whole, reading, encoding, cpu))
    whole, reading, encoding, cpu = (median(column) for column in zip(*times, strict=True))
    slower = median(one[0] / min(one[1], one[2]) for one in times)
    shared = median(one[0] * (1 / one[1] + 1 / one[2]) for one in times)
    alone = "–" if run.encoder == "nothing" else f"{encoding:.2f}"
    figures = f"{whole:.2f} | {reading:.2f} | {alone} | {slower:.0%} | {shared:.0%} | {cpu:.1f} | {peak:.0f}"
    print(f"| {run.encoder} | {run.pictures} | {n} | {len(views)} | {figures} |", flush=True)


def measure_drift(home: Path, tiles: int) -> None:
    """How far fast decoding turns the vectors of the tiles."""
    run = RUNS["mini-tile-fast"]
    with tempfile.TemporaryDirectory() as folder:
        index = hs.Index.build(manifest_of(run, home, min(64, tiles)), encoder_of(run, home), Path(folder) / "x.index")
        print(f"{run.pictures}: {drift_of(index).told}", flush=True)


def measure_memory(home: Path, tiles: int) -> None:
    run = RUNS["mini-tile-jpeg"]
    manifest, encoder = manifest_of(run, home, tiles), encoder_of(run, home)
    with tempfile.TemporaryDirectory() as folder:
        took = seconds(lambda: hs.Index.build(manifest, encoder, Path(folder) / "x.index"))
    print(f"| {tiles} | {machine.peak_mb():.0f} | {tiles / took:.1f} |", flush=True)


def manifest_of(run: Run, home: Path, n: int) -> hs.Manifest:
    """`n` items; each picture that lies on the disk serves several of them."""
    paths = sorted(home.glob(f"{run.size[0]}-*{run.suffix}"))
    width, height = run.size
    items = [hs.Item(f"{at}", paths[at % len(paths)].name, mpp=run.mpp, width=width, height=height) for at in range(n)]
    return hs.Manifest.from_items(items, home)


def encoder_of(run: Run, home: Path) -> hs.encoders.Encoder:
    if run.encoder == "nothing":
        return NoEncoder()
    return hs.load_encoder(home / "clip" if run.encoder == VIT else run.encoder, mpp=run.view_mpp, fast=run.fast)


def views_of(item: hs.Item, manifest: hs.Manifest, encoder: hs.encoders.Encoder) -> list[NDArray[np.uint8]]:
    how = encoder.fingerprint.preprocessing
    image = open_pixels(manifest.path_of(item))
    try:
        plan = plan_views(*image.size, item.mpp, how.view_px, how.mpp)
        return list(read_views(image, Box(0, 0, *image.size), plan, how.view_px, how.interpolation, how.decoding))
    finally:
        image.close()


def read_all(manifest: hs.Manifest, encoder: hs.encoders.Encoder) -> None:
    with ThreadPoolExecutor(machine.n_cores()) as pool:
        for _ in pool.map(lambda item: len(views_of(item, manifest, encoder)), manifest):
            pass


def embed_all(manifest: hs.Manifest, encoder: hs.encoders.Encoder) -> None:
    failed = [one.reason for one in embed_items(manifest, manifest.path_of, encoder) if one.vector is None]
    if failed:
        raise SystemExit(failed[0])


def views_a_second(encoder: hs.encoders.Encoder, views: list[NDArray[np.uint8]], n: int) -> float:
    """The encoder on `n` views that lie in memory, as many calls at a time as it wants."""
    given = [views[at % len(views)] for at in range(n)]
    encoder.embed_images(given[:64])
    with Encoding(encoder) as encoding:
        return n / seconds(lambda: through(encoding, given))


def through(encoding: Encoding, views: list[NDArray[np.uint8]]) -> None:
    for view in views:
        encoding.put(view)
    encoding.flush()
    encoding.take(len(views), wait=True)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def hs_export(home: Path) -> None:
    from histoseek.encoders.export import export_encoder

    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    export_encoder(random_clip.save_clip(home / "clip-model"), home / "clip", mpp=0.5)


def draw_pictures(home: Path, tiles: int) -> None:
    """Tissue as files: 64 tiles, 4 RoIs, one large picture and dots, each shifted so that no two are the same."""
    fields = [draw(KINDS[at], 1024, 1024, 0.5, make_patient(at), at) for at in range(4)]
    for size, n in ((TILE, min(64, tiles)), (ROI, 4), (DOT, 4)):
        for at in range(n):
            picture = Image.fromarray(cut(np.roll(fields[at % 4], 37 * at, axis=1), size))
            picture.save(home / f"{size[0]}-{at}.jpg", quality=90)
            picture.save(home / f"{size[0]}-{at}.png", compress_level=1)
    Image.fromarray(cut(fields[0], LARGE)).save(home / f"{LARGE[0]}-0.png", compress_level=1)


def cut(field: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    width, height = size
    across, down = -(-width // field.shape[1]), -(-height // field.shape[0])
    return np.tile(field, (down, across, 1))[:height, :width]


if __name__ == "__main__":
    main()
