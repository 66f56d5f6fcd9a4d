"""Which files are slides, in folders, tables and known datasets."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from histoseek.datasets import Scan, find_dataset, prepare, prepare_with_report
from histoseek.datasets.slide_files import one_of_each_series
from histoseek.errors import InputError
from histoseek.phantom import draw_field, make_patient, write_slide

ANNOTATED = """<Annotations><Annotation><Regions>
<Region Text="Carcinoma  invasive "><Vertices>
<Vertex X="0" Y="0"/><Vertex X="320" Y="0"/><Vertex X="320" Y="512"/><Vertex X="0" Y="512"/>
</Vertices></Region></Regions></Annotation></Annotations>"""


@pytest.fixture(scope="module")
def picture() -> NDArray[np.uint8]:
    return draw_field(640, 512, 0.5, make_patient(0, 0), 1, ("stroma",)).picture


def scan(source: Path, name: str = "slides", **options: Any) -> Scan:
    dataset = find_dataset(name)
    return dataset.scan(source, **dataset.read_options(options))


def dicom(path: Path, series: str, size: int) -> Path:
    """A file that names its series as DICOM does, and nothing else."""
    value = series.encode()
    element = b"\x20\x00\x0e\x00UI" + struct.pack("<H", len(value)) + value
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\0" * 128 + b"DICM" + element + b"\0" * size)
    return path


def test_slides_and_tiffs_are_taken_and_companions_are_not(tmp_path, plant):
    files = ["a.svs", "b.tif", "c.TIFF", "d.mrxs", "d/Data0000.dat", "d/Slidedat.ini", "e.png", "a.svs.jpg", "t.csv"]
    plant(tmp_path, files)
    (tmp_path / "t.csv").write_text("x\n1\n")
    assert [item.path for item in scan(tmp_path).items] == ["a.svs", "b.tif", "c.TIFF", "d.mrxs"]


def test_labels_splits_groups_and_tables_are_those_of_a_folder(tmp_path, plant):
    plant(tmp_path, ["train/A/P1_x.svs", "test/B/P2_y.svs"])
    (tmp_path / "t.csv").write_text("file,patient,site\nP1_x.svs,7,skin\n")
    assert [(item.label, item.split) for item in scan(tmp_path).items] == [("B", "test"), ("A", "train")]
    assert [item.group for item in scan(tmp_path, group=r"(P\d)_").items] == ["P2", "P1"]
    joined = scan(tmp_path, sidecar="t.csv").items
    assert [(item.group, item.extra.get("site")) for item in joined] == [
        ("slides/test/B/P2_y.svs", None),
        ("7", "skin"),
    ]
    assert {item.label for item in scan(tmp_path, label="none").items} == {None}


def test_one_file_stands_for_a_dicom_series(tmp_path):
    dicom(tmp_path / "s1" / "level1.dcm", "1.2.3", 100)
    dicom(tmp_path / "s1" / "level0.dcm", "1.2.3", 900)
    dicom(tmp_path / "s1" / "other.dcm", "1.2.4", 10)
    dicom(tmp_path / "s2" / "level0.dcm", "1.2.3", 10)
    (tmp_path / "s2" / "odd.dcm").write_bytes(b"x")
    (tmp_path / "s2" / "odder.dcm").write_bytes(b"xx")
    files = [
        "s1/level0.dcm",
        "s1/level1.dcm",
        "s1/other.dcm",
        "s2/level0.dcm",
        "s2/odd.dcm",
        "s2/odder.dcm",
        "s2/x.svs",
    ]
    kept, notes = one_of_each_series(tmp_path, files)
    assert kept == ["s1/level0.dcm", "s1/other.dcm", "s2/level0.dcm", "s2/odder.dcm", "s2/x.svs"]
    assert "2 .dcm files belong to the series of another one" in notes[0]
    assert len(scan(tmp_path).items) == len(scan(tmp_path, "folder").items) == 4


def test_slides_of_the_same_name_are_told_apart(tmp_path, picture):
    for place in ("x/1.tif", "y/1.tif", "y/2.tif"):
        write_slide(tmp_path / place, picture, 0.5)
    tiles = list(prepare("slides", tmp_path, tile_px=64))
    assert {item.slide for item in tiles} == {"x/1", "y/1", "2"}
    assert {(item.group, item.group_source) for item in tiles} == {(name, "slide") for name in ("x/1", "y/1", "2")}


def test_slides_in_any_folder_and_table_become_tiles_beside_flat_images(tmp_path, plant, picture):
    write_slide(tmp_path / "A" / "1.svs", picture, 0.5)
    plant(tmp_path, ["A/2.png", "B/3.png"])
    manifest = prepare("folder", tmp_path, tile_px=64)
    flat = [item for item in manifest if item.box is None]
    tiles = [item for item in manifest if item.box is not None]
    assert [(item.id, item.label) for item in flat] == [("folder/A/2.png", "A"), ("folder/B/3.png", "B")]
    assert tiles and {item.label for item in tiles} == {"A"}
    (tmp_path / "t.csv").write_text(
        "path,label,patient,mpp,box_x,box_y,box_width,box_height\n"
        "A/1.svs,x,P1,0.25,,,,\nA/1.svs,y,P1,,100,50,64,32\nA/1.svs,y,P1,,600,0,64,32\nA/2.png,z,P2,,,,,\n"
    )
    prepared = prepare_with_report("csv", tmp_path / "t.csv", tile_px=64)
    own = next(item for item in prepared.manifest if item.label == "y")
    assert (own.box, own.width, own.height, own.mpp, own.mpp_source) == ((100, 50, 64, 32), 64, 32, 0.5, "file")
    assert own.sha256 == next(item for item in prepared.manifest if item.label == "x").sha256
    assert {(item.mpp, item.mpp_source) for item in prepared.manifest if item.label == "x"} == {(0.25, "table")}
    assert [row.reason for row in prepared.skipped] == ["the box (600, 0, 64, 32) is not inside the 640 × 512 image"]


def test_settings_of_tiles_are_refused_where_there_are_no_slides(tmp_path, plant):
    plant(tmp_path, ["A/1.png", "B/2.png"])
    with pytest.raises(InputError, match=r"'tile_px' is for slides, and the dataset 'folder' has found none"):
        prepare("folder", tmp_path, tile_px=64)
    assert len(prepare("folder", tmp_path, work_dir=tmp_path / "w")) == 2
    assert not (tmp_path / "w").exists()


def test_nothing_is_needed_of_the_extra_where_there_are_no_slides(tmp_path, plant):
    plant(tmp_path, ["A/1.png", "B/2.png"])
    code = (
        "import sys\n"
        "for name in ('openslide', 'tifffile', 'zarr', 'scipy', 'shapely', 'defusedxml', 'imagecodecs'):\n"
        "    sys.modules[name] = None\n"
        "import histoseek as hs\n"
        f"print(len(hs.prepare('folder', {str(tmp_path)!r})))\n"
        "from pathlib import Path\n"
        f"Path({str(tmp_path / 'x.svs')!r}).write_bytes(b'x')\n"
        "try:\n"
        f"    hs.prepare('slides', {str(tmp_path)!r})\n"
        "except hs.HistoseekError as error:\n"
        "    print(error)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.splitlines()[0] == "2"
    assert "pip install 'histoseek[slides]'" in told.splitlines()[1]


def test_bach_slides_are_labelled_by_their_annotations(tmp_path, picture, plant):
    root = tmp_path / "ICIAR2018_BACH_Challenge"
    for name in ("A01", "A02", "07"):
        write_slide(root / "WSI" / f"{name}.svs", picture, None)
    write_slide(tmp_path / "ICIAR2018_BACH_Challenge_TestDataset" / "WSI" / "07.svs", picture, 0.5)
    (root / "WSI" / "A01.xml").write_text(ANNOTATED)
    Image.new("RGB", (4, 4)).save(root / "WSI" / "odd.svs", "TIFF")
    plant(root, ["WSI/gt_thumbnails/A01.png", "WSI/thumbnails/07.png", "Photos/Benign/b001.tif"])
    prepared = prepare_with_report("bach", tmp_path, subset="wsi", tile_px=64)
    labels: dict[str, set[str | None]] = {}
    for item in prepared.manifest:
        labels.setdefault(item.slide or "", set()).add(item.label)
        assert item.box is not None
        if item.label is not None:
            side = item.box.width
            assert (item.label == "Invasive") == (min(320, item.box.x + side) - item.box.x >= side / 2)
    assert labels == {"A01": {"Invasive", "Normal"}, "A02": {None}, "07": {None}, "test-07": {None}}
    assert {(item.slide, item.mpp, item.mpp_source) for item in prepared.manifest} == {
        ("A01", 0.467, "dataset-doc"),
        ("A02", 0.467, "dataset-doc"),
        ("07", 0.467, "dataset-doc"),
        ("test-07", 0.5, "file"),
    }
    assert {item.split for item in prepared.manifest if item.slide == "test-07"} == {"unlabelled"}
    assert [row.id for row in prepared.skipped] == ["ICIAR2018_BACH_Challenge/WSI/odd.svs"]
    assert any("1 slides lack their .xml" in note for note in prepared.summary.notes)
    other = prepare("bach", tmp_path, subset="wsi", tile_px=64, outside="elsewhere")
    assert "elsewhere" in {item.label for item in other}
