"""What is asked and what is answered: examples, rules, columns, votes, and what stays in the server."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from histoseek.evaluation import Calibration, Reliability, evaluate
from histoseek.index import Example, Index, Removal
from histoseek.items import Manifest
from histoseek.web.archive import Archive
from histoseek.web.pseudonyms import secret_of
from histoseek.web.schemas import SearchIn
from tests.conftest import TinyEncoder, write_archive
from tests.web.conftest import Opened, app_of, id_of


def asked(client: TestClient, **question: Any) -> dict[str, Any]:
    answer = client.post("/api/v1/search", json=question)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def names_of(client: TestClient, told: dict[str, Any]) -> list[str]:
    archive = app_of(client).state.archive
    return [archive.item(hit["id"]).id for hit in told["hits"]]


def test_an_item_is_searched_with_as_by_the_library(client: TestClient, built: Index) -> None:
    told = asked(client, examples=[{"item": id_of(client)}], k=5, per_slide=None, collapse=False)
    hits = built.search(item="toy/p0_0", k=5)
    assert names_of(client, told) == [hit.item.id for hit in hits]
    assert [hit["score"] for hit in told["hits"]] == pytest.approx([hit.score for hit in hits])
    assert [hit["rank"] for hit in told["hits"]] == [1, 2, 3, 4, 5]
    assert told["index_version"] == client.get("/api/v1/index").json()["version"]
    assert told["took_ms"] > 0


def test_words_vectors_and_weights(client: TestClient, built: Index) -> None:
    words = asked(client, examples=[{"text": "red"}], k=3)
    assert [hit["label"] for hit in words["hits"]] == ["red"] * 3
    vector = built.vector_of([Example("text", "red"), Example("item", "toy/p1_0", -0.5)])
    told = asked(client, examples=[{"text": "red"}, {"item": id_of(client, "toy/p1_0"), "weight": -0.5}])
    assert told["query"]["vector"] == pytest.approx(vector.tolist(), abs=1e-6)
    again = asked(client, examples=[{"vector": told["query"]["vector"]}])
    assert again["query"]["digest"] == told["query"]["digest"]


def test_rules_are_kept(client: TestClient) -> None:
    item = id_of(client)
    everything = {"examples": [{"item": item}], "k": 100, "per_slide": None, "collapse": False}
    own = client.get(f"/api/v1/items/{item}").json()["patient"]
    assert own not in {hit["patient"] for hit in asked(client, **everything)["hits"]}
    kept = asked(client, **everything, exclude_group=False)["hits"]
    assert own in {hit["patient"] for hit in kept} and item not in {hit["id"] for hit in kept}
    slides = [hit["slide"]["name"] for hit in asked(client, **(everything | {"per_slide": 1}))["hits"]]
    assert len(slides) == len(set(slides))
    scores = [hit["score"] for hit in asked(client, **everything, min_score=0.3)["hits"]]
    assert scores and min(scores) >= 0.3


@pytest.mark.parametrize(
    ("filters", "where"),
    [
        ([{"column": "label", "values": ["red", "blue"]}], "label IN ('red', 'blue')"),
        ([{"column": "nth", "values": [0, 3.0]}], "nth IN (0, 3)"),
        ([{"column": "nth", "min": 1, "max": 2}], "nth BETWEEN 1 AND 2"),
        ([{"column": "mpp", "max": 0.4999}], "mpp <= 0.4999"),
        ([{"column": "split", "values": [None]}], "split IS NULL"),
        (
            [{"column": "split", "values": ["test"]}, {"column": "label", "values": ["red"]}],
            "split='test' AND label='red'",
        ),
        ([{"column": "label", "values": ["' OR ''='", 'x"; DROP']}], "label = 'none'"),
        ([{"column": "label", "values": ["%"]}], "label = 'none'"),
    ],
)
def test_filters_of_the_page_are_conditions(client: TestClient, built: Index, filters: Any, where: str) -> None:
    told = asked(client, examples=[{"item": id_of(client)}], k=40, filters=filters, per_slide=None, collapse=False)
    assert names_of(client, told) == [hit.item.id for hit in built.search(item="toy/p0_0", k=40, where=where)]
    if not told["hits"]:
        assert told["warnings"] == ["Nothing was found: the filters or the lowest score leave no item."]


@pytest.mark.parametrize(
    ("question", "status", "reason"),
    [
        ({"examples": [{"vector": [0.0] * 32}]}, 422, "finite numbers"),
        ({"examples": [{"vector": [1.0] * 31}]}, 422, "32 finite numbers"),
        ({"examples": [{"vector": [1.0] * 32, "weight": 0}]}, 422, "other than 0"),
        ({"examples": [{"vector": [1.0] * 32}, {"vector": [1.0] * 32, "weight": -1}]}, 422, "cancel each other"),
        ({"examples": [{"text": "   "}]}, 422, "empty"),
        ({"examples": [{"vector": [1.0] * 32}], "filters": [{"column": "group", "values": ["p0"]}]}, 422, "no column"),
        ({"examples": [{"vector": [1.0] * 32}], "filters": [{"column": "path", "values": ["x"]}]}, 422, "no column"),
        ({"examples": [{"vector": [1.0] * 32}], "filters": [{"column": "label", "min": 1}]}, 422, "no order"),
        ({"examples": [{"vector": [1.0] * 32}], "filters": [{"column": "nth", "values": ["a"]}]}, 422, "number"),
        ({"examples": [{"vector": [1.0] * 32}], "filters": [{"column": "nth", "min": "a"}]}, 422, "number"),
        ({"examples": [{"item": "A" * 16}]}, 404, "no such item"),
        (
            {"examples": [{"region": {"slide": "A" * 16, "x": 0, "y": 0, "width": 1, "height": 1}}]},
            404,
            "no such slide",
        ),
        ({"examples": []}, 400, "at least 1 item"),
        ({"examples": [{}]}, 400, "one of item, vector, text and region"),
        ({"examples": [{"vector": [1.0] * 32}], "k": 0}, 400, "k: "),
        ({"examples": [{"vector": [1.0] * 32}], "k": 100000}, 400, "k: "),
    ],
)
def test_what_cannot_be_answered_is_a_sentence(
    client: TestClient, question: dict[str, Any], status: int, reason: str
) -> None:
    answer = client.post("/api/v1/search", json=question)
    assert answer.status_code == status and reason in answer.json()["detail"], answer.text


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"examples": NaN}', b"[" * 100_000, b"\xff\xfe", b'"x"'])
def test_what_is_no_question_is_a_sentence(client: TestClient, body: bytes) -> None:
    answer = client.post("/api/v1/search", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400 and answer.json()["detail"]


def test_words_without_a_text_tower(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    mute = Index.build(write_archive(tmp_path / "p", 3), TinyEncoder(has_text=False), tmp_path / "m.index")
    client = opened(mute)
    told = client.get("/api/v1/index").json()
    assert not told["has_text"] and "knows no words" in told["text_why_not"]
    answer = client.post("/api/v1/search", json={"examples": [{"text": "red"}]})
    assert answer.status_code == 422 and "knows no words" in answer.json()["detail"]


def test_what_the_archive_says_of_itself(client: TestClient, built: Index) -> None:
    told = client.get("/api/v1/index").json()
    assert (told["n_items"], told["n_patients"], told["n_slides"], told["dim"]) == (36, 9, 18, 32)
    assert told["fingerprint"] == built.about.fingerprint.digest and told["has_text"]
    columns = {column["name"]: column for column in told["columns"]}
    assert list(columns) == ["label", "dataset", "split", "mpp", "nth"]
    assert columns["split"]["values"] == [{"value": "train", "count": 24}, {"value": "test", "count": 12}]
    assert (columns["nth"]["kind"], columns["nth"]["min"], columns["nth"]["max"]) == ("number", 0, 3)


def private(folder: Path) -> Manifest:
    """An archive whose columns say who somebody is."""
    folder.mkdir()
    found = write_archive(folder, 6)
    items = [
        replace(
            item,
            id=f"Doe_Jane/{item.id}",
            group=f"Doe Jane {item.group}",
            slide=f"Doe-{item.slide}",
            extra={
                "mrn": int(item.group[1:]) + 5_551_000,
                "surname": f"Doe {item.group}",
                "centre": f"c{nth % 2}",
                "age": 41.5,
            },
        )
        for nth, item in enumerate(found)
    ]
    return Manifest.from_items(items, folder, {"dataset": "toy"})


def everything_told(client: TestClient) -> str:
    item = app_of(client).state.archive.item_id(app_of(client).state.archive.index.manifest[0])
    texts = [client.get(path).text for path in ("/api/v1/index", f"/api/v1/items/{item}", "/api/v1/openapi.json")]
    question = {"examples": [{"item": item}], "k": 30}
    texts.append(client.post("/api/v1/search", json=question).text)
    texts += [client.post(f"/api/v1/export?format={kind}", json=question).text for kind in ("csv", "session")]
    texts += [client.get(f"/api/v1/{path}").text for path in ("slides", "map", "healthz")]
    return "".join(texts)


def test_names_never_leave_the_server(opened: Opened, tmp_path: Path) -> None:
    index = Index.build(private(tmp_path / "Doe_Jane"), TinyEncoder(), tmp_path / "x.index")
    client = opened(index)
    text = everything_told(client)
    assert "centre" in text and "age" in text
    for secret in ("Doe", "Jane", "555100", "mrn", "_0.png", str(tmp_path), "surname"):
        assert secret not in text, secret
    item = app_of(client).state.archive.item_id(index.manifest[0])
    shown = client.get(f"/api/v1/items/{item}").json()
    assert shown["slide"]["name"].startswith("S-") and shown["patient"].startswith("P-")
    kept = everything_told(opened(index, keep_names=True))
    assert "Doe Jane p0" in kept and "Doe-p0s0" in kept and "5551000" in kept
    assert str(tmp_path) not in kept and "p0_0.png" not in kept


def test_pseudonyms_are_the_same_on_every_start_and_not_to_be_guessed(opened: Opened, built: Index) -> None:
    first, second = opened(), opened()
    assert id_of(first) == id_of(second)
    key = built.path / "pseudonyms.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600 and len(key.read_bytes()) == 32
    item = built.manifest[0]
    others = Archive(built, b"x" * 32)
    assert others.item_id(item) != id_of(first) and others.patient_name(item) != Archive(built, b"y" * 32).patient_name(
        item
    )


def test_an_archive_that_nobody_may_write_to_is_served(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p").mkdir()
    index = Index.build(write_archive(tmp_path / "p", 3), TinyEncoder(), tmp_path / "x.index")
    monkeypatch.setenv("HISTOSEEK_CACHE", str(tmp_path / "cache"))
    import os

    real = os.access
    closed = str(index.path)
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).startswith(closed) and real(path, mode))
    before = sorted(path for path in index.path.rglob("*"))
    client = opened(index, audit_log=None)
    assert asked(client, examples=[{"item": id_of(client)}])["hits"]
    assert sorted(path for path in index.path.rglob("*")) == before
    assert {path.name for path in (tmp_path / "cache").rglob("*.*")} >= {"pseudonyms.key", "audit.jsonl"}


def test_the_archive_may_change_while_it_is_served(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    manifest = write_archive(tmp_path / "p", 5)
    index = Index.build(manifest, TinyEncoder(), tmp_path / "x.index")
    client = opened(Index.open(tmp_path / "x.index", TinyEncoder()))
    item, gone = id_of(client), id_of(client, "toy/p1_0")
    before = asked(client, examples=[{"item": item}], k=30)
    index.remove(Removal(items=("toy/p1_0",)))
    after = asked(client, examples=[{"item": item}], k=30)
    assert after["index_version"] != before["index_version"]
    assert gone in {hit["id"] for hit in before["hits"]} and gone not in {hit["id"] for hit in after["hits"]}
    assert client.get(f"/api/v1/items/{gone}").status_code == 404
    assert client.get("/api/v1/index").json()["n_items"] == 19


def test_a_question_sees_one_version(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another process writes between its examples, its rules and its answer changes none of them."""
    looks: list[str] = []
    now = Archive.now
    item, other = id_of(client), id_of(client, "toy/p1_0")

    def counted(archive: Archive) -> Index:
        looks.append("")
        return now(archive)

    monkeypatch.setattr(Archive, "now", counted)
    filters = [{"column": "label", "values": ["red", "green", "blue"]}]
    question = {"examples": [{"item": item}, {"item": other}], "filters": filters, "only": [item, other]}
    assert client.post("/api/v1/search", json=question).status_code == 200
    assert len(looks) == 1
    for what in ("csv", "session", "sheet"):
        looks.clear()
        assert client.post(f"/api/v1/export?format={what}", json=question).status_code == 200
        assert len(looks) == 1, what


