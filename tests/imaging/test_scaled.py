"""JPEG files decoded at a fraction of their size: the same place, nearly the same picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from histoseek.errors import ImageError
from histoseek.imaging import FlatImage, image_of, open_flat, plan_views, read_views
from histoseek.imaging.flat import flat_of_bytes
from histoseek.items import Box
from histoseek.phantom import draw, make_patient

SIZE = (501, 387)
"""Neither side is a multiple of a reduction, so that a mistake at a mirrored edge moves the picture."""

TISSUE = draw("gland", *SIZE, 0.5, make_patient(3), 3)
KINDS: dict[str, dict[str, Any]] = {
    "baseline": {"subsampling": 0},
    "subsampled": {"subsampling": 2},
    "progressive": {"progressive": True},
}


def saved(path: Path, turn: int = 1, mode: str = "RGB", **how: Any) -> Path:
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(TISSUE).convert(mode).save(path, exif=exif, quality=92, **how)
    return path


def decibels(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2)))


def both(flat: FlatImage, box: Box, out: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    return flat.read(box, out), flat.read(box, out, decoding="scaled")


@pytest.fixture
def reductions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The fractions at which JPEG files are decoded, in the order in which they are asked."""
    asked: list[int] = []
    draft = JpegImagePlugin.JpegImageFile.draft

    def noted(image: Any, mode: Any, size: Any) -> Any:
        made = draft(image, mode, size)
        asked.append(image.decoderconfig[0])
        return made

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "draft", noted)
    return asked


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("by", [3.2, 6.4, 12.6])
def test_any_box_of_a_turned_picture_is_where_it_is_in_full(turn: int, by: float, tmp_path: Path) -> None:
    flat = open_flat(saved(tmp_path / "a.jpg", turn))
    width, height = flat.size
    boxes = [Box(0, 0, width, height), Box(0, 0, 147, 201), Box(width - 147, height - 201, 147, 201)]
    boxes += [Box(31, 77, 150, 203), Box(width - 170, 5, 170, 301)]
    for box in boxes:
        out = (round(box.width / by), round(box.height / by))
        full, scaled = both(flat, box, out)
        assert scaled.shape == (out[1], out[0], 3)
        assert decibels(full, scaled) > (40 if by < 8 else 37)
        # A quarter of a pixel aside is already worse than what the decoder changes.
        shift = max(1, round(by / 4))
        beside = Box(
            *(min(at + shift, most - side) for at, most, side in zip(box, flat.size, box[2:], strict=False)), *box[2:]
        )
        if beside != box:
            assert decibels(flat.read(beside, out), scaled) < decibels(full, scaled)
    flat.close()


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_marked_corner_stays_in_its_corner(turn: int, tmp_path: Path) -> None:
    marked = np.full((67, 101, 3), 230, np.uint8)
    marked[:16, :24] = (120, 0, 120)
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(marked).save(tmp_path / "a.jpg", exif=exif, quality=95)
    flat = open_flat(tmp_path / "a.jpg")
    full, scaled = both(flat, Box(0, 0, *flat.size), (flat.size[0] // 6, flat.size[1] // 6))
    assert np.array_equal(full.mean(axis=2) < 150, scaled.mean(axis=2) < 150)
    flat.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_tissue_is_above_40_decibels_in_every_kind_of_jpeg(kind: str, mode: str, tmp_path: Path) -> None:
    flat = open_flat(saved(tmp_path / "a.jpg", mode=mode, **KINDS[kind]))
    full, scaled = both(flat, Box(0, 0, *SIZE), (SIZE[0] // 4, SIZE[1] // 4))
    assert decibels(full, scaled) > 40
    assert not np.array_equal(full, scaled)
    flat.close()


def test_views_of_a_plan_are_those_of_full_decoding_nearly(tmp_path: Path) -> None:
    flat = open_flat(saved(tmp_path / "a.jpg"))
    box, plan = Box(0, 0, *SIZE), plan_views(*SIZE, 0.25, 64, 0.9)
    full = list(read_views(flat, box, plan, 64, "bicubic"))
    scaled = list(read_views(flat, box, plan, 64, "bicubic", "scaled"))
    assert len(full) == len(scaled) > 1
    assert all(decibels(one, other) > 40 for one, other in zip(full, scaled, strict=True))
    flat.close()


@pytest.mark.parametrize(("out", "by"), [(85, 2), (43, 2), (42, 4), (22, 4), (21, 8), (5, 8)])
def test_the_decoded_picture_is_as_fine_as_what_is_asked(
    out: int, by: int, reductions: list[int], tmp_path: Path
) -> None:
    flat = open_flat(saved(tmp_path / "a.jpg"))
    flat.read(Box(3, 9, 256, 256), (out, out), decoding="scaled")
    assert reductions == [by]
    flat.close()


def test_what_is_shrunk_by_less_than_3_is_the_same(reductions: list[int], tmp_path: Path) -> None:
    flat = open_flat(saved(tmp_path / "a.jpg"))
    assert np.array_equal(*both(flat, Box(3, 9, 256, 256), (86, 60)))
    assert np.array_equal(*both(flat, Box(3, 9, 256, 256), (256, 256)))
    assert not reductions
    flat.close()


@pytest.mark.parametrize("opened", ["file", "bytes"])
def test_no_read_depends_on_those_before(opened: str, reductions: list[int], tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", 6)
    box = Box(20, 40, 240, 260)
    asked = [((16, 17), "scaled"), ((240, 260), "full"), ((70, 80), "scaled"), ((16, 17), "scaled"), ((9, 9), "full")]

    def reader() -> FlatImage:
        return open_flat(path) if opened == "file" else flat_of_bytes(path.read_bytes(), "JPEG")

    shared = reader()
    together = [shared.read(box, out, decoding=how) for out, how in asked]  # type: ignore[arg-type]
    assert reductions == [8, 2]  # each fraction is decoded once
    for (out, how), found in zip(asked, together, strict=True):
        alone = reader()
        assert np.array_equal(alone.read(box, out, decoding=how), found)  # type: ignore[arg-type]
        alone.close()
    assert (shared.size, shared.levels) == ((SIZE[1], SIZE[0]), ((SIZE[1], SIZE[0]),))
    shared.close()


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".webp", ".bmp"])
def test_other_formats_are_read_in_full(suffix: str, tmp_path: Path) -> None:
    Image.fromarray(TISSUE).save(tmp_path / f"a{suffix}")
    flat = open_flat(tmp_path / f"a{suffix}")
    assert np.array_equal(*both(flat, Box(0, 0, *SIZE), (50, 40)))
    flat.close()


def test_a_picture_that_is_decoded_already_is_read_in_full(tmp_path: Path) -> None:
    with Image.open(saved(tmp_path / "a.jpg")) as image:
        assert np.array_equal(*both(image_of(image), Box(0, 0, *SIZE), (50, 40)))


def test_a_broken_file_is_refused_at_every_size(tmp_path: Path) -> None:
    content = saved(tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[: len(content) // 2])
    flat = open_flat(tmp_path / "a.jpg")
    for out in ((50, 40), (50, 40), SIZE, (200, 150)):
        with pytest.raises(ImageError, match="cannot be decoded"):
            flat.read(Box(0, 0, *SIZE), out, decoding="scaled")
    flat.close()


def test_a_file_that_is_replaced_meanwhile_is_not_read_as_if_it_were_the_old_one(tmp_path: Path) -> None:
    flat = open_flat(saved(tmp_path / "a.jpg"))
    flat.read(Box(0, 0, *SIZE), (50, 40), decoding="scaled")
    Image.new("RGB", (64, 64)).save(tmp_path / "a.jpg")
    with pytest.raises(ImageError, match="changed while it was read"):
        flat.read(Box(0, 0, *SIZE), SIZE)
    flat.close()
