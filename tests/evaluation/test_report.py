from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from histoseek.errors import DamagedError, InputError
from histoseek.evaluation import Report, compare, evaluate
from histoseek.index import Index
from histoseek.items import Manifest


@pytest.fixture
def index(archive: Manifest, make_encoder: Any, tmp_path: Path) -> Index:
    return Index.build(archive, make_encoder(has_text=False), tmp_path / "toy.index")


def test_report_survives_writing_and_reading(index: Index, archive: Manifest, tmp_path: Path) -> None:
    report = evaluate(index)
    report.write(tmp_path / "report", archive.root)
    back = Report.read(tmp_path / "report")
    assert back.per_query.equals(report.per_query)
    for name in ("scores", "macro", "per_class", "confusion", "protocol", "provenance", "text"):
        assert getattr(back, name) == getattr(report, name), name
    assert (tmp_path / "report" / "report.html").read_text(encoding="utf-8").startswith("<!")


def test_incomplete_report_is_damaged_and_none_is_an_input_error(index: Index, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no report"):
        Report.read(tmp_path)
    evaluate(index).write(tmp_path / "report")
    (tmp_path / "report" / "per_query.parquet").write_bytes(b"half")
    with pytest.raises(DamagedError, match="evaluate again"):
        Report.read(tmp_path / "report")
    (tmp_path / "report" / "scores.json").write_text("{}")
    with pytest.raises(DamagedError, match="evaluate again"):
        Report.read(tmp_path / "report")


def worse(report: Report) -> Report:
    """The same queries, every second one failed."""
    table = report.per_query
    for name in ("Acc@1", "MV@5", "AP@10"):
        half = pa.array([value * (row % 2) for row, value in enumerate(table[name].to_pylist())])
        table = table.set_column(table.schema.get_field_index(name), name, half)
    return replace(report, per_query=table)


def test_comparison_tests_every_pair_over_the_same_queries(index: Index) -> None:
    report = evaluate(index)
    found = compare({"good": report, "bad": worse(report), "same": report})
    pairs = [(test.first, test.second) for test in found.tests[::3]]
    assert pairs == [("good", "bad"), ("good", "same"), ("bad", "same")]
    first, same = found.tests[0], found.tests[3]
    assert first.metric == "Acc@1"
    assert first.difference < 0
    assert first.low <= first.difference <= first.high
    assert first.p <= first.p_holm <= 1
    assert (same.difference, same.p) == (0, 1)


def test_comparison_is_the_same_every_time(index: Index) -> None:
    report = evaluate(index)
    one, two = (compare({"a": report, "b": worse(report)}) for _ in range(2))
    assert one.tests == two.tests


@pytest.mark.parametrize("other", [{"gallery": "nth < 3"}, {"label": "nth"}])
def test_reports_of_other_protocols_are_not_compared(index: Index, other: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="cannot be compared"):
        compare({"a": evaluate(index), "b": evaluate(index, **other)})


def test_reports_over_other_queries_are_not_compared(index: Index) -> None:
    with pytest.raises(InputError, match="their queries differ"):
        compare({"a": evaluate(index, "nth < 2"), "b": evaluate(index, "nth >= 2")})


def test_metric_that_a_report_lacks_is_refused(index: Index) -> None:
    with pytest.raises(InputError, match="has no 'Acc@7'"):
        compare({"a": evaluate(index)}, ["Acc@7"])
    with pytest.raises(InputError, match="nothing to compare"):
        compare({})


def test_markdown_has_a_line_for_each_report_and_test(index: Index, tmp_path: Path) -> None:
    report = evaluate(index)
    found = compare({"a|b": report, "c": report})
    found.write(tmp_path / "results.md")
    lines = (tmp_path / "results.md").read_text(encoding="utf-8").splitlines()
    assert sum(line.startswith("| a\\|b |") for line in lines) == 1
    assert sum(line.startswith("| c − a\\|b |") for line in lines) == 3
    assert sum(line.startswith("Protocol: ") and "gallery items: 36" in line for line in lines) == 1
    assert sum(line.startswith("c: f32; ") and "histoseek" in line for line in lines) == 1
