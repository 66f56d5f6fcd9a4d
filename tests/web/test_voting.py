"""What a vote claims: only what was measured, and no patients whom nobody knows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from histoseek.evaluation import Calibration, Reliability
from histoseek.index import Hit, Index
from histoseek.items import Item, Manifest
from histoseek.web.voting import vote_of
from tests.conftest import TinyEncoder, write_archive
from tests.web.conftest import Opened, app_of, id_of

WORTH = Calibration(-1.0, 0.99, {10: {label: Reliability(0.8, 25, 9) for label in ("red", "green", "blue")}})


def vote(client: TestClient, **question: Any) -> dict[str, Any]:
    asked = {"examples": [{"item": id_of(client)}], "k": 10, "per_slide": None, **question}
    answer = client.post("/api/v1/search", json=asked)
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["vote"])


def test_reliability_is_told_of_what_was_measured(client: TestClient) -> None:
    app_of(client).state.archive.calibration = WORTH
    told = vote(client)
    assert (told["reliability"], told["n_queries"], told["n_query_groups"]) == (0.8, 25, 9)
    assert 0.45 < told["reliability_low"] < 0.5 and 0.94 < told["reliability_high"] < 0.96
    assert vote(client, per_slide=2, collapse=True)["reliability"] == 0.8


@pytest.mark.parametrize(
    "question",
    [
        {"examples": [{"text": "red"}]},
        {"filters": [{"column": "label", "values": ["red"]}]},
        {"filters": [{"column": "split", "values": ["train"]}]},
        {"min_score": -1.0},
        {"exclude_group": False},
    ],
)
def test_no_reliability_is_told_of_what_was_not_measured(client: TestClient, question: dict[str, Any]) -> None:
    app_of(client).state.archive.calibration = WORTH
    told = vote(client, **question)
    assert told["labels"] and told["reliability"] is None and told["n_queries"] is None


def test_none_is_told_of_several_examples_and_among_chosen_items(client: TestClient) -> None:
    app_of(client).state.archive.calibration = WORTH
    one, other = id_of(client), id_of(client, "toy/p3_0")
    for weight in (1.0, -0.5):
        assert vote(client, examples=[{"item": one}, {"item": other, "weight": weight}])["reliability"] is None
    assert vote(client, only=[other, id_of(client, "toy/p4_0")])["reliability"] is None


def test_of_a_bare_vector_nothing_is_claimed(client: TestClient) -> None:
    """It may be of words, and of an item whose patient was let in."""
    app_of(client).state.archive.calibration = WORTH
    vector = app_of(client).state.archive.index.rows.vectors(np.array([0]))[0].tolist()
    answer = client.post("/api/v1/search", json={"examples": [{"vector": vector}], "k": 10, "per_slide": None}).json()
    assert answer["vote"]["reliability"] is None and {hit["closeness"] for hit in answer["hits"]} == {None}


def test_a_low_reliability_is_no_reason_to_abstain_where_it_was_not_measured(client: TestClient) -> None:
    app_of(client).state.archive.calibration = Calibration(-1.0, 0.99, {10: {"red": Reliability(0.1, 40, 9)}})
    assert "only 10%" in vote(client)["reason"]
    assert "only 10%" not in str(vote(client, exclude_group=False)["reason"])


def hit(rank: int, label: str | None, group: str = "", source: str = "patient") -> Hit:
    return Hit(rank, 1.0 - rank / 100, Item(f"i{rank}", f"{rank}.png", label=label, group=group, group_source=source))


def test_nothing_is_said_after_few_queries(client: TestClient) -> None:
    few = {label: Reliability(1.0, 9, 9) for label in ("red", "green", "blue")}
    app_of(client).state.archive.calibration = Calibration(-1.0, 0.99, {10: few})
    assert vote(client)["reliability"] is None and vote(client)["n_queries"] is None
    assert client.get("/api/v1/index").json()["reliability"] == []


def test_hits_without_labels_are_similar_enough() -> None:
    bare = [hit(1, None, "a"), hit(2, None, "b")]
    told = vote_of(bare, 3, None, n_weak=1)
    assert told is not None and told.abstain and told.reason == "none of the hits that are similar enough has a label"
    none = vote_of([], 1, None, n_weak=1)
    assert none is not None and none.reason == "nothing in the archive is similar enough"
    assert vote_of(bare, 2, None, n_weak=0) is None


@pytest.mark.parametrize("source", ["image", "slide", "unknown"])
def test_who_nobody_knows_is_no_patient(source: str) -> None:
    hits = [hit(1, "red", "a"), hit(2, "red", "x", source), hit(3, "red", "x", source), hit(4, "blue", "a")]
    told = vote_of(hits, 4, None, 0)
    assert told is not None and not told.abstain
    assert [(one.label, one.n_patients, one.n_unknown) for one in told.labels] == [("red", 1, 2), ("blue", 1, 0)]
    assert (told.n_patients, told.n_unknown) == (1, 2)


@pytest.mark.parametrize(("source", "whose"), [("patient", "patient"), ("case", "patient"), ("slide", "slide")])
def test_hits_of_one_patient_or_one_slide_are_no_answer(source: str, whose: str) -> None:
    alone = vote_of([hit(1, "red", "a", source), hit(2, "red", "a", source)], 2, None, 0)
    assert alone is not None and alone.abstain and f"come from one {whose}" in str(alone.reason)
    several = vote_of([hit(1, "red", "a", source), hit(2, "red", "b", source)], 2, None, 0)
    assert several is not None and not several.abstain


def test_an_archive_counts_the_patients_that_it_knows(opened: Opened, tmp_path: Path) -> None:
    found = list(write_archive(tmp_path, 3))
    unknown = [replace(item, id=f"u{item.id}", group="UNKNOWN", group_source="unknown") for item in found]
    alone = [replace(item, id=f"a{item.id}", group="", group_source="", slide=None) for item in found]
    manifest = Manifest.from_items([*found, *unknown, *alone], tmp_path)
    client = opened(Index.build(manifest, TinyEncoder(), tmp_path / "x.index"))
    assert client.get("/api/v1/index").json()["n_patients"] == 3
    for name, is_known in (("toy/p0_0", True), ("utoy/p0_0", False), ("atoy/p0_0", False)):
        assert (client.get(f"/api/v1/items/{id_of(client, name)}").json()["patient"] is not None) == is_known
