"""A small archive with every kind of picture, for tests of what the server shows."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import histoseek as hs
from histoseek.items import Box, sha256_of
from histoseek.phantom import draw_field, make_patient, write_slide
from tests.imaging.test_carried import write_svs

SIZE = (1300, 901)
MPP = 0.5
TILE = 128
KINDS = ("fat", "stroma", "solid tumour")
SECRET = "Jane Doe"


@cache
def drawn() -> NDArray[np.uint8]:
    """The tissue of the drawn slide."""
    return draw_field(*SIZE, MPP, make_patient(2), 5, KINDS).picture


def write_archive(home: Path) -> hs.Index:
    """A drawn slide cut into tiles, one one with label and macro images, a JPEG with EXIF, and a PNG."""
    write_slide(home / "P01" / "doe.tif", drawn(), MPP)
    items = [*tiles_of("P01/doe.tif", SIZE, "P01"), *tiles_of("P02/s.svs", (384, 320), "P02")]
    (home / "P02").mkdir()
    write_svs(home / "P02" / "s.svs")
    noted = Image.Exif()
    noted[0x010E] = SECRET
    rng = np.random.default_rng(4)
    for number, name in enumerate(("roi.jpg", "roi.png")):
        picture = Image.fromarray(rng.integers(60, 255, (300, 520, 3), dtype=np.uint8))
        picture.save(home / name, **({"exif": noted, "comment": SECRET} if name.endswith("jpg") else {}))
        items.append(
            hs.Item(
                f"toy/{name}", name, "toy", KINDS[number], f"P0{number + 3}", "patient", mpp=1.0, width=520, height=300,
                sha256=sha256_of(home / name), extra={"note": f"=1+{number}", "nth": number, "stain": "H&E"},
            )
        )  # fmt: skip
    manifest = hs.Manifest.from_items(items, home, {"dataset": "toy"})
    return hs.Index.build(manifest, hs.load_encoder("color"), home / "x.index")


def tiles_of(path: str, size: tuple[int, int], patient: str) -> list[hs.Item]:
    """Tiles side by side; their labels go with the column that they stand in."""
    places = [(x, y) for y in range(0, size[1] - TILE + 1, TILE) for x in range(0, size[0] - TILE + 1, TILE)]
    return [
        hs.Item(
            f"toy/{path}#{x},{y}", path, "toy", KINDS[x // TILE % 2], patient, "patient", slide=Path(path).stem,
            box=Box(x, y, TILE, TILE), mpp=MPP, width=TILE, height=TILE,
            extra={"note": None, "nth": x // TILE, "stain": "HES"},
        )
        for x, y in places
    ]  # fmt: skip