def test_a_batch_answers_each_line_in_its_place(client: TestClient) -> None:
    good = {"examples": [{"item": id_of(client)}], "k": 2}
    lines = [json.dumps(good), "nonsense", json.dumps({"examples": [{"item": "A" * 16}]}), "", json.dumps(good)]
    answer = client.post("/api/v1/search/batch", content="\n".join(lines))
    assert answer.status_code == 200 and answer.headers["Content-Type"].startswith("application/x-ndjson")
    told = [json.loads(line) for line in answer.text.splitlines()]
    assert [one.get("problem", {}).get("status") for one in told] == [None, 400, 404, None]
    alone = asked(client, **good)
    assert [hit["id"] for hit in told[0]["hits"]] == [hit["id"] for hit in alone["hits"]]
    assert client.post("/api/v1/search/batch", content=b"\n\n").text == ""
    assert client.post("/api/v1/search/batch", content=b"{}\n" * 300).status_code == 413
    many = json.dumps(good | {"k": 1000})
    assert client.post("/api/v1/search/batch", content="\n".join([many] * 30)).status_code == 413


def test_a_vote_counts_patients_and_tells_what_it_is_worth(client: TestClient) -> None:
    archive = app_of(client).state.archive
    question = {"examples": [{"item": id_of(client)}], "k": 10, "per_slide": None}
    bare = asked(client, **question)
    assert bare["vote"]["reliability"] is None and bare["first_weak"] is None
    assert {hit["closeness"] for hit in bare["hits"]} == {None}
    scores = [hit["score"] for hit in bare["hits"]]
    worth = {"red": Reliability(0.8, 25, 9), "green": Reliability(0.2, 12, 9)}
    archive.calibration = Calibration((scores[4] + scores[5]) / 2, (scores[1] + scores[2]) / 2, {5: worth, 50: {}})
    told = asked(client, **question)
    assert [hit["closeness"] for hit in told["hits"]] == ["close"] * 2 + ["related"] * 3 + ["weak"] * 5
    assert told["first_weak"] == 6
    assert sum(label["count"] for label in told["vote"]["labels"]) == 5  # weak hits have no voice
    assert told["vote"]["winner"] == "red"
    assert (told["vote"]["reliability"], told["vote"]["n_queries"]) == (0.8, 25)
    assert not told["vote"]["abstain"] and told["vote"]["n_patients"] > 1
    winner = told["vote"]["labels"][0]
    assert winner["share"] == winner["count"] / 5 and winner["n_patients"] <= winner["count"]


