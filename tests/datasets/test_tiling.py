from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histoseek.cli import main
from histoseek.datasets import prepare, prepare_with_report, tiling
from histoseek.errors import InputError
from histoseek.items import Manifest, spool
from histoseek.phantom import draw_field, make_patient, write_slide

KINDS = ("gland", "stroma")


@pytest.fixture(scope="module")
def field():
    """A drawn slide of 1200 × 900 pixels at 0.5 µm, and what it shows where."""
    return draw_field(1200, 900, 0.5, make_patient(3), 5, KINDS)


@pytest.fixture
def folder(tmp_path: Path, field) -> Path:
    home = tmp_path / "slides"
    for patient, name, mpp in (("P1", "a", 0.5), ("P1", "b", 0.5), ("P2", "c", 0.25)):
        write_slide(home / patient / f"{patient}_{name}.tif", field.picture, mpp)
    return home


def plain_slide(path: Path, level: int, mpp: float | None = 0.5, steps: tuple[int, ...] = (4,)) -> Path:
    return write_slide(path, np.full((700, 900, 3), level, np.uint8), mpp, steps)


def test_tiles_lie_on_tissue_at_the_scale_asked_for(folder: Path, field) -> None:
    manifest = prepare("slides", folder, tile_px=128, tile_mpp=0.5)
    for item in manifest:
        side = 128 if item.slide != "P2_c" else 256
        assert item.box is not None and item.box[2:] == (side, side)
        assert (item.width, item.height) == (side, side)
        assert item.id == f"slides/{item.path}#{item.box.x},{item.box.y},{side},{side}"
        assert item.extra["tissue"] >= 0.5
        assert (item.extra["slide_width"], item.extra["slide_height"]) == (1200, 900)
    assert Counter(item.mpp for item in manifest).keys() == {0.5, 0.25}
    found = {item.box[:2] for item in manifest if item.slide == "P1_a"}
    for region in field.regions:  # every tile inside a drawn region is there
        x, y, width, height = region.box
        if region.kind == "gland":
            inside = {
                (left, top)
                for left in range(0, 1200 - 127, 128)
                for top in range(0, 900 - 127, 128)
                if left >= x and top >= y and left + 128 <= x + width and top + 128 <= y + height
            }
            assert inside <= found
    assert (0, 0) not in found


def test_patients_come_from_the_pattern_and_slides_are_groups_without_one(folder: Path) -> None:
    assert {item.group for item in prepare("slides", folder)} == {"P1_a", "P1_b", "P2_c"}
    grouped = prepare("slides", folder, group=r"(P\d)_")
    assert {(item.slide, item.group) for item in grouped} == {("P1_a", "P1"), ("P1_b", "P1"), ("P2_c", "P2")}


def test_the_table_gives_slides_their_label_patient_and_scale(folder: Path) -> None:
    write_slide(folder / "P3" / "P3_d.tif", np.asarray(Image.new("RGB", (700, 700), (180, 90, 150))), None)
    (folder / "slides.csv").write_text("file,label,patient,mpp\nP1/P1_a.tif,tumour,X,\nP3/P3_d.tif,other,Y,0.5\n")
    prepared = prepare_with_report("slides", folder, sidecar="slides.csv")
    known = {(item.slide, item.label, item.group) for item in prepared.manifest if item.slide in ("P1_a", "P3_d")}
    assert known == {("P1_a", "tumour", "X"), ("P3_d", "other", "Y")}
    assert {item.extra["label_source"] for item in prepared.manifest if item.slide == "P1_a"} == {"slide"}


