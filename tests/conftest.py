"""What tests of several rooms share: a tiny encoder of pictures and words, and a small archive on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from histoseek.encoders.encoder import EncoderCard, Fingerprint, Preprocessing, no_text_tower, unit_rows
from histoseek.items import Item, Manifest, sha256_of
from tests.milvus_server import milvus_server
from tests.stores.s3_server import s3_endpoint

__all__ = ["milvus_server", "s3_endpoint"]  # fixtures

COLOURS = {"red": (200, 40, 40), "green": (40, 180, 60), "blue": (40, 60, 200)}
SIDE = 16


@pytest.fixture(scope="session", autouse=True)
def cache_of_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the cache of whoever runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HISTOSEEK_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


class TinyEncoder:
    """Projects views of 16 × 16 pixels at random; a colour's name is embedded as a plain picture of that colour."""

    def __init__(self, *, has_text: bool = True, weights: str = "tiny") -> None:
        self.card = EncoderCard("tiny", 32, has_text, "MIT", True)
        self.fingerprint = Fingerprint("tiny", weights, Preprocessing(SIDE, 0.5))
        self.n_embedded = 0
        self._weights = np.random.default_rng(5).normal(size=(SIDE * SIDE * 3, 32))

    def embed_images(self, views: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        self.n_embedded += len(views)
        assert all(view.shape == (SIDE, SIDE, 3) and view.dtype == np.uint8 for view in views)
        return unit_rows(np.stack([(view.ravel() / 255 - 0.4) @ self._weights for view in views]))

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if not self.card.has_text:
            raise no_text_tower(self.card)
        return np.concatenate([self.embed_images([self._plain(text)]) for text in texts])

    def _plain(self, text: str) -> NDArray[np.uint8]:
        colour = next((rgb for name, rgb in COLOURS.items() if name in text.lower()), (128, 128, 128))
        return np.full((SIDE, SIDE, 3), colour, dtype=np.uint8)


def draw_square(label: str, rng: np.random.Generator, size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    """A noisy picture in the colour `label`."""
    noise = rng.normal(0, 45, (size[1], size[0], 3))
    return Image.fromarray(np.clip(noise + COLOURS[label], 0, 255).astype(np.uint8))


def write_archive(folder: Path, n_groups: int = 9, per_group: int = 4, seed: int = 0) -> Manifest:
    """`n_groups` patients with `per_group` pictures each, on two slides; every third item has the other labels."""
    rng = np.random.default_rng(seed)
    names = list(COLOURS)
    items = []
    for group in range(n_groups):
        for nth in range(per_group):
            label = names[(group + (nth == 3)) % 3]
            name = f"p{group}_{nth}.png"
            draw_square(label, rng).save(folder / name)
            items.append(
                Item(
                    id=f"toy/p{group}_{nth}",
                    path=name,
                    dataset="toy",
                    label=label,
                    group=f"p{group}",
                    group_source="patient",
                    slide=f"p{group}s{nth % 2}",
                    split="train" if group % 3 else "test",
                    mpp=0.5,
                    width=SIDE,
                    height=SIDE,
                    sha256=sha256_of(folder / name),
                    caption=f"a {label} square",
                    extra={"nth": nth},
                )
            )
    return Manifest.from_items(items, folder, {"dataset": "toy"})


@pytest.fixture
def tiny() -> TinyEncoder:
    """An encoder of pictures and words."""
    return TinyEncoder()


@pytest.fixture
def make_encoder() -> type[TinyEncoder]:
    """The class of tiny encoders, for other ones than `tiny`."""
    return TinyEncoder


@pytest.fixture
def archive(tmp_path: Path) -> Manifest:
    """Nine patients with four pictures each, on disk."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    return write_archive(folder)