def test_a_vote_abstains_with_a_reason(client: TestClient) -> None:
    archive = app_of(client).state.archive
    question = {"examples": [{"item": id_of(client)}], "k": 6, "per_slide": None}
    archive.calibration = Calibration(1.5, 1.6, {})
    far = asked(client, **question)
    assert far["vote"]["abstain"] and far["vote"]["reason"] == "nothing in the archive is similar enough"
    assert far["first_weak"] == 1 and "similar enough" in far["warnings"][0]
    archive.calibration = Calibration(-1.0, 0.99, {6: {"red": Reliability(0.4, 40, 9)}})
    doubtful = asked(client, **question)["vote"]
    assert doubtful["abstain"] and "only 40%" in doubtful["reason"]
    single = asked(client, **(question | {"k": 1}))["vote"]
    assert single["abstain"] and "one patient" in single["reason"]
    both = [{"column": "label", "values": ["red", "green"]}]
    for k in range(2, 30):
        vote = asked(client, **(question | {"k": k, "filters": both}))["vote"]
        counts = [label["count"] for label in vote["labels"]]
        if len(counts) == 2 and counts[0] == counts[1]:
            assert vote["abstain"] and "equally many" in vote["reason"]


def test_words_are_not_held_against_the_floor_of_pictures(client: TestClient) -> None:
    app_of(client).state.archive.calibration = Calibration(1.5, 1.6, {})
    assert asked(client, examples=[{"text": "red"}])["first_weak"] is None
    away = [{"item": id_of(client)}, {"item": id_of(client, "toy/p1_0"), "weight": -0.5}]
    assert asked(client, examples=away)["first_weak"] is None


