from __future__ import annotations

import csv
from collections import Counter

import pytest
from PIL import Image

from histoseek.errors import InputError
from histoseek.imaging import read_size
from histoseek.phantom import KINDS, SYNTHETIC, write_sample


def _rows(folder):
    with (folder / "patients.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _remark(image):
    remark = image.info.get("comment") or image.info.get("Comment") or image.tag_v2[270]
    return remark.decode() if isinstance(remark, bytes) else remark


def test_every_picture_has_a_row_and_every_row_a_picture(sample):
    rows = _rows(sample)
    pictures = {p.relative_to(sample).as_posix() for p in sample.rglob("*") if p.suffix in (".png", ".jpg", ".tif")}
    assert list(rows[0]) == ["file", "patient", "mpp", "scanner", "caption"]
    assert {row["file"] for row in rows} == pictures
    assert len(rows) == len(pictures) == 8 * 6 + 2
    for row in rows:
        kind, name = row["file"].split("/")
        assert kind in KINDS
        assert name.startswith(f"{row['patient']}_{kind.replace(' ', '-')}_")


def test_kinds_are_balanced_and_no_patient_has_them_all(sample):
    rows = _rows(sample)
    tiles = [row for row in rows if int(row["file"].rsplit("_", 1)[1].split(".")[0]) <= 6]
    assert set(Counter(row["file"].split("/")[0] for row in tiles).values()) == {6}
    assert set(Counter(row["file"].split("/")[0] for row in tiles)) == set(KINDS)
    for patient in {row["patient"] for row in rows}:
        assert len({row["file"].split("/")[0] for row in tiles if row["patient"] == patient}) < len(KINDS)


def test_scale_in_the_file_is_that_of_the_table(sample):
    for row in _rows(sample):
        width, height, mpp = read_size(sample / row["file"])
        assert min(width, height) >= 70
        assert mpp == pytest.approx(float(row["mpp"]), rel=1e-4)


def test_formats_and_sizes_are_mixed(sample):
    files = [sample / row["file"] for row in _rows(sample)]
    assert {path.suffix for path in files} == {".jpg", ".png", ".tif"}
    sizes = [read_size(path)[:2] for path in files]
    assert sum(width * height > 4 * 80 * 80 for width, height in sizes) == 2


def test_everything_says_that_it_is_synthetic(sample):
    assert "synthetic tissue, drawn by histoseek.phantom" in (sample / "README.txt").read_text(encoding="utf-8")
    for row in _rows(sample):
        assert row["caption"].startswith("Synthetic tissue")
        with Image.open(sample / row["file"]) as image:
            assert _remark(image) == SYNTHETIC


def test_same_seed_same_files(sample, tmp_path):
    again = write_sample(tmp_path / "again", 1, 2, seed=3, size=80)
    other = write_sample(tmp_path / "other", 1, 2, seed=4, size=80)
    for row in _rows(again)[:2]:
        assert (again / row["file"]).read_bytes() == (sample / row["file"]).read_bytes()
    assert {(other / row["file"]).read_bytes() for row in _rows(other)}.isdisjoint(
        {(again / row["file"]).read_bytes() for row in _rows(again)}
    )


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="not empty"):
        write_sample(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(InputError, match="at least one"):
        write_sample(tmp_path / "new", n_patients=0)
