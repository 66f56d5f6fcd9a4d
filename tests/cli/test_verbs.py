"""The command line as a person uses it: real processes on a small folder of drawn tissue."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import chdir, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

import histoseek as hs
from histoseek.cli import main
from histoseek.cli.demo import MARKER, WRITTEN
from histoseek.phantom import plant_traps, write_sample


def run(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "histoseek", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def told_here(home: Path, *arguments: str) -> str:
    """What the same command says in this process, without the start of another."""
    with chdir(home), redirect_stdout(StringIO()) as told, pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 0
    return told.getvalue()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample, its manifest and its index."""
    folder = tmp_path_factory.mktemp("cli")
    write_sample(folder / "sample", n_patients=6, images_per_patient=4, size=128)
    prepared = run("prepare", "folder", "sample", "--out", "m.parquet", "-o", "sidecar=patients.csv", cwd=folder)
    assert prepared.returncode == 0, prepared.stderr
    built = run("index", "m.parquet", "--encoder", "color", "--out", "x.index", cwd=folder)
    assert built.returncode == 0, built.stderr
    return folder


def first_item(home: Path) -> hs.Item:
    return hs.Manifest.read(home / "m.parquet")[0]


def test_search_by_image_finds_the_image_itself_first(home: Path) -> None:
    item = first_item(home)
    found = run("search", "x.index", "--image", f"sample/{item.path}", "--mpp", str(item.mpp), "--json", cwd=home)
    hits = [json.loads(line) for line in found.stdout.splitlines()]
    assert [hit["rank"] for hit in hits] == list(range(1, 11))
    assert hits[0]["id"] == item.id
    assert hits[0]["score"] > 0.9999


def test_search_by_item_leaves_its_patient_out_unless_told(home: Path) -> None:
    item = first_item(home)
    apart = told_here(home, "search", "x.index", "--item", item.id, "--json")
    together = told_here(home, "search", "x.index", "--item", item.id, "--keep-group", "-k", "30", "--json")
    assert item.group not in {json.loads(line)["group"] for line in apart.splitlines()}
    assert item.group in {json.loads(line)["group"] for line in together.splitlines()}


def test_minus_belongs_to_the_example_that_follows(home: Path) -> None:
    manifest = hs.Manifest.read(home / "m.parquet")
    one, two = manifest[0].id, manifest[len(manifest) - 1].id
    ordered = [
        told_here(home, "search", "x.index", *arguments, "--json")
        for arguments in (
            ("--item", one, "--minus", "--item", two),
            ("--minus", "--item", two, "--item", one),
            ("--minus", "--item", one, "--item", two),
        )
    ]
    assert [json.loads(line)["id"] for line in ordered[0].splitlines()] == [
        json.loads(line)["id"] for line in ordered[1].splitlines()
    ]
    assert ordered[0] != ordered[2]


def test_a_sheet_a_table_and_a_report_are_written(home: Path) -> None:
    item = first_item(home)
    found = run("search", "x.index", "--item", item.id, "--sheet", "h.png", "--csv", "h.csv", cwd=home)
    assert found.returncode == 0, found.stderr
    assert (home / "h.png").stat().st_size > 1000
    assert (home / "h.csv").read_text(encoding="utf-8").startswith("rank,score,id")
    judged = run("evaluate", "x.index", "--out", "report", "--n-bootstrap", "50", "--json", cwd=home)
    assert judged.returncode == 0, judged.stderr
    assert "mAP@10" in {json.loads(line)["metric"] for line in judged.stdout.splitlines()}
    assert (home / "report" / "report.html").is_file()
    compared = run("compare", "report", "--out", "table.md", cwd=home)
    assert compared.returncode == 0, compared.stderr
    assert "| color |" in (home / "table.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", ["m.parquet", "x.index", "sample/README.txt"])
