"""How far the vectors of near-duplicates lie apart, and those of different pictures: where `collapse` draws its line.

    python benchmarks/near_duplicates.py [--patients 16]

Drawn tissue, each picture beside copies of it that were saved again, cut a little differently or stained a little
paler, and beside the most similar of all other pictures.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

import histoseek as hs
from histoseek.imaging import image_of
from histoseek.index.embedding import embed_box
from histoseek.index.near_duplicates import SAME
from histoseek.phantom import write_sample

SHIFT = 4
COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG, quality 90": lambda picture: saved(picture, 90),
    "JPEG, quality 50": lambda picture: saved(picture, 50),
    f"cut {SHIFT} pixels further": lambda picture: picture.crop((SHIFT, SHIFT, *picture.size)),
    "1 % larger": lambda picture: picture.resize((round(picture.width * 1.01), round(picture.height * 1.01))),
    "5 % brighter": lambda picture: ImageEnhance.Brightness(picture).enhance(1.05),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--patients", type=int, default=16)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = write_sample(Path(folder) / "sample", n_patients=given.patients, seed=3)
        manifest = hs.prepare("folder", home, sidecar=home / "patients.csv")
        pictures = [(Image.open(manifest.path_of(item)).convert("RGB"), item.mpp) for item in manifest]
        for name in ("mini", "color"):
            tell(name, pictures)


def tell(name: str, pictures: list[tuple[Image.Image, float | None]]) -> None:
    """Print what one encoder says."""
    encoder = hs.load_encoder(name)

    def vectors(change: Callable[[Image.Image], Image.Image]) -> NDArray[np.float32]:
        return np.stack([embed_box(image_of(change(picture)), None, mpp, encoder) for picture, mpp in pictures])

    own = vectors(lambda picture: picture)
    print(f"\n{name}, {len(own)} pictures; above {SAME}:")
    for what, change in COPIES.items():
        row(what, (own * vectors(change)).sum(axis=1))
    others = own @ own.T
    np.fill_diagonal(others, -1)
    row("nearest other picture", others.max(axis=1))


def row(what: str, cosines: NDArray[np.float32]) -> None:
    low, middle, high = np.percentile(cosines, (5, 50, 95))
    share = float(np.mean(cosines > SAME))
    print(f"{what:24} {share:6.1%}   5 %: {low:.4f}   median {middle:.4f}   95 %: {high:.4f}   max {cosines.max():.4f}")


def saved(picture: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(stream)


if __name__ == "__main__":
    main()
