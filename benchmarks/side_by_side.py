"""Embedding with Histoseek against what people use today: same images, same weights, each way in its own process.

python benchmarks/side_by_side.py            # peers: pip install '.[bench]'; open_clip: pip install '.[openclip]'
python benchmarks/side_by_side.py --device cuda --only "plain transformers loop" "histoseek index, PyTorch bf16"
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that it runs as a script and in a process of its own

from benchmarks import machine
from benchmarks.layers import print_ceiling, print_layers
from benchmarks.peers import WAYS
from benchmarks.random_clip import save_clip
from histoseek.errors import HistoseekError

SIZES = {"512 × 512": (512, 1.0), "1774 × 1774": (1774, 0.25)}
"""Side in pixels, and the share of `--images`. The second has the pixels of 2048 × 1536 but is square, so all ways
see the same: of an oblong image others take the middle, and Histoseek lays several views."""

VIEW_PX = 224
PLAIN = "plain transformers loop"
OURS = "histoseek index, f32"
PACKAGES = (
    *("histoseek", "openvino", "torch", "transformers", "sentence-transformers", "open-clip-torch", "onnxruntime"),
    *("nncf", "pillow", "numpy"),
)
DRAWN = 14
"""Different drawings; the images are parts of them, moved."""


def main() -> None:
    asked = _asked()
    with tempfile.TemporaryDirectory() as folder:
        place = asked.place or Path(folder)
        if not (place / "folder").exists():
            _child("--prepare", place, "--images", asked.images)
        print(_machine(asked.device), flush=True)
        for size in SIZES:
            rates = _table(place, size, asked)
            if asked.device == "cpu":
                print_ceiling(place / "folder" / "image.onnx", VIEW_PX, rates)
        if asked.device == "cpu":
            folders = {"f32": place / "folder", "int8": place / "folder-int8"}
            print_layers({name: folder for name, folder in folders.items() if folder.exists()}, VIEW_PX)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--place", type=Path, help="an empty folder for images and models; filled, they are used again")
    return parser.parse_args()


def _machine(device: str) -> str:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} not installed")
    where = f"{machine.told()}, device {device}, Python {platform.python_version()}"
    return f"{where}; {', '.join(found)}; seed 0; ViT-B/32 CLIP of random weights"


def _table(place: Path, size: str, asked: argparse.Namespace) -> dict[str, float]:
    """Measure all ways in turns, print their table, and give the rates that are held against the machine's limit."""
    told: dict[str, list[dict[str, Any]]] = defaultdict(list)
    why: dict[str, str] = {}
    for _ in range(asked.rounds):
        for name in [PLAIN, *(name for name in asked.only if name != PLAIN)]:
            if WAYS[name].missing():
                why[name] = f"not installed: {', '.join(WAYS[name].missing())}"
            if name not in why:
                answer = _child("--measure", name, place, size, asked.device)
                if "reason" in answer:
                    why[name] = answer["reason"]
                else:
                    told[name].append(answer)
    plain = statistics.median(one["rate"] for one in told[PLAIN])
    n = len(list((place / size).glob("*.jpg")))
    print(f"\n{n} images of {size}, JPEG; {asked.rounds} rounds in turns, medians\n")
    print("| way | images/s | ratio | CPU s an image | peak MB | cosine, smallest | mean |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name in WAYS:
        if name in told:
            rate, cpu, peak = (statistics.median(one[key] for one in told[name]) for key in ("rate", "cpu", "peak"))
            cosines = " | ".join(f"{told[name][-1][key]:.6f}" for key in ("least", "mean"))
            cosines = cosines if WAYS[name].has_same_weights else "other weights | –"
            print(f"| {name} | {rate:.1f} | {rate / plain:.2f} | {cpu:.3f} | {peak:.0f} | {cosines} |")
        elif name in why:
            print(f"| {name} | {why[name]} | – | – | – | – | – |")
    print(flush=True)
    return {name: statistics.median(one["rate"] for one in told[name]) for name in (PLAIN, OURS) if name in told}


def _child(*arguments: object) -> dict[str, Any]:
    command = [sys.executable, __file__, *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"{' '.join(map(str, arguments))} failed:\n{ended.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return answer


def measure(name: str, place: Path, size: str, device: str) -> dict[str, Any]:
    """Load a way, let it embed a few images that do not count, and measure it on all of them."""
    files = sorted((place / size).glob("*.jpg"))
    try:
        run = WAYS[name].load(place, device)
    except HistoseekError as error:  # a precision that this machine has not
        return {"reason": str(error)}
    run(files[:16])
    before, start = _cpu_seconds(), time.perf_counter()
    rows = run(files)
    seconds, cpu = time.perf_counter() - start, _cpu_seconds() - before
    reference = place / f"{size}.npy"
    if name == PLAIN:  # it comes first
        np.save(reference, rows)
    cosines = (np.load(reference) * rows).sum(axis=1) if WAYS[name].has_same_weights else np.zeros(1)
    return {
        "rate": len(files) / seconds,
        "cpu": cpu / len(files),
        "peak": machine.peak_mb(),
        "least": float(cosines.min()),
        "mean": float(cosines.mean()),
    }


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def prepare(place: Path, n_images: int) -> None:
    """Draw the images, save the model, and write its encoder folders."""
    for name, (side, share) in SIZES.items():
        draw_images(place / name, side, max(16, round(n_images * share)), seed=0)
    draw_images(place / "calibration", 512, 128, seed=100)  # other patients than those that are compared
    save_clip(place / "model")
    import histoseek as hs
    from histoseek.encoders import export_encoder

    export_encoder(place / "model", place / "folder")
    if not [name for name in ("nncf", "onnxruntime") if _is_missing(name)]:
        from histoseek.encoders.int8 import export_int8

        images = sorted((place / "calibration").glob("*.jpg"))
        export_int8(
            place / "folder",
            hs.Manifest.from_items([hs.Item(file.name, file.name) for file in images], images[0].parent),
            place / "folder-int8",
        )


def draw_images(folder: Path, side: int, n: int, seed: int) -> None:
    """Save `n` JPEG files of drawn tissue, each a few drawings moved, so that no two are the same."""
    from histoseek.phantom import KINDS, draw, make_patient

    drawn = [draw(KINDS[at % len(KINDS)], 896, 896, 0.5, make_patient(seed + at), seed + at) for at in range(DRAWN)]
    folder.mkdir()
    for at in range(n):
        moved = np.roll(drawn[at % DRAWN], (37 * at, 61 * at), (0, 1))
        times = -(-side // len(moved))
        picture = np.tile(moved, (times, times, 1))[:side, :side]
        Image.fromarray(picture).save(folder / f"{at:05d}.jpg", quality=90)


def _is_missing(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is None


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(sys.argv[2], Path(sys.argv[3]), sys.argv[4], sys.argv[5])))
    elif sys.argv[1:2] == ["--prepare"]:
        prepare(Path(sys.argv[2]), int(sys.argv[4]))
        print("{}")
    else:
        main()