def test_a_report_of_the_index_calibrates_it(opened: Opened, built: Index, tmp_path: Path) -> None:
    evaluate(built).write(tmp_path / "report")
    told = opened(report=tmp_path / "report").get("/api/v1/index").json()
    assert {one["label"] for one in told["reliability"]} <= {"red", "green", "blue"}
    assert all(0 <= one["precision"] <= 1 and one["n_queries"] > 0 for one in told["reliability"])
    assert -1 <= told["floor"] <= 2


def test_a_saved_question_is_asked_again(built: Index, client: TestClient, tmp_path: Path) -> None:
    from histoseek.errors import FingerprintError, InputError
    from histoseek.web.session_file import replay_session, session_text

    question = {"examples": [{"item": id_of(client)}], "k": 4, "filters": [{"column": "label", "values": ["red"]}]}
    told = asked(client, **question)
    file = tmp_path / "session.json"
    for text in (session_text(SearchIn.model_validate(question), built), json.dumps(question)):
        file.write_text(text)
        assert [hit.item.id for hit in replay_session(built, file)] == names_of(client, told)
    file.write_text(
        session_text(SearchIn.model_validate(question), built).replace(built.about.fingerprint.digest, "0" * 16)
    )
    with pytest.raises(FingerprintError, match="another encoder"):
        replay_session(built, file)
    for text in ("", "[]", "{}x", '{"asked": {"k": "a"}}', "[" * 100_000):
        file.write_text(text)
        with pytest.raises(InputError, match="is no session"):
            replay_session(built, file)
    with pytest.raises(InputError, match="cannot be read"):
        replay_session(built, tmp_path / "none.json")


