"""histoseek index --fast and --precision auto, as a person uses them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

import histoseek as hs
from histoseek.cli import main
from histoseek.phantom import draw, make_patient


def told(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[str, str]:
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    assert not ended.value.code
    return capsys.readouterr()


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    for at in range(3):
        Image.fromarray(draw("gland", 1024, 1024, 0.125, make_patient(at), at)).save(tmp_path / f"{at}.jpg")
    items = [hs.Item(f"{at}", f"{at}.jpg", mpp=0.125, group=f"{at}") for at in range(2)]
    hs.Manifest.from_items(items, tmp_path).write(tmp_path / "m.parquet")
    hs.Manifest.from_items([*items, hs.Item("2", "2.jpg", mpp=0.125)], tmp_path).write(tmp_path / "more.parquet")
    return tmp_path / "m.parquet"


def test_fast_tells_its_drift_and_goes_with_the_index(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = manifest.parent
    out, err = told(capsys, "index", manifest, "--encoder", "color", "--fast", "--out", home / "x.index")
    assert "cosine with full decoding 0.9" in err and "cosine" not in out
    told(capsys, "index", "add", home / "x.index", home / "more.parquet")
    for encoder in ((), ("--encoder", "color")):
        query = ("--image", home / "2.jpg", "--mpp", "0.125", "--json")
        out, _ = told(capsys, "search", home / "x.index", *query, *encoder)
        first = json.loads(out.splitlines()[0])
        assert (first["id"], first["score"]) == ("2", pytest.approx(1, abs=1e-6))
    out, _ = told(capsys, "info", home / "x.index", "--json")
    assert "256 px at 0.5 µm/px, scaled decoding" in json.loads(out)["view"]
    with pytest.raises(SystemExit):
        main(["index", str(manifest), "--encoder", "color", "--out", str(home / "x.index"), "--resume"])
    assert "begun with encoder 'color' at f32 with scaled decoding" in capsys.readouterr().err


def test_auto_says_which_precision_it_chose(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = manifest.parent
    _, err = told(capsys, "index", manifest, "--encoder", "color", "--precision", "auto", "--out", home / "x.index")
    assert "auto chose the precision f32" in err
    assert hs.Index.open(home / "x.index").about.fingerprint.precision == "f32"
