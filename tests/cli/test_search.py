"""What search draws as the query, and how it counts."""

from __future__ import annotations

import builtins
import importlib
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import histoseek as hs
from histoseek.cli import main
from histoseek.cli.search import _picture
from histoseek.cli.timing import Clock
from histoseek.figures.sheet import SIDE
from histoseek.index import Example
from histoseek.items import Box

RED, BLUE, GREEN = (200, 40, 40), (10, 20, 240), (20, 180, 60)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One picture, half red and half blue, whose halves are items; a green picture lies beside it."""
    home = tmp_path_factory.mktemp("search")
    both = Image.new("RGB", (120, 60), RED)
    both.paste(BLUE, (60, 0, 120, 60))
    both.save(home / "both.png")
    Image.new("RGB", (60, 60), GREEN).save(home / "green.png")
    known = {"label": "half", "group": "p", "width": 120, "height": 60}
    items = [
        hs.Item("red", "both.png", box=Box(0, 0, 60, 60), mpp=0.5, **known),  # type: ignore[arg-type]
        hs.Item("blue", "both.png", box=Box(60, 0, 60, 60), mpp=0.5, **known),  # type: ignore[arg-type]
    ]
    hs.Index.build(hs.Manifest.from_items(items, home), hs.load_encoder("color"), home / "x.index")
    return home


def query_field(home: Path, *arguments: str) -> np.ndarray:
    """The pixels [SIDE, SIDE, 3] of the query on the sheet of a search."""
    sheet = home / "sheet.png"
    with pytest.raises(SystemExit) as ended:
        main(["search", str(home / "x.index"), *arguments, "--sheet", str(sheet)])
    assert not ended.value.code
    return np.asarray(Image.open(sheet))[28 : 28 + SIDE, 28 : 28 + SIDE]


def share(field: np.ndarray, colour: tuple[int, int, int]) -> float:
    return float((field == colour).all(axis=2).mean())


def test_an_item_is_drawn_as_its_box_with_a_scale_bar(archive: Path) -> None:
    field = query_field(archive, "--item", "blue", "--keep-group")
    assert share(field, RED) == 0
    assert 0.8 < share(field, BLUE) < 1


def test_the_stated_scale_of_a_picture_gets_a_bar(archive: Path) -> None:
    image = str(archive / "green.png")
    assert share(query_field(archive, "--image", image), GREEN) == 1
    assert 0.8 < share(query_field(archive, "--image", image, "--mpp", "0.5"), GREEN) < 1


def test_a_counter_example_is_never_drawn_as_the_query(archive: Path) -> None:
    field = query_field(archive, "--minus", "--item", "blue", "--item", "red", "--keep-group")
    assert share(field, BLUE) == 0
    assert share(field, RED) > 0.8
    assert _picture(None, [Example("text", "mucin"), Example("item", "42", -0.5)]) == (None, None)


def test_one_group_is_one_group(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query_field(archive, "--item", "blue", "--keep-group")
    assert "half 1 (of 1 group)." in capsys.readouterr().err


def told(home: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, list[list[str]]]:
    """What a timed search prints, and the table of its times: name, seconds, and those of imports."""
    with pytest.raises(SystemExit) as ended:
        main(["search", str(home / "x.index"), *arguments, "--timing"])
    assert not ended.value.code
    captured = capsys.readouterr()
    lines = captured.err.split("step ", 1)[1].splitlines()[1:]
    return captured.out, [[line[:34].strip(), *line[34:].split()] for line in lines]


@pytest.mark.parametrize(
    ("asked", "steps"),
    [
        (["--image", "green.png"], ["loading the encoder", "embedding the query", "searching", "printing and drawing"]),
        (["--case", "p"], ["searching and printing"]),
    ],
)
def test_timing_says_where_all_of_the_time_went(
    archive: Path,
    asked: list[str],
    steps: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(archive)
    out, table = told(archive, capsys, *asked, "--json")
    names = [name for name, *_ in table]
    assert names == [
        "Python and the command line",
        "imports",
        "opening the index",
        *steps,
        "since the process began",
        "Histoseek itself",
    ]
    *parts, total, own = [[float(one) for one in row] for _, *row in table]
    assert all(seconds >= importing >= 0 for seconds, importing in parts)
    assert total[0] >= sum(seconds for seconds, _ in parts) - 0.01
    assert own[0] == pytest.approx(total[0] - total[1] - parts[0][0], abs=0.01)
    assert "step" not in out


def test_without_timing_nothing_is_told_of_it(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query_field(archive, "--item", "blue", "--keep-group")
    assert "since the process began" not in capsys.readouterr().err


def test_imports_are_counted_once_and_not_those_of_our_own_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Two packages, one importing the other, that take 0.2 s each: 0.4 s of imports, and 0.1 s that is none."""
    (tmp_path / "slow_outer.py").write_text("import time, slow_inner\ntime.sleep(0.2)\n")
    (tmp_path / "slow_inner.py").write_text("import time\ntime.sleep(0.2)\n")
    monkeypatch.syspath_prepend(tmp_path)
    clock = Clock(True)
    with clock.step("work"):
        importlib.import_module("time")
        exec("import slow_outer", {"__name__": "histoseek.somewhere"})
        time.sleep(0.1)
    took, importing = clock._steps["work"]
    assert importing >= 0.4
    assert took - importing >= 0.1, "an import inside of another was counted twice"
    assert builtins.__import__.__module__ == "builtins"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere the system does not say when it began")
def test_time_counts_from_the_start_of_the_process() -> None:
    code = "import time\ntime.sleep(0.3)\nfrom histoseek.cli import timing\nprint(timing.seconds_since_start())"
    since = time.perf_counter()
    told = float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    assert 0.3 <= told <= time.perf_counter() - since + 0.02  # the system counts in hundredths
