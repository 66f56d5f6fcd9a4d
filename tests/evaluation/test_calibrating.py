"""What scores and votes are worth, by hand and on a small archive."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from histoseek.errors import InputError
from histoseek.evaluation import Calibration, Reliability, Report, calibrate, evaluate
from histoseek.evaluation.calibrating import FEWEST, OUT_OF_REACH, _score_from, _vote, isotonic
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
    worth = Calibration(0.4, 0.6, {5: {"a": Reliability(0.5, 4, 2)}, 20: {"a": Reliability(0.9, 9, 3)}})
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
    assert found.floor is not None
    strong = []  # by hand: of the five best hits those that are not below the floor vote; even ones do not
    for label, group, hits, scores in zip(
        *(table[name].to_pylist() for name in ("label", "group", "hit_labels", "hit_scores")), strict=True
    ):
        votes = [hit for hit, score in zip(hits[:5], scores[:5], strict=True) if score >= found.floor]
        counts = sorted((votes.count(one) for one in set(votes)), reverse=True)
        if votes and (len(counts) == 1 or counts[0] > counts[1]):
            strong.append((max(set(votes), key=votes.count), label, group))
    red = [(label, group) for voted, label, group in strong if voted == "red"]
    share = sum(label == "red" for label, _ in red) / len(red)
    assert found.reliability(5)["red"] == Reliability(share, len(red), len({group for _, group in red}))
    every = [score for scores in table["hit_scores"].to_pylist() for score in scores]
    assert min(every) <= found.floor <= max(every)
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


def test_weak_hits_and_even_ones_have_no_vote() -> None:
    hits = ((0.9, "a"), (0.8, "b"), (0.3, "b"), (0.2, "b"), (0.1, None))
    assert _vote(hits, None) == "b" and _vote(hits, 0.85) == "a"
    assert _vote(hits, 0.5) is None and _vote(hits, 0.95) is None and _vote(hits[-1:], None) is None


def test_the_interval_is_wilsons_by_patients() -> None:
    one = Reliability(0.8, 400, 25)
    assert (one.low, one.high) == pytest.approx((0.6087, 0.9114), abs=1e-4)
    sure = Reliability(1.0, 12, 3)
    assert sure.low == pytest.approx(0.4385, abs=1e-4) and sure.high == 1.0
