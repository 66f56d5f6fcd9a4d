"""The verbs import, export and phi-scan as a person uses them."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import typer
from tifffile import TiffWriter
from typer.testing import CliRunner

from histoseek.cli import export, import_features, phi_scan
from histoseek.errors import InputError
from histoseek.index import Index
from histoseek.items import read_skipped
from histoseek.phantom import write_slide

app = typer.Typer()
for verb in (import_features, export, phi_scan):
    verb.add_to(app)


def run(*arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a verb."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def features(tmp_path: Path) -> Path:
    """Features of two slides by TRIDENT."""
    folder = tmp_path / "features_uni_v1"
    folder.mkdir()
    for number, name in enumerate(("P1_a", "P2_a")):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["features"] = np.random.default_rng(number).normal(size=(3, 16)).astype(np.float16)
            file["coords"] = np.array([(0, 0), (512, 0), (0, 512)])
            file["coords"].attrs.update(
                {"patch_size": 256, "patch_size_level0": 512, "level0_magnification": 40, "target_magnification": 20}
            )
    return folder


def test_features_are_imported_searched_and_exported(features: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.index"
    code, told, noted = run("import", features, "--encoder", "uni_v1", "--out", out, "--group", "(P.)_")
    assert code == 0
    assert "6 tiles, 16 numbers each, encoder uni_v1" in told
    assert "declared" in noted and "next:" in noted
    index = Index.open(out)
    hits = index.search(item="features/P1_a#0,0,512,512", k=10)
    assert {hit.item.group for hit in hits} == {"P2"}
    code, told, _ = run("export", out, "--out", tmp_path / "x.parquet", "--where", "slide = 'P2_a'")
    assert code == 0 and "3 items" in told
    assert pq.read_table(tmp_path / "x.parquet")["slide"].to_pylist() == 3 * ["P2_a"]
    code, _, _ = run("export", out, "--out", tmp_path / "x.h5ad")
    assert code == 0 and (tmp_path / "x.h5ad").is_file()


def test_a_broken_file_ends_with_one(features: Path, tmp_path: Path) -> None:
    (features / "broken.h5").write_text("no")
    code, _, noted = run("import", features, "--encoder", "uni_v1", "--out", tmp_path / "x.index")
    assert code == 1 and "skipped.csv" in noted
    assert [row.id for row in read_skipped(tmp_path / "x.index/skipped.csv")] == ["features/broken"]


def test_stated_numbers_reach_the_import(features: Path, tmp_path: Path) -> None:
    for file in features.iterdir():
        with h5py.File(file, "a") as opened:
            opened["coords"].attrs.clear()
    stated = ("--tile-px-level0", "300", "--mpp", "0.4", "--view-px", "224", "--view-mpp", "0.5")
    run("import", features, "--encoder", "uni_v1", "--out", tmp_path / "x.index", *stated)
    index = Index.open(tmp_path / "x.index")
    item, how = index.manifest[0], index.about.fingerprint.preprocessing
    assert (item.width, item.mpp, how.view_px, how.mpp) == (300, 0.4, 224, 0.5)
    with pytest.raises(InputError, match="tile-px-level0"):
        run("import", features, "--encoder", "uni_v1", "--out", tmp_path / "y.index")


@pytest.fixture
def slides(tmp_path: Path) -> Path:
    """A slide with an artist, whose name would turn a terminal red, and one with nothing."""
    pixels = np.zeros((128, 128, 3), np.uint8)
    folder = tmp_path / "slides"
    write_slide(folder / "b_2021-03-14.tif", pixels, 0.5, ())
    with TiffWriter(folder / "a.tif") as writer:
        name = "Jane \x1b[31mDoe"
        tags = [(315, 2, len(name) + 1, name, False)]
        writer.write(pixels, photometric="rgb", tile=(64, 64), extratags=tags, software=False, metadata=None)
    return folder


def test_phi_scan_hides_values_unless_asked(slides: Path) -> None:
    code, told, noted = run("phi-scan", slides)
    assert code == 0
    assert "Artist" in told and "Jane" not in told
    assert "name holds a date" in told
    assert "2 files looked at" in noted and "nothing was changed" in noted
    code, told, _ = run("phi-scan", slides, "--values")
    assert "Artist = Jane" in told and "\x1b" not in told


def test_phi_scan_as_json_has_a_line_a_slide(slides: Path) -> None:
    _, told, _ = run("phi-scan", slides, "--json")
    one, two = (json.loads(line) for line in told.splitlines())
    assert one == {
        "file": "a.tif",
        "verdict": "carries metadata",
        "images": {},
        "metadata": ["Artist"],
        "name_marks": [],
        "reason": "",
    }
    assert two["name_marks"] == ["a date"]
    _, told, _ = run("phi-scan", slides, "--json", "--values")
    assert json.loads(told.splitlines()[0])["metadata"] == {"Artist": "Jane \x1b[31mDoe"}
    assert "\x1b" not in told


def test_phi_scan_ends_with_one_when_a_file_cannot_be_looked_at(slides: Path) -> None:
    (slides / "c.ndpi").write_text("no slide")
    code, told, noted = run("phi-scan", slides)
    assert code == 1
    assert "c.ndpi" in told and "OpenSlide cannot open it" in told
    assert "1 file could not be looked at in full" in noted