def test_info_describes_what_it_knows(home: Path, path: str) -> None:
    told = run("info", path, cwd=home)
    assert told.returncode == (2 if path.endswith("txt") else 0), told.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("search", "nowhere", "--image", "x.png"), "there is no index at nowhere"),
        (("search", "x.index"), "nothing is asked"),
        (("search", "x.index", "--image", "no.png"), "no.png"),
        (("search", "x.index", "--item", "no"), "has no item 'no'"),
        (("search", "x.index", "--text", "gland"), "knows no words"),
        (("search", "x.index", "--item", "no", "--minus"), "--minus"),
        (("search", "x.index", "--image", "no.png", "--where", "lable = 1"), "no.png"),
        (("prepare", "folder", "nowhere", "--out", "a.parquet"), "nowhere"),
        (("prepare", "folders", "sample", "--out", "a.parquet"), "folder"),
        (("prepare", "folder", "sample", "--out", "a.csv"), "a.parquet"),
        (("prepare", "folder", "sample", "--out", "a.parquet", "-o", "x"), "KEY=VALUE"),
        (("index", "m.parquet", "--out", "x.index"), "--resume"),
        (("index", "m.parquet", "--out", "y.index", "--encoder", "colour"), "did you mean 'color'"),
        (("index", "m.parquet", "--out", "y.index", "--where", "label = 'none'"), "no items"),
        (("index", "m.parquet", "--out", "y.index", "--precision", "int8"), "f32"),
        (("evaluate", "x.index", "--queries", "m.parquet", "--out", "r"), "leave-group-out"),
        (("evaluate", "x.index", "--out", "r", "--label", "colour"), "no column 'colour'"),
        (("compare", "sample"), "no report"),
        (("info", "nothing"), "nothing at nothing"),
    ],
)
def test_wrong_input_gets_one_sentence_and_exit_code_2(
    home: Path,
    arguments: tuple[str, ...],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(home)
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    told = capsys.readouterr()
    assert ended.value.code == 2, told.err
    assert sentence in told.err
    assert told.out == ""


def test_debug_shows_the_traceback(home: Path) -> None:
    assert "Traceback" in run("search", "nowhere", "--image", "x.png", "--debug", cwd=home).stderr


def test_traps_are_skipped_with_reasons_and_exit_code_1(tmp_path: Path) -> None:
    write_sample(tmp_path / "sample", n_patients=2, images_per_patient=2, size=128)
    planted = plant_traps(tmp_path / "sample")
    prepared = run("prepare", "folder", "sample", "--out", "m.parquet", "--mpp", "0.5", cwd=tmp_path)
    assert prepared.returncode == 1, prepared.stderr
    built = run("index", "m.parquet", "--out", "x.index", cwd=tmp_path)
    assert built.returncode == 1, built.stderr
    reasons = (tmp_path / "skipped.csv").read_text() + (tmp_path / "x.index" / "skipped.csv").read_text()
    for trap in ("bomb", "truncated"):
        for path in next(paths for name, paths in planted.items() if trap in name):
            assert path.name in reasons
    assert "Traceback" not in prepared.stderr + built.stderr


def test_index_survives_kill_and_interrupt_and_resumes(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed.index"
    command = [sys.executable, "-m", "histoseek", "index", str(home / "m.parquet"), "--out", str(out)]
    for blow in (signal.SIGKILL, signal.SIGINT):
        going = subprocess.Popen([*command, "--resume"] if out.exists() else command, stderr=subprocess.DEVNULL)
        while not (out / "building.json").exists() and going.poll() is None:
            time.sleep(0.01)
        os.kill(going.pid, blow)
        going.wait()
    ended = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    ids = hs.Index.open(out).rows.items["id"].to_pylist()
    assert sorted(ids) == sorted(hs.Manifest.read(home / "m.parquet").table["id"].to_pylist())


def test_encoders_are_listed_with_licences() -> None:
    rows = [json.loads(line) for line in run("encoders", "list", "--json").stdout.splitlines()]
    assert {"name", "licence", "gated", "text", "commercial use"} <= set(rows[0])
    assert "color" in {row["name"] for row in rows}


def test_doctor_is_content_here() -> None:
    told = run("doctor")
    assert told.returncode == 0, told.stdout + told.stderr


def test_demo_tells_the_whole_story(tmp_path: Path) -> None:
    """With all its patients and pictures, drawn a third as wide: drawing them is most of the work."""
    code = (
        "import functools; from histoseek import phantom;"
        "phantom.write_sample = functools.partial(phantom.write_sample, size=128);"
        "from histoseek.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "demo", "--out", str(tmp_path / "demo")]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert (tmp_path / "demo" / "hits.png").is_file()
    assert "synthetic" in told.stdout.lower()
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {*WRITTEN, MARKER}
    page = (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
    assert "mAP@10" in page
