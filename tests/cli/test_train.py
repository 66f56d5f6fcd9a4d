"""What a person meets at `histoseek train`: the plan before, the scores after, and a sentence for what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from histoseek.cli import main
from histoseek.items import Manifest
from tests.training.conftest import clip_model, tissue

__all__ = ["clip_model", "tissue"]


@pytest.fixture
def manifest(tissue: Manifest, tmp_path: Path) -> str:
    tissue.write(tmp_path / "m.parquet")
    return str(tmp_path / "m.parquet")


def ended_with(arguments: list[str]) -> int | str | None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    manifest: str, clip_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    arguments = ["train", manifest, "--out", str(out), "--base", str(clip_model), "--dry-run", "--batch", "6"]
    assert ended_with(arguments) == 0
    said = capsys.readouterr().out
    rows = {line.split("  ")[0].strip(): line for line in said.splitlines() if line.strip()}
    assert "clip × 1, supcon × 1" in rows["objectives"]
    assert "30" in rows["training items"] and "6" in rows["validation queries"]
    assert "10 epochs × 5" in rows["steps"]
    assert rows["gland"].split() == ["gland", "10", "5", "0.200"]
    assert "numbers trained" in said
    assert not out.exists()


def test_a_dry_run_refuses_a_patient_among_the_queries(
    manifest: str, clip_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", manifest, "--out", str(tmp_path / "run"), "--base", str(clip_model), "--dry-run"]
    assert ended_with([*arguments, "--queries", manifest]) == 2
    assert "trained on and asked about" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--augment", "nonsense=1"], "no augmentation 'nonsense'"),
        (["--augment", "stain=much"], "after the equals sign comes a number"),
        (["--objective", "clap"], "no objective 'clap'"),
        (["--objective", "supcon=0"], "above 0"),
        (["--mode", "half"], "no mode 'half'"),
        (["--base", "color"], "'color' cannot be trained"),
        (["--objective", "distill"], "--teacher"),
        (["--label", "organ"], "no column 'organ'"),
        (["--where", "split = 'test'"], "nothing to train on"),
    ],
    ids=lambda given: "_".join(given) if isinstance(given, list) else None,
)
def test_what_is_wrong_gets_a_sentence(
    options: list[str],
    sentence: str,
    manifest: str,
    clip_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = [] if "--base" in options else ["--base", str(clip_model)]
    assert ended_with(["train", manifest, "--out", str(tmp_path / "run"), *base, *options]) == 2
    said = capsys.readouterr().err
    assert sentence in said and "Traceback" not in said
    assert not (tmp_path / "run").exists()


def test_without_the_extra_a_sentence_names_it(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['accelerate'] = None; from histoseek.cli import main;"
        f"main(['train', 'm.parquet', '--out', {str(tmp_path / 'run')!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "pip install 'histoseek[torch]'" in done.stderr
