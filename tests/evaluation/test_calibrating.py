"""What scores and votes are worth, by hand and on a small archive."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from histoseek.errors import InputError
from histoseek.evaluation import Calibration, Reliability, Report, calibrate, evaluate
from histoseek.evaluation.calibrating import FEWEST, OUT_OF_REACH, _score_from, isotonic
from histoseek.index import Index
from histoseek.items import Manifest
from tests.conftest import TinyEncoder


def test_the_fit_never_falls_and_is_the_mean_where_it_is_flat() -> None:
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.5])
    right = np.array([0.0, 1.0, 0.0, 1.0, 1.0, 0.0])
    values, fit = isotonic(scores, right)
    assert values.tolist() == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert fit == pytest.approx([0.0, 0.5, 0.5, 2 / 3, 2 / 3])


def test_the_fit_is_that_of_least_squares() -> None:
    from sklearn.isotonic import IsotonicRegression  # type: ignore[import-untyped]

    rng = np.random.default_rng(3)
    scores = rng.random(200).round(2)
    right = (rng.random(200) < scores).astype(float)
    values, fit = isotonic(scores, right)
    expected = IsotonicRegression().fit(scores, right).predict(values)
    assert fit == pytest.approx(expected)


def test_the_floor_is_where_agreement_is_more_than_slight() -> None:
    scores = np.repeat([0.2, 0.4, 0.6, 0.8], 100)
    right = np.concatenate([np.arange(100) < n for n in (30, 45, 75, 95)]).astype(float)
    # chance 0.25: kappa is 0.07, 0.27, 0.67 and 0.93
    assert _score_from(scores, right, 0.25, 0.20) == 0.4
    assert _score_from(scores, right, 0.25, 0.61) == 0.6
    assert _score_from(scores, right, 0.25, 0.95) == OUT_OF_REACH


def test_words_of_scores_and_the_nearest_measured_vote() -> None:
    worth = Calibration(0.4, 0.6, {5: {"a": Reliability(0.5, 4)}, 20: {"a": Reliability(0.9, 9)}})
    assert [worth.word(score) for score in (0.39, 0.4, 0.59, 0.6)] == ["weak", "related", "related", "close"]
    assert worth.reliability(25)["a"].precision == 0.9
    assert worth.reliability(12)["a"].precision == 0.5
    assert Calibration(None, None, {}).word(0.9) is None and Calibration(None, None, {}).reliability(5) == {}


@pytest.fixture
def index(archive: Manifest, tmp_path: Path, tiny: TinyEncoder) -> Index:
    return Index.build(archive, tiny, tmp_path / "x.index")


def test_a_report_is_read_as_it_stands(index: Index, tmp_path: Path) -> None:
    report = evaluate(index)
    report.write(tmp_path / "report")
    found = calibrate(Report.read(tmp_path / "report"), index.about)
    table = report.per_query
    votes = zip(table["vote@5"].to_pylist(), table["label"].to_pylist(), strict=True)
    pairs = [(vote, label) for vote, label in votes if vote == "red"]
    assert found.reliability(5)["red"] == Reliability(sum(v == t for v, t in pairs) / len(pairs), len(pairs))
    every = [score for scores in table["hit_scores"].to_pylist() for score in scores]
    assert found.floor is not None and (min(every) <= found.floor <= max(every) or found.floor == OUT_OF_REACH)
    few = replace(report, per_query=table.slice(0, FEWEST - 1))
    assert calibrate(few, index.about).floor is None and calibrate(few, index.about).votes
    assert found.close is not None and found.close >= found.floor


def test_a_report_of_something_else_is_refused(index: Index, make_encoder: type[TinyEncoder]) -> None:
    report = evaluate(index)
    other = replace(index.about, fingerprint=make_encoder(weights="other").fingerprint)
    with pytest.raises(InputError, match="other weights"):
        calibrate(report, other)
    with pytest.raises(InputError, match="slides or cases"):
        calibrate(replace(report, protocol={**report.protocol, "level": "slide"}), index.about)
    with pytest.raises(InputError, match="'split'"):
        calibrate(evaluate(index, label="split"), index.about)
