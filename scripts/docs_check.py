"""Run every `bash` and `python` block of some pages, in order, beside small stand-ins for the data they name.

    python scripts/docs_check.py README.md docs/*.md

The stand-ins carry the official names and hold drawn tissue; a block that ends with an error fails the check.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

from histoseek.phantom import KINDS, draw, make_patient, write_sample

BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)

OPENING = (
    "histoseek prepare folder my_images/ --out mine.parquet -o sidecar=patients.csv\n",
    "histoseek index mine.parquet --out mine.index\n",
)
"""Commands that pages begin with, word for word: each runs once, and such a page goes on from what it left."""


def main(pages: list[Path]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        homes = [Path(folder) / f"after-{n}" for n in range(len(OPENING) + 1)]
        stand_ins(homes[0])
        for command, before, after in zip(OPENING, homes, homes[1:], strict=False):
            shutil.copytree(before, after)
            if not block_runs("bash", command, after):
                return 1
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # a page uses one core most of the time
            places = [Path(folder) / "pages" / str(number) for number in range(len(pages))]
            ran = list(pool.map(blocks_run, pages, [homes] * len(pages), places))
    return 0 if all(ran) else 1


def blocks_run(page: Path, homes: list[Path], home: Path) -> bool:
    """Run the blocks of a page in a copy of the stand-ins, or of what the page's first commands made of them."""
    since = time.monotonic()
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    n_begun = 0
    if blocks:
        n_begun = sum(blocks[0][1].startswith("".join(OPENING[: n + 1])) for n in range(len(OPENING)))
        blocks[0] = (blocks[0][0], blocks[0][1].removeprefix("".join(OPENING[:n_begun])))
    shutil.copytree(homes[n_begun], home)
    for language, block in blocks:
        if not block_runs(language, block, home):
            print(f"{page}: it stopped there", file=sys.stderr)
            return False
    print(f"{page.name}: {len(blocks)} blocks ran in {time.monotonic() - since:.0f} s", flush=True)
    return True


def block_runs(language: str, block: str, home: Path) -> bool:
    """Run a block in a folder; whether it ended well."""
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = ["bash", "-euo", "pipefail", "-c", block] if language == "bash" else [sys.executable, "-c", block]
    done = subprocess.run(command, cwd=home, env=env, check=False, stdout=subprocess.DEVNULL)
    if done.returncode:
        print(f"this block failed with {done.returncode}:\n{block}", file=sys.stderr)
    return not done.returncode


def stand_ins(home: Path) -> None:
    write_sample(home / "my_images", n_patients=6, images_per_patient=6, size=192)
    shutil.copy(next((home / "my_images").rglob("*.png")), home / "my_query.png")
    pictures = tiny_pictures()
    for name in [*bach_names(), *bracs_names(), *crc_names()]:
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        next(pictures).save(path)


def tiny_pictures() -> Iterator[Image.Image]:
    """Small pictures, all different, in an endless row."""
    drawn = [draw(kind, 96, 96, 0.5, make_patient(seed), seed) for seed, kind in enumerate(KINDS)]
    rng = np.random.default_rng(0)
    while True:
        for tissue in drawn:
            noise = rng.integers(0, 12, tissue.shape, dtype=np.uint8)
            yield Image.fromarray(np.clip(tissue.astype(int) - noise, 0, 255).astype(np.uint8))


def bach_names() -> Iterator[str]:
    for prefix, label in (("n", "Normal"), ("b", "Benign"), ("is", "InSitu"), ("iv", "Invasive")):
        for number in range(1, 101):
            yield f"ICIAR2018_BACH_Challenge/Photos/{label}/{prefix}{number:03d}.tif"


def bracs_names() -> Iterator[str]:
    codes = ("N", "PB", "UDH", "FEA", "ADH", "DCIS", "IC")
    for at, split in enumerate(("train", "val", "test")):
        for digit, code in enumerate(codes):
            for roi in (1, 2, 3):
                folder = f"histoimage.na.icar.cnr.it/BRACS_RoI/latest_version/{split}/{digit}_{code}"
                yield f"{folder}/BRACS_{1000 + 100 * at + 10 * digit + roi}_{code}_{roi}.png"


def crc_names() -> Iterator[str]:
    table = files("histoseek.datasets") / "facts" / "extended_crc_folds.csv"
    for row in csv.DictReader(table.read_text(encoding="utf-8").splitlines()):
        yield f"Extended_CRC/Original_Images/{row['Image_Names']}"


if __name__ == "__main__":
    sys.exit(main([Path(page).resolve() for page in sys.argv[1:]]))
