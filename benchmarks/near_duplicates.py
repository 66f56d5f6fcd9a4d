"""How far the vectors of near-duplicates lie apart, and those of different pictures: where `collapse` draws its line.

    python benchmarks/near_duplicates.py [--patients 16 | --manifest my.parquet]

Drawn tissue or your own, each picture beside copies of it that were saved again, cut a little differently or made a
little brighter, and beside the most similar of all other pictures.
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
from histoseek.index.near_duplicates import line_of
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
    parser.add_argument("--manifest", type=Path, help="flat images of your own")
    parser.add_argument("--most", type=int, default=400, help="pictures taken of a manifest, drawn by lot")
    given = parser.parse_args()
    if given.manifest is not None:
        of_manifest(hs.Manifest.read(given.manifest), given.most)
        return
    with tempfile.TemporaryDirectory() as folder:
        home = write_sample(Path(folder) / "sample", n_patients=given.patients, seed=3)
        of_manifest(hs.prepare("folder", home, sidecar=home / "patients.csv"), given.most)


def of_manifest(manifest: hs.Manifest, most: int) -> None:
    """Print what both bundled encoders say of the pictures of a manifest."""
    items = list(manifest)
    chosen = np.random.default_rng(0).permutation(len(items))[:most]
    some = [items[at] for at in sorted(chosen)]
    pictures = [Image.open(manifest.path_of(item)).convert("RGB") for item in some]
    for name in ("mini", "color"):
        tell(name, some, pictures)


def tell(name: str, items: list[hs.Item], pictures: list[Image.Image]) -> None:
    """Print what one encoder says."""
    encoder = hs.load_encoder(name)

    def vectors(change: Callable[[Image.Image], Image.Image]) -> NDArray[np.float32]:
        both = zip(pictures, items, strict=True)
        return np.stack([embed_box(image_of(change(picture)), None, item.mpp, encoder) for picture, item in both])

    own = vectors(lambda picture: picture)
    groups = np.unique([one.group for one in items], return_inverse=True)[1]
    others = np.where(groups[:, None] == groups, -1.0, own @ own.T).max(axis=1)
    above = line_of(others)
    print(f"\n{name}, {len(own)} pictures; above {above:.4f}:")
    for what, change in COPIES.items():
        row(what, (own * vectors(change)).sum(axis=1), above)
    row("nearest of other groups", others, above)


def row(what: str, cosines: NDArray[np.float32], above: float) -> None:
    low, middle, high = np.percentile(cosines, (5, 50, 95))
    share = float(np.mean(cosines > above))
    print(f"{what:24} {share:6.1%}   5 %: {low:.4f}   median {middle:.4f}   95 %: {high:.4f}   max {cosines.max():.4f}")


def saved(picture: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(stream)


if __name__ == "__main__":
    main()
