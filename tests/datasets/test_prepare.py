from __future__ import annotations

import hashlib
import os
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from PIL import Image

from histoseek.datasets import dataset_names, find_dataset, known, prepare, prepare_with_report
from histoseek.datasets.walk import walk
from histoseek.errors import InputError
from histoseek.items import Manifest


def snapshot(root: Path) -> dict[str, tuple[int, str]]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(f): (f.stat().st_mtime_ns, hashlib.sha256(f.read_bytes()).hexdigest()) for f in files}


def test_images_are_not_touched_and_a_read_only_folder_is_enough(tmp_path, plant):
    root = plant(tmp_path / "in", ["A/1.png", "B/2.png"])
    before = snapshot(root)
    for folder in (root / "A", root / "B", root):
        folder.chmod(0o555)
    try:
        prepared = prepare_with_report("folder", root)
        assert snapshot(root) == before
    finally:
        for folder in (root, root / "A", root / "B"):
            folder.chmod(0o755)
    assert {item.sha256 for item in prepared.manifest} == {digest for _, digest in before.values()}


def test_a_bad_file_is_a_row_and_never_the_end(tmp_path, plant):
    root = plant(tmp_path, ["A/1.png", "B/2.png"])
    (root / "A" / "empty.png").write_bytes(b"")
    (root / "A" / "page.png").write_text("<html>404</html>")
    whole = (root / "A/1.png").read_bytes()
    (root / "A" / "half.png").write_bytes(whole[:20])
    (root / "A" / "gone.png").symlink_to(root / "nowhere.png")
    prepared = prepare_with_report("folder", root)
    assert [item.path for item in prepared.manifest] == ["A/1.png", "B/2.png"]
    assert sorted(row.id.removeprefix("folder/") for row in prepared.skipped) == [
        "A/empty.png",
        "A/gone.png",
        "A/half.png",
        "A/page.png",
    ]
    assert all(row.reason and str(tmp_path) not in row.reason for row in prepared.skipped)
    assert any("4 files were skipped" in line for line in prepared.summary.lines())


def test_copies_of_a_tree_do_not_come_twice(tmp_path, plant):
    root = plant(tmp_path, ["a/test/0_N/BRACS_1_N_1.png", "b/test/0_N/BRACS_1_N_1.png"])
    prepared = prepare_with_report("bracs", root)
    assert [item.path for item in prepared.manifest] == ["a/test/0_N/BRACS_1_N_1.png"]
    assert [row.id for row in prepared.skipped] == ["b/test/0_N/BRACS_1_N_1.png"]
    assert "taken already by a/test" in prepared.skipped[0].reason


def test_scale_is_the_users_else_the_datasets_else_the_files(tmp_path):
    (tmp_path / "A").mkdir()
    for name, dpi in (("fine", 25_400 / 0.5), ("screen", 72)):
        Image.new("RGB", (4, 4)).save(tmp_path / "A" / f"{name}.png", dpi=(dpi, dpi))
    fine, screen = prepare("folder", tmp_path)
    assert fine.mpp == pytest.approx(0.5, rel=1e-3)
    assert (fine.mpp_source, screen.mpp, screen.mpp_source) == ("file", None, None)
    assert {(item.mpp, item.mpp_source) for item in prepare("folder", tmp_path, mpp=0.25)} == {(0.25, "user")}
    (tmp_path / "A" / "fine.png").rename(tmp_path / "b001.tif")
    assert prepare("bach", tmp_path)[0].mpp == 0.42
    assert prepare("bach", tmp_path, mpp=0.4)[0].mpp_source == "user"
    for wrong in (0.0, 353, float("nan")):
        with pytest.raises(InputError, match=r"outside 0\.05–20"):
            prepare("folder", tmp_path, mpp=wrong)


def test_progress_counts_every_file_once(tmp_path, plant):
    seen = []
    prepare("folder", plant(tmp_path, [f"A/{i}.png" for i in range(7)]), progress=lambda *step: seen.append(step))
    assert seen == [(i, 7) for i in range(1, 8)]


