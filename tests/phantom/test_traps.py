from __future__ import annotations

import csv
import warnings

import numpy as np
import pytest
from PIL import Image, ImageOps, UnidentifiedImageError

from histoseek.errors import InputError
from histoseek.phantom import draw, make_patient, plant_traps

NAMES = {
    "duplicate in another class",
    "duplicate in another patient",
    "truncated",
    "text named png",
    "zero bytes",
    "bomb",
    "Thumbs.db",
    "__MACOSX",
    ".DS_Store",
    "exif rotated",
    "16 bit",
    "cmyk",
    "rgba",
    "palette",
    "multi-page",
}


@pytest.fixture
def traps(sample_copy):
    return plant_traps(sample_copy)


def _rows(folder):
    with (folder / "patients.csv").open(newline="", encoding="utf-8") as stream:
        return {row["file"]: row for row in csv.DictReader(stream)}


def test_each_trap_is_there_and_listed_where_a_picture_would_be(sample_copy, sample, traps):
    rows = _rows(sample_copy)
    assert set(traps) == NAMES
    planted = {path for paths in traps.values() for path in paths}
    assert all(path.is_file() for path in planted)
    new = {path for path in sample_copy.rglob("*") if path.is_file()} - {
        sample_copy / path.relative_to(sample) for path in sample.rglob("*") if path.is_file()
    }
    assert new == planted - {traps[name][0] for name in NAMES if name.startswith("duplicate")}
    junk = {path for name in ("Thumbs.db", "__MACOSX", ".DS_Store") for path in traps[name]}
    listed = {path.relative_to(sample_copy).as_posix() for path in new - junk}
    assert listed == set(rows) - set(_rows(sample))
    assert not {path.relative_to(sample_copy).as_posix() for path in junk} & set(rows)


def test_duplicates_are_exact_and_cross_class_and_patient(sample_copy, traps):
    rows = _rows(sample_copy)

    def patient(path):
        return rows[path.relative_to(sample_copy).as_posix()]["patient"]

    original, relabelled = traps["duplicate in another class"]
    assert original.read_bytes() == relabelled.read_bytes()
    assert original.parent != relabelled.parent
    assert patient(original) == patient(relabelled)
    original, leaked = traps["duplicate in another patient"]
    assert original.read_bytes() == leaked.read_bytes()
    assert original.parent == leaked.parent
    assert patient(original) != patient(leaked)
    assert leaked.name.startswith(patient(leaked))


def test_truncated_files_open_but_do_not_load(traps):
    assert {path.suffix for path in traps["truncated"]} == {".jpg", ".png"}
    for path in traps["truncated"]:
        with Image.open(path) as image, pytest.raises(OSError, match="truncated"):
            image.load()


def test_what_is_no_picture_is_not_recognised(traps):
    for path in traps["text named png"] + traps["zero bytes"]:
        with pytest.raises(UnidentifiedImageError):
            Image.open(path)
    assert traps["zero bytes"][0].stat().st_size == 0


def test_the_bomb_is_small_on_disk_and_huge_unpacked(traps):
    (bomb,) = traps["bomb"]
    assert bomb.stat().st_size < 200_000
    with pytest.raises(Image.DecompressionBombError):
        Image.open(bomb)
    header = bomb.read_bytes()[16:24]
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:], "big")
    assert width * height > 400_000_000


def test_the_bomb_is_a_sound_file(tmp_path):
    from histoseek.phantom.traps import write_bomb

    write_bomb(tmp_path / "small.png", side=1000)
    with Image.open(tmp_path / "small.png") as image:
        assert image.size == (1000, 1000)
        assert np.asarray(image.convert("L")).min() == 255


def test_odd_pictures_show_the_same_tissue(sample_copy, traps):
    mpp = float(next(iter(_rows(sample_copy).values()))["mpp"])
    home = traps["cmyk"][0].parent.name
    upright = draw(home, 240, 200, mpp, make_patient(1), 5)
    modes = {"cmyk": "CMYK", "rgba": "RGBA", "palette": "P", "multi-page": "RGB"}
    for name, mode in modes.items():
        with Image.open(traps[name][0]) as image:
            assert image.mode == mode
            assert _apart(image.convert("RGB"), upright) < 12
    with Image.open(traps["exif rotated"][0]) as image:
        assert image.size == (200, 240)
        assert _apart(ImageOps.exif_transpose(image), upright) < 12
    with Image.open(traps["multi-page"][0]) as image:
        assert image.n_frames == 2


def _apart(image, upright):
    return np.abs(np.asarray(image, dtype=float) - upright).mean()


def test_deep_pictures_hold_sixteen_bits(traps):
    colour, grey, tiff = traps["16 bit"]
    assert colour.read_bytes()[24:26] == bytes([16, 2])  # bits a channel, colour type
    with Image.open(colour) as image:
        assert image.mode == "RGB"
        image.load()
    for path in (grey, tiff):
        with warnings.catch_warnings(), Image.open(path) as image:
            assert image.mode.startswith("I;16")
            assert np.asarray(image).max() > 50_000


def test_a_folder_without_a_sample_is_refused(tmp_path):
    with pytest.raises(InputError, match="write_sample first"):
        plant_traps(tmp_path)