def test_a_question_of_a_server_that_keeps_names_is_asked_again(opened: Opened, tmp_path: Path) -> None:
    from histoseek.web.session_file import replay_session

    index = Index.build(private(tmp_path / "Doe_Jane"), TinyEncoder(), tmp_path / "x.index")
    client = opened(index, keep_names=True)
    filters = [{"column": "surname", "values": ["Doe p1", "Doe p2"]}]
    question = {"examples": [{"item": id_of(client, index.manifest[0].id)}], "filters": filters}
    told = asked(client, **question)
    assert len(told["hits"]) > 1
    file = tmp_path / "session.json"
    file.write_bytes(client.post("/api/v1/export?format=session", json=question).content)
    assert [hit.item.id for hit in replay_session(index, file)] == names_of(client, told)


def test_a_saved_question_names_the_version_that_was_searched(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p").mkdir()
    index = Index.build(write_archive(tmp_path / "p", 5), TinyEncoder(), tmp_path / "x.index")
    client = opened(Index.open(tmp_path / "x.index", TinyEncoder()))
    archive, version = app_of(client).state.archive, client.get("/api/v1/index").json()["version"]
    answer = archive.answer

    def answer_and_change(asked: SearchIn) -> Any:
        found = answer(asked)
        index.remove(Removal(items=("toy/p1_0",)))
        return found

    monkeypatch.setattr(archive, "answer", answer_and_change)
    question = {"examples": [{"item": id_of(client)}]}
    kept = client.post("/api/v1/export?format=session", json=question).json()
    assert kept["histoseek_session"]["index_version"] == version != client.get("/api/v1/index").json()["version"]


def test_the_search_of_the_archive_is_that_of_the_library(built: Index) -> None:
    archive = Archive(built, secret_of(built))
    question = SearchIn.model_validate({"examples": [{"vector": np.eye(32)[0].tolist()}], "k": 3, "per_slide": None})
    assert [hit.score for hit in archive.search(question)] == pytest.approx(
        [hit.score for hit in built.search([Example("vector", np.eye(32)[0])], k=3, collapse=True)]
    )
    assert archive.vector(question) == pytest.approx(np.eye(32)[0])