def test_annotations_label_what_they_cover_and_the_rest_is_outside(folder: Path) -> None:
    square = [[[0, 0], [640, 0], [640, 900], [0, 900], [0, 0]]]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": square}}
    feature["properties"] = {"classification": {"name": "Invasive carcinoma"}}
    (folder / "P1" / "P1_a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    (folder / "P1" / "P1_b.geojson").write_text("{}")
    (folder / "P2" / "P2_c.qpdata").write_bytes(b"\xac\xed")
    prepared = prepare_with_report("slides", folder, tile_px=128, outside="Normal", labels="bach")
    of_a = [item for item in prepared.manifest if item.slide == "P1_a"]
    assert {item.label for item in of_a} == {"Invasive", "Normal"}
    assert all((item.label == "Invasive") == (item.box.x + 64 <= 640) for item in of_a)
    assert {item.extra["slide_label"] for item in of_a} == {"P1"}
    assert {item.label for item in prepared.manifest if item.slide == "P1_b"} == {None}
    assert {item.label for item in prepared.manifest if item.slide == "P2_c"} == {"P2"}
    lines = "\n".join(prepared.summary.lines())
    assert "P1_b.tif: its tiles have no label" in lines
    assert "exportObjectsToGeoJson" in lines


def test_bad_slides_each_give_their_sentence_and_good_ones_stay(folder: Path) -> None:
    whole = (folder / "P1" / "P1_a.tif").read_bytes()
    (folder / "cut.tif").write_bytes(whole[: len(whole) // 2])
    (folder / "text.svs").write_text("no slide")
    plain_slide(folder / "empty.tif", 245)
    plain_slide(folder / "unscaled.tif", 200, mpp=None)
    write_slide(folder / "flat.tif", np.asarray(Image.new("RGB", (700, 700), (180, 90, 150))), 0.5, steps=())
    prepared = prepare_with_report("slides", folder)
    reasons = {row.id.removeprefix("slides/"): row.reason for row in prepared.skipped}
    assert set(reasons) == {"cut.tif", "text.svs", "empty.tif", "unscaled.tif"}
    assert "cannot be" in reasons["cut.tif"]
    assert "is no slide" in reasons["text.svs"]
    assert reasons["empty.tif"].startswith("no tissue was found")
    assert reasons["unscaled.tif"] == (
        "unscaled.tif states no usable resolution; pass --mpp (µm per pixel), or give it in a column mpp of a sidecar "
        "table"
    )
    assert {item.slide for item in prepared.manifest} == {"P1_a", "P1_b", "P2_c", "flat"}
    assert any("flat.tif: has one level only" in line for line in prepared.summary.lines())
    stated = prepare("slides", folder, mpp=0.5)
    assert "user" in {item.mpp_source for item in stated if item.slide == "P1_a"}


def test_quality_columns_and_tiles_as_files(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "tiles"
    manifest = prepare("slides", folder, quality=True, write_tiles=out, tile_px=128)
    rows = manifest.table.to_pylist()
    assert all(row["blur"] > 0 and 0 <= row["white"] <= 1 and row["pen"] == 0 for row in rows)
    files = sorted(out.rglob("*.jpg"))
    assert len(files) == len(manifest)
    with Image.open(files[0]) as tile:
        assert tile.size == (128, 128)


def test_work_that_was_killed_is_not_done_again(folder: Path, tmp_path: Path, field) -> None:
    for number in range(6):
        write_slide(folder / f"more{number}.tif", field.picture, 0.5)
    out = tmp_path / "m.parquet"
    command = [sys.executable, "-m", "histoseek", "prepare", "slides", str(folder), "--out", str(out)]
    options = ["-o", "quality=yes", "-o", "tile_px=32", "-o", "workers=1"]
    work = tmp_path / "m.slides"
    process = subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while process.poll() is None and len(list(work.glob("[!.]*.parquet"))) < 3:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in work.glob("[!.]*.parquet")}
    assert 3 <= len(kept) < 9 and not out.exists()
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    assert f"{len(kept)} slides were done before" in done.stdout
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in kept} == kept
    assert len({item.slide for item in Manifest.read(out)}) == 9


def n_done_before(manifest: Manifest) -> int:
    told = [note for note in manifest.facts["notes"] if "were done before" in note]
    return int(told[0].split()[0]) if told else 0


def test_a_changed_slide_or_setting_is_worked_on_anew(folder: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    first = prepare("slides", folder, work_dir=work)
    assert any("3 slides were done before" in note for note in prepare("slides", folder, work_dir=work).facts["notes"])
    assert not any(
        "done before" in note for note in prepare("slides", folder, work_dir=work, tile_px=64).facts["notes"]
    )
    again = prepare_with_report("slides", folder, work_dir=work)
    assert again.manifest.table.equals(first.table)
    os.utime(folder / "P1" / "P1_a.tif", ns=(1, 1))
    assert any("2 slides were done before" in n for n in prepare("slides", folder, work_dir=work).facts["notes"])
    next(work.glob("*.parquet")).write_bytes(b"torn")
    assert prepare("slides", folder, work_dir=work).table.equals(first.table)


def test_previews_and_exit_codes_on_the_command_line(folder: Path, tmp_path: Path, capsys) -> None:
    (folder / "text.svs").write_text("no slide")
    with pytest.raises(SystemExit) as ended:
        main(["prepare", "slides", str(folder), "--out", str(tmp_path / "m.parquet"), "--preview"])
    assert ended.value.code == 1
    assert len(list((tmp_path / "m.slides").glob("*.png"))) == 3
    assert (tmp_path / "skipped.csv").read_text().count("\n") == 2
    (folder / "text.svs").unlink()
    with pytest.raises(SystemExit) as ended:
        main(["prepare", "folder", str(folder), "--out", str(tmp_path / "n.parquet"), "--preview"])
    assert ended.value.code == 2
    assert "option 'preview' is for slides, and the dataset 'folder' has found none" in capsys.readouterr().err


def test_a_manifest_of_slides_hands_its_columns_on(folder: Path, tmp_path: Path) -> None:
    table = "id,path,label,group,split\nx/1,P1/P1_a.tif,DCIS,67,train\nx/2,P2/P2_c.tif,N,8,test\n"
    (folder / "list.csv").write_text(table)
    manifest = prepare("slides", folder / "list.csv")
    assert {(item.slide, item.label, item.group, item.split) for item in manifest} == {
        ("P1_a", "DCIS", "67", "train"),
        ("P2_c", "N", "8", "test"),
    }


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ({"tile_px": 4}, "tile_px must be between"),
        ({"overlap": "1"}, "overlap must be between"),
        ({"tissue": 2.0}, "tissue must be between"),
        ({"cover": 0.0}, "cover must be above 0"),
        ({"annotations": "nowhere"}, "no folder of annotations"),
        ({"preview": True}, "previews need a place"),
        ({"tiles": 3}, "no option 'tiles'"),
    ],
)
def test_wrong_settings_are_refused(folder: Path, option: dict[str, object], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        prepare("slides", folder, **option)


def test_tiles_that_are_written_are_not_written_again_and_old_ones_go(folder: Path, tmp_path: Path) -> None:
    out, work = tmp_path / "tiles", tmp_path / "work"

    def made(**options: object) -> tuple[Manifest, dict[Path, int]]:
        manifest = prepare("slides", folder, write_tiles=out, work_dir=work, **options)
        return manifest, {path: path.stat().st_mtime_ns for path in out.rglob("*.jpg")}

    first, files = made(tile_px=128)
    assert {path.name for path in files} == {f"{item.box.x}_{item.box.y}.jpg" for item in first if item.box}
    lost = min(files)
    lost.unlink()
    again, refilled = made(tile_px=128)
    assert again.table.equals(first.table)
    assert {path for path in files if refilled[path] != files[path]} == {lost}
    other, smaller = made(tile_px=96)
    assert len(smaller) == len(other)
    with Image.open(min(smaller)) as tile:
        assert tile.size == (96, 96)


def test_tiles_as_files_show_the_slide_where_they_say(folder: Path, tmp_path: Path, field) -> None:
    prepare("slides", folder, write_tiles=tmp_path / "tiles", tile_px=128)
    place = next((tmp_path / "tiles").glob("P1_P1_a*"))
    for path in sorted(place.glob("*.jpg"))[:5]:
        x, y = map(int, path.stem.split("_"))
        with Image.open(path) as tile:
            shown = np.asarray(tile).astype(int)
        assert np.abs(shown - field.picture[y : y + 128, x : x + 128]).mean() < 6


def torn_slide(path: Path, picture: np.ndarray) -> Path:
    """A pyramid one of whose full-size tiles holds noise instead of a JPEG."""
    from tifffile import TiffFile

    write_slide(path, picture, 0.5)
    with TiffFile(path) as tiff:
        page = tiff.pages[0]
        columns = -(-page.imagewidth // 256)
        at = 1 * columns + 2  # x 512, y 256
        offset, size = page.dataoffsets[at], page.databytecounts[at]
    data = bytearray(path.read_bytes())
    data[offset : offset + size] = bytes(size)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("option", ["quality", "write_tiles"])
def test_a_tile_that_cannot_be_read_is_left_out_and_the_slide_stays(tmp_path: Path, field, option: str) -> None:
    torn_slide(tmp_path / "s" / "torn.tif", field.picture)
    value = True if option == "quality" else tmp_path / "tiles"
    options = {option: value, "work_dir": tmp_path / "work", "tile_px": 128}
    every = prepare("slides", tmp_path / "s", tile_px=128)
    lost = {item.id for item in every if item.box and 512 <= item.box.x < 768 and 256 <= item.box.y < 512}
    assert len(lost) == 4
    for _ in range(2):  # also when the work is taken as it was kept
        prepared = prepare_with_report("slides", tmp_path / "s", **options)
        assert {row.id for row in prepared.skipped} == lost
        assert all("torn.tif: the pixels at (" in row.reason for row in prepared.skipped)
        assert not any(str(tmp_path) in row.reason for row in prepared.skipped)
        assert {item.id for item in prepared.manifest} == {item.id for item in every} - lost


def test_previews_follow_the_settings(folder: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"

    def drawn(**options: object) -> dict[Path, int]:
        prepare("slides", folder, work_dir=work, **options)
        return {path: path.stat().st_mtime_ns for path in work.glob("*.png")}

    assert not drawn()
    first = drawn(preview=True)
    assert len(first) == 3
    assert drawn(preview=True) == first
    drawn(tile_px=64)
    assert not set(drawn(tile_px=64, preview=True).values()) & set(first.values())


def test_slides_that_are_new_are_the_only_ones_worked_on(folder: Path, tmp_path: Path, field) -> None:
    work = tmp_path / "work"
    prepare("slides", folder, work_dir=work)
    before = {path: path.stat().st_mtime_ns for path in work.glob("*.parquet")}
    write_slide(folder / "new.tif", field.picture, 0.5)
    seen = []
    prepared = prepare("slides", folder, work_dir=work, progress=lambda *at: seen.append(at))
    assert n_done_before(prepared) == 3
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    after = {path: path.stat().st_mtime_ns for path in work.glob("*.parquet")}
    assert before.items() <= after.items()
    assert len(after) == 4


def test_no_tissue_and_too_little_tissue_are_told_apart(tmp_path: Path) -> None:
    picture = np.full((700, 900, 3), 245, np.uint8)
    picture[300:400, 300:400] = (190, 90, 150)
    write_slide(tmp_path / "little.tif", picture, 0.5)
    plain_slide(tmp_path / "empty.tif", 245)
    write_slide(tmp_path / "full.tif", np.full((700, 900, 3), (190, 90, 150), np.uint8), 0.5)
    prepared = prepare_with_report("slides", tmp_path)
    reasons = {row.id: row.reason for row in prepared.skipped}
    assert reasons["slides/little.tif"].startswith("no tile holds 50% tissue; lower -o tissue")
    assert reasons["slides/empty.tif"].startswith("no tissue was found")
    assert any("1 slides show no tissue" in note for note in prepared.summary.notes)


def test_one_line_tells_of_many_slides_with_one_level(tmp_path: Path, field) -> None:
    for number in range(3):
        write_slide(tmp_path / f"{number}.tif", field.picture, 0.5, steps=())
    told = [note for note in prepare_with_report("slides", tmp_path).summary.notes if "one level" in note]
    assert len(told) == 1
    assert told[0].startswith("3 slides, the first of them 0.tif: has one level only")


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(folder: Path, tmp_path: Path, field) -> None:
    for number in range(12):
        write_slide(folder / f"more{number}.tif", field.picture, 0.5)
    work = tmp_path / "m.slides"
    command = [
        sys.executable,
        "-m",
        "histoseek",
        "prepare",
        "slides",
        str(folder),
        "--out",
        str(tmp_path / "m.parquet"),
    ]
    options = ["-o", "quality=yes", "-o", "tile_px=32", "-o", "workers=1"]
    heard = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731 - in the background shells ignore Ctrl-C
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True, preexec_fn=heard)
    while process.poll() is None and not list(work.glob("[!.]*.parquet")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate()
    assert process.returncode == 130
    assert "slides that are done are kept in" in told.replace("\n", " ")
    assert "Traceback" not in told
    n_done = len(list(work.glob("[!.]*.parquet")))
    assert 1 <= n_done < 15
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    assert f"{n_done} slides were done before" in done.stdout


@pytest.mark.parametrize("kept", [True, False])
def test_many_tiles_are_joined_on_disk_to_the_same_manifest(
    kept: bool, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_slide(folder / "P3" / "P3_empty.tif", 255)
    (folder / "P3" / "P3_torn.tif").write_bytes(b"II*\0")
    (folder / "P1" / "P1_b.geojson").write_text("not json", encoding="utf-8")
    table = tmp_path / "slides.csv"
    table.write_text("file,label,stain\nP1_a.tif,x,H&E\nP2_c.tif,y,\n", encoding="utf-8")
    options = {"tile_px": 128, "sidecar": table, "group": r"(P\d)_", "quality": True}
    small = prepare_with_report("slides", folder, **options)
    monkeypatch.setattr(spool, "LARGE", 1)
    monkeypatch.setattr(spool, "BLOCK", 5)
    large = prepare_with_report("slides", folder, **options, work_dir=tmp_path / "work" if kept else None)
    assert large.manifest.table["id"].num_chunks == 3
    assert large.manifest.table.schema == small.manifest.table.schema
    assert large.manifest.table.combine_chunks().equals(small.manifest.table.combine_chunks())
    assert large.skipped == small.skipped
    assert large.summary == small.summary
    assert large.manifest.facts == small.manifest.facts


def test_work_that_goes_away_while_it_is_joined_is_told(folder: Path, tmp_path: Path, monkeypatch) -> None:
    joined = tiling.read_again

    def gone(work, job):
        job.kept.unlink()
        return joined(work, job)

    monkeypatch.setattr(tiling, "read_again", gone)
    with pytest.raises(InputError, match="changed while it was in use"):
        prepare("slides", folder, tile_px=128, work_dir=tmp_path / "work")