def test_the_manifest_survives_the_disk_with_its_facts(tmp_path, bach):
    manifest = prepare("bach", bach, protocol="patients", seed="3")
    manifest.write(tmp_path / "m.parquet")
    back = Manifest.read(tmp_path / "m.parquet")
    assert back.table.equals(manifest.table)
    assert back.facts["dataset"] == "bach"
    assert back.facts["licence"] == "CC BY-NC-ND 4.0"
    assert back.facts["options"] == {"protocol": "patients", "seed": 3}
    assert any("table built in" in note for note in back.facts["notes"])
    assert back.path_of(back[0]).is_file()


@pytest.mark.parametrize("name", dataset_names())
def test_nothing_found_says_what_was_looked_for(tmp_path, plant, name):
    with pytest.raises(InputError, match=r"there is no .*; pass"):
        prepare(name, tmp_path / "nowhere")
    if name == "csv":
        return
    with pytest.raises(InputError) as caught:
        prepare(name, tmp_path)
    assert find_dataset(name).looks_for in str(caught.value)
    archive = tmp_path / "x.zip"
    archive.write_bytes(b"PK")
    with pytest.raises(InputError, match="unpack it"):
        prepare(name, archive)


def test_names_aliases_and_wrong_names():
    assert set(dataset_names()) == {"bach", "bracs", "breakhis", "crc", "csv", "folder", "nct-crc", "slides"}
    assert find_dataset("BATCH").name == "bach"
    assert all(alias in known.ALIASES for name in dataset_names() for alias in find_dataset(name).aliases)
    with pytest.raises(InputError, match="did you mean 'bracs'"):
        find_dataset("brac")
    with pytest.raises(InputError, match="known are: bach"):
        find_dataset("zzzz")


def test_options_are_listed_checked_and_converted(tmp_path):
    crc = find_dataset("crc")
    assert [str(option) for option in crc.options] == ["folds=official|folders", "test_fold=int"]
    assert crc.read_options({"test_fold": "2", "folds": "folders"}) == {"test_fold": 2, "folds": "folders"}
    for options, says in (
        ({"name": "x", "source": "y"}, "no option 'name'"),
        ({"fold": 1}, "no option 'fold'; its options are: folds=official"),
        ({"folds": "mine"}, "choose one of: official, folders"),
        ({"test_fold": "two"}, "which is no int"),
    ):
        with pytest.raises(InputError, match=says):
            prepare("crc", tmp_path, **options)


def test_datasets_of_other_packages(monkeypatch, tmp_path, plant):
    good = EntryPoint("mine", "histoseek.datasets.folder:DATASET", known.ENTRY_POINTS)
    bad = EntryPoint("broken", "histoseek.nowhere:DATASET", known.ENTRY_POINTS)
    odd = EntryPoint("odd", "histoseek.datasets.folder:scan", known.ENTRY_POINTS)
    monkeypatch.setattr(known, "entry_points", lambda group: [good, bad, odd])
    assert "mine" in dataset_names()
    assert len(prepare("mine", plant(tmp_path, ["A/1.png"]))) == 1
    with pytest.raises(InputError, match=r"'broken'.*cannot be loaded"):
        find_dataset("broken")
    with pytest.raises(InputError, match=r"gives no histoseek\.datasets\.Dataset"):
        find_dataset("odd")


def test_walk_passes_over_debris_and_link_loops(tmp_path, plant):
    plant(tmp_path, ["b/2.png", "a/1.PNG", "__MACOSX/a/._1.png", ".git/3.png", "a/.DS_Store", "a/Thumbs.db"])
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    found = walk(tmp_path)
    assert found.files == ["a/1.PNG", "b/2.png"]
    assert found.with_suffix({".png"}) == found.files
    assert found.skipped == []


def test_a_folder_that_cannot_be_opened_is_skipped(tmp_path, plant, monkeypatch):
    plant(tmp_path, ["a/1.png", "b/2.png"])
    real = os.scandir

    def scandir(path):
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    prepared = prepare_with_report("folder", tmp_path)
    assert [tuple(row) for row in prepared.skipped] == [("b", "folder cannot be opened: Permission denied")]


def test_the_phantom_sample_is_taken_with_its_patients(tmp_path):
    from histoseek.phantom import write_sample

    prepared = prepare_with_report("folder", write_sample(tmp_path / "s", 2, 2, size=80), sidecar="patients.csv")
    assert {item.group_source for item in prepared.manifest} == {"patient"}
    assert all(item.mpp and item.caption and item.label for item in prepared.manifest)
    assert prepared.skipped == ()
    assert prepared.summary.notes == ()
