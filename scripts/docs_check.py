"""Run every `bash` and `python` block of some pages, in order, beside small stand-ins for the data they name.

    python scripts/docs_check.py README.md docs/*.md

The stand-ins carry the official names and hold drawn tissue; a block that ends with an error fails the check.
"""

from __future__ import annotations

import csv
import os
import re
import shlex
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

SHARED = (
    (
        "histoseek prepare folder my_images/ --out mine.parquet -o sidecar=patients.csv\n",
        "histoseek index mine.parquet --out mine.index\n",
        "histoseek evaluate mine.index --out mine-report\n",
    ),
    (
        "histoseek prepare bach ICIAR2018_BACH_Challenge/ --out bach.parquet\n",
        "histoseek index bach.parquet --where \"split = 'train'\" --out bach.index\n",
        "histoseek evaluate bach.index --queries bach.parquet --where \"split = 'test'\" --out bach-report\n",
    ),
    (
        "histoseek prepare crc Extended_CRC/ --out crc.parquet\n",
        "histoseek index crc.parquet --out crc.index\n",
        'histoseek evaluate crc.index --protocol split --gallery "fold IN (1, 2)" --where "fold = 0" --out crc-fold0\n',
    ),
)
"""Commands that several pages give, word for word: each runs once, and where a page gives it, what it made is copied.

In a row each goes on from the one before, and on every page too.
"""


def main(pages: list[Path]) -> int:
    n_cores = os.cpu_count()  # a page uses one most of the time
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(n_cores) as pool:
        folder = Path(name)
        stand_ins(folder / "stand-ins")
        made: dict[str, Path] = {}
        for outcome in pool.map(lambda row: shared_run(row, folder), SHARED):
            made |= outcome
        if len(made) < sum(map(len, SHARED)):
            return 1
        ran = list(pool.map(lambda page: blocks_run(page, made, folder), pages))
    return 0 if all(ran) else 1


def shared_run(row: tuple[str, ...], folder: Path) -> dict[str, Path]:
    """Run commands that several pages give; for each that ended well, a folder with what it made."""
    made: dict[str, Path] = {}
    home = Path(tempfile.mkdtemp(dir=folder))
    shutil.copytree(folder / "stand-ins", home, dirs_exist_ok=True)
    for command in row:
        known = set(home.iterdir())
        if not block_runs("bash", command, home):
            break
        made[command] = Path(tempfile.mkdtemp(dir=folder))
        for new in set(home.iterdir()) - known:
            (shutil.copytree if new.is_dir() else shutil.copy)(new, made[command] / new.name)
    return made


def blocks_run(page: Path, made: dict[str, Path], folder: Path) -> bool:
    """Run the blocks of a page beside a copy of the stand-ins."""
    since = time.monotonic()
    home = Path(tempfile.mkdtemp(dir=folder))
    shutil.copytree(folder / "stand-ins", home, dirs_exist_ok=True)
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    for language, block in blocks:
        for command, outcome in made.items():
            block = block.replace(command, f"cp -r {shlex.quote(str(outcome))}/. .\n")
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
