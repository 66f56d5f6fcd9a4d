from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from histoseek.evaluation.report import Report, Score
from histoseek.figures import report_page
from histoseek.figures.plots import mark
from histoseek.figures.strips import extremes

EVIL = "<script>alert(1)</script>"


def report_of(labels: list[str], n: int = 20, **changed: Any) -> Report:
    rows = [
        {
            "id": f"q{at:02}",
            "path": "a.png",
            "box": [0, 0, 10, 10] if at % 2 else None,
            "label": labels[at % len(labels)],
            "group": f"p{at}",
            "hit_ids": ["g1", "g2"],
            "hit_paths": ["a.png", "none.png"],
            "hit_labels": [labels[0], None],
            "hit_scores": [0.9, 0.8],
            "map_x": at * 0.1,
            "map_y": -at * 0.2,
            "AP@10": at / n,
        }
        for at in range(n)
    ]
    scores = {
        f"{family}@{k}": Score(0.5, 0.4, 0.6) for family in ("Acc", "P", "mAP", "mMV", "nDCG") for k in (1, 5, 10)
    }
    parts: dict[str, Any] = {
        "scores": scores,
        "macro": scores | {"kNN accuracy": Score(0.7, 0.6, 0.8)},
        "per_class": {label: {"P@10": 0.5, "n": 3} for label in labels},
        "confusion": {"k": 5, "labels": labels, "counts": [[int(a == b) for b in labels] for a in labels]},
        "protocol": {"protocol": "split", "kNN": "10 hits", "seed": 0},
        "provenance": {"histoseek": "0.1.0", "command": f"evaluate {EVIL}"},
        "text": {"prompts": "two", "zero_shot_accuracy": {"value": 0.4, "low": 0.3, "high": 0.5}},
        "per_query": pa.Table.from_pylist(rows) if rows else pa.table({}),
    }
    return Report(**(parts | changed))


def test_page_is_whole_and_self_contained(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20), (200, 100, 150)).save(tmp_path / "a.png")
    page = report_page(report_of(["A", "B"]), tmp_path)
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//", page) and "@import" not in page
    assert "<script" not in page and "url(" not in page
    assert "Research use only" in page and "Synthetic" not in page
    assert page.count("data:image/jpeg") == 24 and page.count("no picture") == 12
    for words in ("How it was measured", "0.400–0.600", "kNN accuracy", "Best queries", "Embedding map", "Provenance"):
        assert words in page


def test_labels_are_escaped() -> None:
    page = report_page(report_of([EVIL, '" onload="x']), None)
    assert "<script" not in page and ' onload="x' not in page
    assert "&lt;script&gt;" in page


def test_without_root_no_pictures() -> None:
    page = report_page(report_of(["A"]), None)
    assert "data:image" not in page and "without the image folder" in page


def test_one_class_no_queries_and_phantom(tmp_path: Path) -> None:
    assert "Classes" in report_page(report_of(["A"], n=1), tmp_path)
    empty: dict[str, Any] = {name: {} for name in ("scores", "macro", "per_class", "confusion", "text", "provenance")}
    page = report_page(report_of(["A"], n=0, protocol={"dataset": "phantom"}, **empty), tmp_path)
    assert "Synthetic tissue" in page and "Best queries" not in page


def test_no_nan_is_shown() -> None:
    nan = Score(math.nan, math.nan, math.nan)
    scores = {"P@1": nan, "P@5": Score(0.5, math.nan, 0.6), "P@10": Score(0.5, 0.4, 0.6), "mAP@10": nan}
    rows = [{"id": "q", "label": None, "map_x": math.nan, "map_y": 1.0, "AP@10": math.nan}]
    changed = {"scores": scores, "macro": scores, "per_class": {"A": {"P@10": math.nan}}}
    page = report_page(report_of(["A"], per_query=pa.Table.from_pylist(rows), **changed), None)
    assert not re.search(r"\b(nan|inf)\b", page, re.IGNORECASE)


def test_many_classes_list_confusions() -> None:
    labels = [f"class {at}" for at in range(40)]
    counts = [[at + 1 if abs(row - at) == 1 else 0 for at in range(40)] for row in range(40)]
    page = report_page(report_of(labels, confusion={"k": 5, "labels": labels, "counts": counts}), None)
    assert "most frequent confusions" in page


def test_extremes_share_no_row() -> None:
    best, worst = extremes([1.0, 0.0, None, 0.5, 1.0], ["b", "c", "d", "e", "a"])
    assert best == [4, 0] and worst == [1, 3]
    assert extremes([math.nan, None], ["a", "b"]) == ([], [])


def test_marks_differ() -> None:
    assert len({mark(at) for at in range(56)}) == 56


def test_import_is_light() -> None:
    code = (
        "import sys, histoseek.figures; print([m for m in ('PIL', 'jinja2', 'lancedb', 'torch') if m in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
