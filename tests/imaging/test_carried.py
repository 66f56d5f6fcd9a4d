"""What slides carry is listed, and nothing of it is passed on."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
from tifffile import FileHandle, TiffFile, TiffWriter

from histoseek.encoders import load_encoder
from histoseek.errors import InputError
from histoseek.imaging import open_slide
from histoseek.imaging.carried import ALLOWED, allowed_metadata, look_at, scan_folder
from histoseek.imaging.identifying import fields_of_text, marks_of_name, may_identify
from histoseek.index import Index
from histoseek.items import Box, Item, Manifest
from histoseek.phantom import write_slide

LIBRARY = "Aperio Image Library v11.2.1 \r\n"
SECRETS = {
    "Date": "03/14/21",
    "Time": "09:26:53",
    "User": "jdoe",
    "Filename": "S21-12345 Doe Jane",
    "ScanScope ID": "SS7001",
    "ImageID": "4711",
    "Title": "Doe^Jane",
}
REAL = Path(__file__).parents[3] / "shared" / "data" / "wsi" / "CMU-1-Small-Region.svs"


def write_svs(path: Path) -> Path:
    """A slide as Aperio's scanners leave it: thumbnail, label, macro, and who scanned what when."""
    rng = np.random.default_rng(0)
    tissue = rng.integers(100, 255, (320, 384, 3), dtype=np.uint8)
    fields = "".join(f"|{key} = {value}" for key, value in SECRETS.items())
    about = f"{LIBRARY}384x320 (128x128) JPEG/RGB Q=90|AppMag = 20|MPP = 0.5000|Exposure Time = 109{fields}"
    label = np.full((93, 77, 3), 255, np.uint8)
    macro = np.full((54, 160, 3), 200, np.uint8)
    how: dict[str, Any] = {"photometric": "rgb", "metadata": None, "software": False}
    with TiffWriter(path) as writer:
        writer.write(tissue, tile=(128, 128), compression="jpeg", description=about, **how)
        small = f"{LIBRARY}384x320 -> 192x160 - |AppMag = 20|MPP = 0.5000"
        writer.write(tissue[::2, ::2], rowsperstrip=16, compression="jpeg", description=small, **how)
        text = f"{LIBRARY}label 77x93"
        writer.write(label, rowsperstrip=16, compression="lzw", subfiletype=1, description=text, **how)
        text = f"{LIBRARY}macro 160x54"
        writer.write(macro, rowsperstrip=16, compression="jpeg", subfiletype=9, description=text, **how)
    return path


@pytest.fixture
def svs(tmp_path: Path) -> Path:
    return write_svs(tmp_path / "a.svs")


def test_the_slide_is_one_of_aperios(svs: Path) -> None:
    with openslide.OpenSlide(str(svs)) as slide:
        assert slide.properties["openslide.vendor"] == "aperio"
        assert set(slide.associated_images) == {"label", "macro", "thumbnail"}


def test_associated_images_and_identifying_fields_are_listed(svs: Path) -> None:
    found = look_at(svs)
    assert found.images == {"thumbnail": (192, 160), "label": (77, 93), "macro": (160, 54)}
    assert found.metadata == {f"ImageDescription: {key}": value for key, value in SECRETS.items()}
    assert found.verdict == "carries label and macro image, other images, metadata"
    assert found.reason == ""


def test_only_the_allowed_facts_come_out(svs: Path) -> None:
    expected = {"vendor": "aperio", "mpp": 0.5, "objective": 20.0, "width": 384, "height": 320, "levels": 1}
    assert allowed_metadata(svs) == expected
    assert tuple(expected) == ALLOWED


def test_values_that_are_no_such_facts_do_not_come_out(tmp_path: Path) -> None:
    with TiffWriter(tmp_path / "a.svs") as writer:
        about = f"{LIBRARY}128x128|AppMag = Doe Jane|MPP = jane"
        pixels = np.zeros((128, 128, 3), np.uint8)
        writer.write(pixels, photometric="rgb", tile=(128, 128), description=about, metadata=None)
    facts = allowed_metadata(tmp_path / "a.svs")
    assert facts["mpp"] is None and facts["objective"] is None
    assert allowed_metadata(write_slide(tmp_path / "b.tif", pixels, 0.5, ()))["vendor"] == "generic-tiff"


@pytest.mark.real_data
def test_only_the_allowed_facts_of_a_real_slide_come_out() -> None:
    if not REAL.is_file():
        pytest.skip("no real tissue beside the checkout")
    expected = {"vendor": "aperio", "mpp": 0.499, "objective": 20.0, "width": 2220, "height": 2967, "levels": 1}
    assert allowed_metadata(REAL) == expected
    found = look_at(REAL)
    assert set(found.images) == {"thumbnail", "label", "macro"}
    keys = {key.removeprefix("ImageDescription: ") for key in found.metadata}
    assert keys == {"ScanScope ID", "Filename", "Date", "Time", "User", "ImageID"}


