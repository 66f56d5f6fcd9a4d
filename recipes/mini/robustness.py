"""How steady an encoder is, turned and stained anew, and how fast."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence

import numpy as np
from atlas import HELD_OUT, both, scale
from figures import Figure
from numpy.typing import NDArray
from PIL import Image

import histoseek as hs
from histoseek.encoders.encoder import Encoder
from histoseek.imaging.stain import EOSIN, HAEMATOXYLIN, combine_stains, separate_stains, stain_matrix
from histoseek.items import Item

Pixels = NDArray[np.uint8]

N_TILES, SEED, K = 200, 0, 10
AMOUNT, OFFSET, DEGREES = (0.75, 1.25), 0.03, 5.0
ROUNDS, VIEWS = 5, 512

RESTAINED = (
    "each copy has its own seeded draw: the amounts of haematoxylin, eosin and residual are found with the vectors of "
    "Ruifrok & Johnston, those of haematoxylin and of eosin each multiplied by "
    f"U({AMOUNT[0]}, {AMOUNT[1]}) and moved by U(−{OFFSET}, {OFFSET}) of optical density, and put together again with "
    f"both vectors turned by U(0, {DEGREES:g}) degrees in a random direction"
)


def steadiness(index: hs.Index, n_tiles: int = N_TILES) -> Iterator[Figure]:
    """Mean top-10 Jaccard between the hits of a tile and those of its turned and of its re-stained copies."""
    tiles = sampled(index, n_tiles)
    gallery = len(index.manifest.where(scale("20x")))
    protocol = (
        f"mean Jaccard of the ids of the first {K} hits; {len(tiles)} held-out H&E tiles at 20x drawn with seed "
        f"{SEED}; gallery the {gallery} H&E tiles at 20x, the query's own case shut out"
    )
    turned, restained = [], []
    for nth, item in enumerate(tiles):
        with Image.open(index.manifest.path_of(item)) as image:
            pixels = np.asarray(image.convert("RGB"))
        plain = hits_of(index, item, pixels)
        turned.append([jaccard(plain, hits_of(index, item, np.rot90(pixels, turns))) for turns in (1, 2, 3)])
        restained.append(jaccard(plain, hits_of(index, item, restain(pixels, np.random.default_rng([SEED, nth])))))
    yield _mean("rotation", turned, f"rotation: {protocol}; the three right-angle turns that change something")
    yield _mean("re-staining", restained, f"re-staining: {protocol}; {RESTAINED}")


def _mean(what: str, values: Sequence[object], protocol: str) -> Figure:
    per_tile = np.array(values, dtype=float).reshape(len(values), -1).mean(axis=1)
    spread = {f"{share:.0%} quantile": float(np.quantile(per_tile, share)) for share in (0.1, 0.5, 0.9)}
    return Figure(what, f"Jaccard@{K}", float(per_tile.mean()), protocol, details=spread)


def sampled(index: hs.Index, n_tiles: int) -> list[Item]:
    """Held-out tiles at 20x, drawn without replacement."""
    held = sorted(index.manifest.where(both(HELD_OUT, scale("20x"))), key=lambda item: item.id)
    drawn = np.random.default_rng(SEED).permutation(len(held))[:n_tiles]
    return [held[at] for at in np.sort(drawn)]


def hits_of(index: hs.Index, item: Item, pixels: Pixels) -> set[str]:
    """Ids of the first hits for pixels of a tile, its case shut out."""
    case = item.group.replace("'", "''")
    hits = index.search(
        image=np.ascontiguousarray(pixels), mpp=item.mpp, k=K, where=both(scale("20x"), f"\"group\" != '{case}'")
    )
    return {hit.item.id for hit in hits}


def jaccard(one: set[str], other: set[str]) -> float:
    """The share of what both hold in what either holds."""
    return len(one & other) / len(one | other)


def restain(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A copy `[H, W, 3]` as if stained elsewhere; see `RESTAINED`."""
    amounts = separate_stains(pixels)
    amounts[..., :2] = amounts[..., :2] * rng.uniform(*AMOUNT, 2) + rng.uniform(-OFFSET, OFFSET, 2)
    return combine_stains(amounts, stain_matrix(tilted(HAEMATOXYLIN, rng), tilted(EOSIN, rng)))


def tilted(vector: Sequence[float], rng: np.random.Generator) -> NDArray[np.float64]:
    """A stain vector turned by a random angle in a random direction."""
    unit = np.asarray(vector) / np.linalg.norm(vector)
    aside = rng.standard_normal(3)
    aside -= aside @ unit * unit
    angle = np.radians(rng.uniform(0, DEGREES))
    turned: NDArray[np.float64] = np.cos(angle) * unit + np.sin(angle) * aside / np.linalg.norm(aside)
    return turned


def speed(name: str, views: int = VIEWS) -> Iterator[Figure]:
    """Views a second of an encoder folder in f32 on two threads; nothing for other encoders."""
    from histoseek.encoders.folder import FolderEncoder

    encoder: Encoder = hs.load_encoder(name, threads=2, precision="f32")
    if not isinstance(encoder, FolderEncoder):
        return
    side = encoder.fingerprint.preprocessing.view_px
    pixels = np.random.default_rng(SEED).integers(0, 256, (views, side, side, 3), dtype=np.uint8)
    busy = os.getloadavg()[0]
    encoder.embed_images(pixels[: views // 4])
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        encoder.embed_images(pixels)
        seconds.append(time.perf_counter() - start)
    protocol = (
        f"speed: encoder folder through OpenVINO, f32, 2 threads, `embed_images` of {views} random views, median of "
        f"{ROUNDS} rounds after warm-up, {os.cpu_count()} processors; compare only encoders measured on an idle machine"
    )
    rates = {"view_px": side, "slowest": views / max(seconds), "fastest": views / min(seconds), "load before": busy}
    yield Figure("speed", "views/s", views / float(np.median(seconds)), protocol, details=rates)
