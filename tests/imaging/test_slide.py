from __future__ import annotations

import gc
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tifffile import TiffFile, TiffWriter, imwrite

from histoseek.errors import ImageError, MissingExtraError
from histoseek.imaging import OpenReaders, open_flat, open_pixels, open_slide, pyramid
from histoseek.imaging.flat import FlatImage
from histoseek.imaging.resolution import mpp_of_properties
from histoseek.imaging.slide import OpenSlideImage
from histoseek.imaging.tiff import TiffImage
from histoseek.items import Box
from histoseek.phantom import draw, make_patient, write_slide

COLOURS = ((200, 0, 0), (0, 200, 0), (0, 0, 200))


def plain(width: int, height: int, colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((height, width, 3), colour, dtype=np.uint8)


def coloured_levels(path: Path) -> Path:
    """A pyramid whose levels betray themselves by their colour."""
    with TiffWriter(path) as writer:
        for number, (shrink, colour) in enumerate(zip((1, 4, 16), COLOURS, strict=True)):
            kind = {"subfiletype": 1} if number else {}
            level = plain(1024 // shrink, 768 // shrink, colour)
            writer.write(level, photometric="rgb", tile=(64, 64), metadata=None, **kind)
    return path


@pytest.mark.parametrize("reader", [OpenSlideImage, TiffImage])
@pytest.mark.parametrize(("shrink", "level"), [(1, 0), (3, 0), (4, 1), (8, 1), (16, 2), (64, 2)])
def test_a_coarse_read_uses_the_coarsest_level_that_is_fine_enough(
    tmp_path: Path, shrink: int, level: int, reader: type
) -> None:
    with closing(reader(coloured_levels(tmp_path / "a.tif"))) as slide:
        pixels = slide.read(Box(256, 128, 512, 384), (512 // shrink, 384 // shrink))
    assert (pixels == COLOURS[level]).all()


@pytest.mark.parametrize("reader", [OpenSlideImage, TiffImage])
def test_reads_at_any_scale_agree_with_the_picture(tmp_path: Path, reader: type) -> None:
    picture = draw("gland", 900, 700, 0.5, make_patient(1), 3)
    slide = reader(write_slide(tmp_path / "a.tif", picture, 0.5))
    for box, out in ((Box(100, 50, 512, 512), (160, 160)), (Box(301, 203, 401, 397), (50, 49))):
        part = Image.fromarray(picture).crop((box.x, box.y, box.x + box.width, box.y + box.height))
        expected = np.asarray(part.resize(out, Image.Resampling.BICUBIC), dtype=float)
        off = np.abs(slide.read(box, out) - expected).mean()
        assert off < 5
        shifted = np.asarray(part.resize(out, Image.Resampling.BICUBIC, box=(8, 8, *part.size)), dtype=float)
        assert np.abs(slide.read(box, out) - shifted).mean() > 2 * off  # a place that is off would be seen
    slide.close()


def test_strips_give_the_same_pixels_as_one_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (600, 500, 3), dtype=np.uint8)
    slide = open_slide(write_slide(tmp_path / "a.tif", picture, 0.5, steps=()))
    whole = {how: slide.read(Box(3, 7, 490, 590), (77, 91), how) for how in pyramid.RESAMPLING}
    monkeypatch.setattr(pyramid, "PIXELS_AT_ONCE", 490 * 60)
    for how, pixels in whole.items():
        assert np.array_equal(slide.read(Box(3, 7, 490, 590), (77, 91), how), pixels)
    slide.close()


def test_pyramid_and_one_level_have_the_scale_that_was_written(tmp_path: Path) -> None:
    picture = plain(300, 200, COLOURS[0])
    for mpp, steps in ((0.46, (4, 4)), (None, (4,)), (0.5, ())):
        with closing(open_slide(write_slide(tmp_path / "a.tif", picture, mpp, steps))) as slide:
            assert (slide.mpp, len(slide.levels)) == (mpp, 1 + len(steps))


@pytest.mark.parametrize(
    ("properties", "mpp"),
    [
        ({}, None),
        ({"openslide.mpp-x": "0.25", "aperio.MPP": "0.5"}, 0.25),
        ({"openslide.mpp-x": "1000", "aperio.MPP": "0.5"}, 0.5),
        ({"openslide.mpp-x": "no", "openslide.mirax.MPP": "0.33", "aperio.MPP": "0.5"}, 0.33),
        ({"aperio.MPP": "0.5", "hamamatsu.XResolution": "0.23"}, 0.5),
        ({"hamamatsu.XResolution": "0.23", "openslide.comment": "MPP = 0.4"}, 0.23),
        ({"hamamatsu.XResolution": "40000"}, 0.25),
        ({"openslide.comment": "Aperio|AppMag = 20|MPP = 0.4990|Left = 3", "tiff.XResolution": "1"}, 0.499),
        ({"tiff.XResolution": "20000", "tiff.ResolutionUnit": "centimeter"}, 0.5),
        ({"tiff.XResolution": "50800", "tiff.ResolutionUnit": "inch"}, 0.5),
        ({"tiff.XResolution": "72", "tiff.ResolutionUnit": "inch"}, None),
        ({"tiff.XResolution": "20000"}, None),
        ({"openslide.mpp-x": "nan"}, None),
        ({"openslide.mpp-x": "-0.5"}, None),
    ],
)
def test_the_first_possible_statement_of_the_scale_counts(properties: dict[str, str], mpp: float | None) -> None:
    assert mpp_of_properties(properties) == mpp


def test_tifffile_reads_what_openslide_reads_and_is_taken_only_then(tmp_path: Path) -> None:
    """The faster reader stands in where both see the same; a slide in other colours stays with OpenSlide."""
    path = write_slide(tmp_path / "a.tif", draw("fat", 600, 400, 0.5, make_patient(2), 3), 0.5)
    with closing(open_slide(path)) as chosen, closing(OpenSlideImage(path)) as other:
        assert isinstance(chosen, TiffImage)
        box = Box(77, 31, 500, 333)
        assert np.abs(chosen.read(box, (500, 333)).astype(int) - other.read(box, (500, 333))).max() <= 1
    planes = tmp_path / "b.tif"
    imwrite(planes, plain(600, 400, COLOURS[0])[..., 0], photometric="miniswhite", tile=(64, 64))  # 0 is white
    with closing(open_slide(planes)) as chosen:
        assert isinstance(chosen, OpenSlideImage)


def test_tiles_that_were_not_scanned_are_white_wherever_a_read_begins(tmp_path: Path) -> None:
    picture = draw("stroma", 768, 768, 0.5, make_patient(1), 3)
    path = write_slide(tmp_path / "a.tif", picture, 0.5, steps=())
    with TiffFile(path, mode="r+b") as tiff:
        counts = list(tiff.pages[0].databytecounts)
        counts[0] = counts[4] = 0
        tiff.pages[0].tags["TileByteCounts"].overwrite(counts)
    with closing(TiffImage(path)) as slide:
        pixels = slide.read(Box(100, 100, 600, 600), (600, 600))
        assert (pixels[:156, :156] == 255).all() and (pixels[156:412, 156:412] == 255).all()
        assert np.abs(pixels[:156, 156:412].astype(float) - picture[100:256, 256:512]).mean() < 6
        assert (slide.read(Box(200, 0, 300, 50), (300, 50))[:, :56] == 255).all()


@pytest.mark.parametrize(
    ("pixels", "how"),
    [
        (np.dstack([plain(300, 200, COLOURS[0]), np.full((200, 300), 9, np.uint8)]), {"extrasamples": ["unassalpha"]}),
        (np.zeros((200, 300), np.uint8), {"photometric": "miniswhite"}),
        (np.zeros((200, 300), np.uint8), {"photometric": "palette", "colormap": np.full((3, 256), 65535, np.uint16)}),
    ],
)
def test_what_is_not_shown_as_stored_is_left_to_openslide(tmp_path: Path, pixels: np.ndarray, how: dict) -> None:
    imwrite(tmp_path / "a.tif", pixels, tile=(64, 64), **({"photometric": "rgb"} | how))
    with pytest.raises(ImageError, match="only 8-bit RGB or grey is read"):
        TiffImage(tmp_path / "a.tif")


def test_the_scale_of_ome_counts_more_than_the_resolution_tag(tmp_path: Path) -> None:
    picture = plain(600, 400, COLOURS[0])
    with TiffWriter(tmp_path / "a.ome.tif") as writer:
        metadata = {"axes": "YXS", "PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm"}
        how = {"photometric": "rgb", "tile": (64, 64), "resolution": (1000, 1000), "resolutionunit": "CENTIMETER"}
        writer.write(picture, metadata=metadata, **how)
    with closing(open_slide(tmp_path / "a.ome.tif")) as slide:
        assert slide.mpp == 0.25


def test_without_the_extra_small_pyramids_are_flat_and_slides_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_slide(tmp_path / "a.tif", plain(600, 400, COLOURS[0]), 0.5)
    (tmp_path / "b.svs").write_bytes((tmp_path / "a.tif").read_bytes())
    monkeypatch.delitem(sys.modules, "histoseek.imaging.slide")
    monkeypatch.setitem(sys.modules, "openslide", None)
    with closing(open_pixels(tmp_path / "a.tif")) as image:
        assert isinstance(image, FlatImage)
    with pytest.raises(MissingExtraError, match=r"pip install 'histoseek\[slides\]'"):
        open_pixels(tmp_path / "b.svs")


def damaged_tile(path: Path, number: int) -> Path:
    """Overwrite one JPEG tile of the full level with noise."""
    with TiffFile(path) as tiff:
        at, length = tiff.pages[0].dataoffsets[number], tiff.pages[0].databytecounts[number]
    content = bytearray(path.read_bytes())
    content[at : at + length] = np.random.default_rng(1).bytes(length)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("reader", [OpenSlideImage, TiffImage])
def test_a_corrupt_tile_is_named_by_its_place_and_the_rest_stays_readable(tmp_path: Path, reader: type) -> None:
    picture = draw("stroma", 768, 512, 0.5, make_patient(1), 3)
    damaged = damaged_tile(write_slide(tmp_path / "a.tif", picture, 0.5), 4)  # second row, second of three
    slide = reader(damaged)
    for _ in range(2):
        with pytest.raises(ImageError, match=r"\(300, 300, 64, 64\) cannot be decoded"):
            slide.read(Box(300, 300, 64, 64), (64, 64))
        good = slide.read(Box(0, 0, 256, 256), (256, 256))
        assert np.abs(good.astype(float) - picture[:256, :256]).mean() < 6
    slide.close()


def test_what_is_no_slide_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.svs").write_text("no slide")
    with pytest.raises(ImageError, match=r"text\.svs is no slide"):
        open_slide(tmp_path / "text.svs")
    with pytest.raises(ImageError, match=r"there is no slide .*gone\.svs"):
        open_slide(tmp_path / "gone.svs")
    whole = write_slide(tmp_path / "a.tif", plain(600, 600, COLOURS[1]), 0.5).read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[: len(whole) // 3])
    refused = pytest.raises(ImageError, match=r"cut\.tif.* cannot be (opened|decoded)")
    with refused, closing(open_slide(tmp_path / "cut.tif")) as slide:
        slide.read(Box(0, 0, 600, 600), (60, 60))
    imwrite(tmp_path / "deep.tif", np.zeros((64, 64), np.uint16))
    with pytest.raises(ImageError, match="only 8-bit RGB or grey is read"):
        open_slide(tmp_path / "deep.tif")


def test_a_tiff_is_a_slide_by_what_is_in_it(tmp_path: Path) -> None:
    picture = plain(300, 200, COLOURS[0])
    imwrite(tmp_path / "strips.tif", picture, photometric="rgb")
    imwrite(tmp_path / "tiles.tif", picture, photometric="rgb", tile=(64, 64))
    write_slide(tmp_path / "pyramid.tif", picture, 0.5)
    kinds = {"strips.tif": FlatImage, "tiles.tif": FlatImage, "pyramid.tif": TiffImage}
    for name, kind in kinds.items():
        with closing(open_pixels(tmp_path / name)) as image:
            assert isinstance(image, kind)


def test_scanned_glass_that_is_transparent_shows_white(tmp_path: Path) -> None:
    """OpenSlide gives pixels outside of what was scanned as transparent black."""
    slide = OpenSlideImage(write_slide(tmp_path / "a.tif", plain(100, 80, COLOURS[0]), 0.5, steps=()))
    assert (slide._read_level(0, 100, 0, 20, 20) == 255).all()


def test_slides_stay_open_and_flat_images_do_not(tmp_path: Path) -> None:
    slides = [write_slide(tmp_path / f"{n}.tif", plain(300, 200, COLOURS[0]), 0.5) for n in range(6)]
    Image.fromarray(plain(20, 20, COLOURS[0])).save(tmp_path / "flat.png")
    readers = OpenReaders()
    with readers.open(slides[0]) as one, readers.open(slides[0]) as two:
        assert one is two
        for other in slides[1:]:
            with readers.open(other):
                pass
        assert one.read(Box(0, 0, 9, 9), (9, 9)).shape == (9, 9, 3)  # in use, so not closed
    assert len(readers._kept) <= 5
    with readers.open(tmp_path / "flat.png") as flat:
        assert isinstance(flat, FlatImage)
    assert tmp_path / "flat.png" not in readers._kept
    readers.close()


def test_a_flat_image_says_its_one_level(tmp_path: Path) -> None:
    Image.fromarray(plain(20, 10, COLOURS[0])).save(tmp_path / "flat.png")
    with closing(open_flat(tmp_path / "flat.png")) as image:
        assert image.levels == ((20, 10),)


def test_flat_images_stay_open_within_a_limit_and_replaced_files_do_not(tmp_path: Path) -> None:
    for name in "abc":
        Image.fromarray(plain(40, 10, COLOURS[0])).save(tmp_path / f"{name}.png")
    readers = OpenReaders(flat_pixels=900)
    for name in "abc":
        with readers.open(tmp_path / f"{name}.png") as reader:
            assert reader.read(Box(0, 0, 2, 2), (2, 2)).shape == (2, 2, 3)
    assert [path.name for path in readers._kept] == ["b.png", "c.png"]
    with readers.open(tmp_path / "c.png") as before:
        Image.fromarray(plain(41, 10, COLOURS[1])).save(tmp_path / "c.png")
        with readers.open(tmp_path / "c.png") as after:
            assert (after.size, before.size) == ((41, 10), (40, 10))
            assert (before.read(Box(0, 0, 2, 2), (2, 2)) == COLOURS[0]).all()  # open for as long as it is used
    Image.fromarray(plain(400, 10, COLOURS[0])).save(tmp_path / "large.png")
    with readers.open(tmp_path / "large.png"):
        assert tmp_path / "large.png" not in readers._kept
    readers.close()


def test_readers_that_are_forgotten_leave_no_file_open(tmp_path: Path) -> None:
    place = write_slide(tmp_path / "a.tif", plain(300, 200, COLOURS[0]), 0.5, (4,))
    readers = OpenReaders()
    with readers.open(place) as reader:
        assert reader.size == (300, 200)
    closed, close = [], reader.close

    def noted() -> None:
        closed.append(place)
        close()

    reader.close = noted  # type: ignore[method-assign]
    readers.me = readers  # type: ignore[attr-defined]  # as in an application, which only the collector takes away
    del readers
    gc.collect()
    assert closed == [place]