def test_label_and_macro_are_never_read_into_an_index(
    svs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither through OpenSlide nor through the bytes of the file."""
    with TiffFile(svs) as file:
        assert len(file.pages) == 4
        secret = {
            byte
            for page in list(file.pages)[1:]
            for start, n_bytes in zip(page.dataoffsets, page.databytecounts, strict=True)
            for byte in range(start, start + n_bytes)
        }
    real_read, touched = FileHandle.read, set()

    def watched(handle: FileHandle, size: int = -1, /) -> bytes:
        start = handle.tell()
        content = real_read(handle, size)
        touched.update(range(start, start + len(content)))
        return content

    def refuse(_: object) -> None:
        raise AssertionError("associated images were asked for")

    monkeypatch.setattr(FileHandle, "read", watched)
    monkeypatch.setattr(openslide.OpenSlide, "associated_images", property(refuse))
    with closing(open_slide(svs)) as slide:
        slide.read(Box(0, 0, *slide.size), (48, 40))  # a thumbnail, made from the level's own pixels
    boxes = [Box(x, y, 128, 128) for x in (0, 128, 256) for y in (0, 128)]
    items = [Item(f"a#{box.x},{box.y}", svs.name, slide="a", box=box, mpp=0.5) for box in boxes]
    index = Index.build(Manifest.from_items(items, tmp_path), load_encoder("color"), tmp_path / "x.index")
    look_at(svs)
    allowed_metadata(svs)
    assert len(index) == 6
    assert touched, "the pixels were read some other way, which this test does not watch"
    assert not touched & secret
    kept = b"".join(path.read_bytes() for path in (tmp_path / "x.index").rglob("*") if path.is_file())
    assert not [value for value in SECRETS.values() if value.encode() in kept and len(value) > 4]


def test_a_drawn_slide_carries_nothing_but_its_description(tmp_path: Path) -> None:
    with TiffWriter(tmp_path / "plain.tif") as writer:
        pixels = np.zeros((128, 128, 3), np.uint8)
        writer.write(pixels, photometric="rgb", tile=(64, 64), software="scanner 3.1", resolution=(1, 1))
    found = look_at(tmp_path / "plain.tif")
    assert (found.images, found.metadata, found.verdict) == ({}, {}, "nothing found")
    drawn = look_at(write_slide(tmp_path / "drawn.tif", pixels, 0.5, ()))
    assert list(drawn.metadata) == ["ImageDescription: free text"]


def test_tags_of_every_page_are_looked_at(tmp_path: Path) -> None:
    tags = [(315, 2, 5, "Jane", False), (316, 2, 5, "PC17", False)]
    with TiffWriter(tmp_path / "a.tif") as writer:
        pixels = np.zeros((128, 128, 3), np.uint8)
        how: dict[str, Any] = {"photometric": "rgb", "metadata": None}
        writer.write(pixels, tile=(64, 64), datetime="2021:03:14 09:26:53", **how)
        writer.write(pixels[:50, :40], extratags=tags, datetime="2021:03:15 10:00:00", **how)
    found = look_at(tmp_path / "a.tif")
    assert found.metadata == {
        "DateTime": "2021:03:14 09:26:53",
        "DateTime (2)": "2021:03:15 10:00:00",
        "Artist": "Jane",
        "HostComputer": "PC17",
    }
    assert list(found.images.values()) == [(40, 50)]


OME = """<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:0-1">
<Experimenter ID="Experimenter:0" LastName="Doe"/><Instrument ID="Instrument:0"><Microscope SerialNumber="77"/>
</Instrument><Image ID="Image:0"><AcquisitionDate>2021-03-14T09:26:53</AcquisitionDate>
<Pixels ID="Pixels:0" SizeX="128" PhysicalSizeX="0.5" Type="uint8"/></Image></OME>"""
PHILIPS = """<?xml version="1.0" ?><DataObject ObjectType="DPUfsImport">
<Attribute Name="DICOM_ACQUISITION_DATETIME" Group="0x0008">20210314092653.000000</Attribute>
<Attribute Name="DICOM_BITS_STORED" Group="0x0028">"8"</Attribute></DataObject>"""


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        (OME, {"Experimenter/LastName", "Microscope/SerialNumber", "AcquisitionDate"}),
        (PHILIPS, {"DICOM_ACQUISITION_DATETIME"}),
        (json.dumps({"shape": [1, 2], "patient": "Doe"}), {"patient"}),
        ("Doe, Jane, left breast", {"free text"}),
        ("<broken Jane", {"free text"}),
        ('<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>', {"free text"}),
        ("Scanner|Width = 5|Patient = Doe", {"free text", "Patient"}),
        (f"{LIBRARY}macro 160x54", set()),
        ("", set()),
    ],
)
def test_descriptions_of_every_kind_are_understood_or_listed_as_text(text: str, keys: set[str]) -> None:
    assert {key for key, value in fields_of_text(text) if key == "free text" or may_identify(key, value)} == keys
    assert not any("root:" in value for _, value in fields_of_text(text))


@pytest.mark.parametrize(
    "key",
    [
        "aperio.Date", "hamamatsu.Created.Time", "leica.barcode", "mirax.GENERAL.SLIDE_ID", "openslide.barcode",
        "philips.DICOM_DEVICE_SERIAL_NUMBER", "dicom.PatientName", "dicom.StudyInstanceUID", "dicom.AccessionNumber",
        "dicom.InstitutionName", "ventana.OperatorID", "ventana.UnitNumber.JP2FileName", "zeiss.Information.User",
        "leica.creation-date", "hamamatsu.Reference.Label", "ReferringPhysicianName",
    ],
)  # fmt: skip
def test_keys_that_may_identify(key: str) -> None:
    assert may_identify(key, "x")
    assert not may_identify(key, " ")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("aperio.MPP", "0.5"), ("aperio.Exposure Time", "109"), ("openslide.vendor", "aperio"),
        ("openslide.associated.label.width", "77"), ("openslide.quickhash-1", "5c64"), ("Width", "12"),
        ("mirax.HIERARCHICAL.HIER_0_NAME", "Slide zoom level"), ("dicom.TransferSyntaxUID", "1.2"), ("Stage", "1"),
        ("hamamatsu.SourceLens", "20"), ("aperio.Parmset", "USM Filter"), ("Software", "v11.2.10"),
    ],
)  # fmt: skip
def test_keys_that_do_not_identify(key: str, value: str) -> None:
    assert not may_identify(key, value)


def test_a_date_is_found_under_any_key() -> None:
    for value in ("2021-03-14", "scanned 14.03.2021", "03/14/21", "20210314", "2021:03:14 09:00"):
        assert may_identify("aperio.Parmset", value), value
    for value in ("0.4990", "25.691574", "46000x32914", "11.2.1", "20"):
        assert not may_identify("aperio.Parmset", value), value


@pytest.mark.parametrize(
    ("name", "marks"),
    [
        ("2021-03-14_scan.svs", ("a date",)), ("scan_14.03.2021.svs", ("a date",)),
        ("20210314.svs", ("a date", "a long number")),
        ("0012345678.svs", ("a long number",)), ("S21-12345_A.svs", ("a long number",)), ("slide_12.svs", ()),
        ("CMU-1.svs", ()), ("P01_S1.tif", ()), ("TCGA-A1-A0SB-01Z-00-DX1.svs", ()),
    ],
)  # fmt: skip
def test_names_that_look_like_dates_or_numbers(name: str, marks: tuple[str, ...]) -> None:
    assert marks_of_name(name) == marks


def test_a_folder_is_scanned_whole_and_broken_files_have_their_reason(tmp_path: Path) -> None:
    write_svs(tmp_path / "b.svs")
    (tmp_path / "2021-03-14").mkdir()
    write_slide(tmp_path / "2021-03-14" / "x.tif", np.zeros((128, 128, 3), np.uint8), 0.5, ())
    whole = (tmp_path / "b.svs").read_bytes()
    (tmp_path / "cut.svs").write_bytes(whole[:3000])
    with TiffFile(tmp_path / "b.svs") as file:
        (tmp_path / "half.tif").write_bytes(whole[: file.pages[2].offset])  # type: ignore[union-attr]
    (tmp_path / "text.ndpi").write_text("no slide")
    (tmp_path / "sealed.isyntax").write_bytes(b"Philips")
    (tmp_path / "series.dcm").write_bytes(b"")
    (tmp_path / "note.txt").write_text("Jane Doe")
    (tmp_path / "._b.svs").write_bytes(b"resource fork")
    seen: list[tuple[int, int]] = []
    found = {one.path: one for one in scan_folder(tmp_path, lambda done, total: seen.append((done, total)))}
    assert list(found) == [
        "2021-03-14/x.tif",
        "b.svs",
        "cut.svs",
        "half.tif",
        "sealed.isyntax",
        "series.dcm",
        "text.ndpi",
    ]
    assert seen[-1] == (7, 7) and len(seen) == 7
    assert found["2021-03-14/x.tif"].name_marks == ("a date",)
    failed = {name for name, one in found.items() if one.reason}
    assert failed == {"cut.svs", "half.tif", "sealed.isyntax", "series.dcm", "text.ndpi"}
    assert all("not looked at in full" in found[name].verdict for name in failed)


def test_a_folder_without_slides_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no slides"):
        scan_folder(tmp_path)
    with pytest.raises(InputError, match="no folder"):
        scan_folder(tmp_path / "nothing")
