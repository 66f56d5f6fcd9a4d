from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histoseek.errors import InputError
from histoseek.evaluation import Report, evaluate
from histoseek.evaluation import ranking as ranking_module
from histoseek.index import Index
from histoseek.items import Item, Manifest
from histoseek.metrics import majority_vote, weighted_vote


@pytest.fixture
def index(archive: Manifest, make_encoder: Any, tmp_path: Path) -> Index:
    return Index.build(archive, make_encoder(has_text=False), tmp_path / "toy.index")


def queries_of(report: Report) -> list[dict[str, Any]]:
    return list(report.per_query.to_pylist())


def naive_hits(index: Index, query: Item, gallery: list[Item], k: int) -> list[Item]:
    """Everything allowed, by cosine, the own group left out."""
    rows = index.rows_of([item.id for item in gallery])
    vector = index.rows.vectors(index.rows_of([query.id]))[0].astype(float)
    scores = (index.rows.vectors(rows).astype(float) @ vector).astype(np.float32)
    order = sorted(range(len(gallery)), key=lambda at: (-scores[at], rows[at]))
    return [gallery[at] for at in order if gallery[at].group != query.group][:k]


def test_nobody_meets_the_own_group_when_it_is_left_out(index: Index) -> None:
    report = evaluate(index)
    group = {item.id: item.group for item in index.manifest}
    assert report.per_query.num_rows == 36
    for query in queries_of(report):
        assert query["hit_ids"]
        assert all(group[hit] != query["group"] for hit in query["hit_ids"])


def test_hits_and_figures_of_each_query_are_what_the_definition_says(index: Index) -> None:
    report = evaluate(index, ks=(1, 5, 20))
    items = {item.id: item for item in index.manifest}
    for query in queries_of(report):
        item = items[query["id"]]
        hits = naive_hits(index, item, list(items.values()), 20)
        assert query["hit_ids"] == [hit.id for hit in hits]
        assert query["hit_labels"] == [hit.label for hit in hits]
        others = [one for one in items.values() if one.group != item.group and one.label == item.label]
        assert query["n_relevant"] == len(others)
        right = [hit.label == item.label for hit in hits]
        assert query["Acc@5"] == float(any(right[:5]))
        assert query["P@5"] == pytest.approx(sum(right[:5]) / 5)
        precisions = [sum(right[: at + 1]) / (at + 1) for at in range(5) if right[at]]
        assert query["AP@5"] == pytest.approx(sum(precisions) / min(5, len(others)))
    assert report.scores["mAP@5"].value == pytest.approx(report.per_query["AP@5"].to_numpy().mean())


def test_ap_divides_by_relevant_items_in_reach_and_not_in_the_whole_index(index: Index) -> None:
    labels = [item.label for item in index.manifest]
    perfect = 0
    for query in queries_of(evaluate(index, ks=(20,))):
        assert query["n_relevant"] < labels.count(query["label"])
        if all(label == query["label"] for label in query["hit_labels"][: query["n_relevant"]]):
            perfect += 1
            assert query["AP@20"] == pytest.approx(1)
    assert perfect > 10


def test_split_takes_the_gallery_without_the_queries(index: Index) -> None:
    report = evaluate(index, "split = 'test'", protocol="split", gallery="split = 'train'")
    train = {item.id for item in index.manifest if item.split == "train"}
    assert report.per_query.num_rows == 12
    assert all(set(query["hit_ids"]) <= train for query in queries_of(report))
    assert (report.protocol["gallery items"], report.protocol["queries"]) == (24, 12)


def test_split_with_a_group_on_both_sides_is_refused(index: Index) -> None:
    with pytest.raises(InputError, match=r"3 groups are among the queries and in the gallery \(p0, p3, p6\)"):
        evaluate(index, "split = 'test'", protocol="split")


def test_manifest_of_queries_means_split_and_is_checked_for_overlap(index: Index, archive: Manifest) -> None:
    with pytest.raises(InputError, match="meet themselves"):
        evaluate(index, archive.where(split="test"))
    report = evaluate(index, archive.where(split="test"), gallery="split = 'train'")
    assert report.protocol["protocol"] == "split"


def test_queries_outside_the_index_are_embedded(archive: Manifest, make_encoder: Any, tmp_path: Path) -> None:
    encoder = make_encoder(has_text=False)
    apart = Index.build(archive.where(split="train"), encoder, tmp_path / "train.index")
    whole = Index.build(archive, encoder, tmp_path / "whole.index")
    one = evaluate(apart, archive.where(split="test"))
    two = evaluate(whole, archive.where(split="test"), gallery="split = 'train'")
    assert [query["hit_ids"] for query in queries_of(one)] == [query["hit_ids"] for query in queries_of(two)]
    assert one.scores == two.scores


def test_unreadable_queries_are_counted_and_left_out(archive: Manifest, make_encoder: Any, tmp_path: Path) -> None:
    index = Index.build(archive.where(split="train"), make_encoder(has_text=False), tmp_path / "x.index")
    asked = archive.where(split="test")
    asked.path_of(asked[1]).unlink()
    report = evaluate(index, asked)
    assert report.protocol["unreadable queries (left out)"] == 1
    assert report.per_query["id"].to_pylist() == [item.id for item in asked if item.id != asked[1].id]


def test_unanswerable_queries_are_counted_and_left_out_of_every_figure(
    archive: Manifest, make_encoder: Any, tmp_path: Path
) -> None:
    items = [replace(item, label="rare") if item.group == "p0" else item for item in archive]
    manifest = Manifest.from_items(items, archive.root)
    report = evaluate(Index.build(manifest, make_encoder(has_text=False), tmp_path / "x.index"))
    assert report.protocol["unanswerable queries (left out)"] == 4
    answerable = [query for query in queries_of(report) if query["label"] != "rare"]
    assert {query["n_relevant"] for query in queries_of(report) if query["label"] == "rare"} == {0}
    assert "rare" not in report.per_class
    assert report.scores["mAP@5"].value == pytest.approx(np.mean([query["AP@5"] for query in answerable]))
    assert len(answerable) == 32


def test_items_without_label_are_never_judged_but_may_be_found(
    archive: Manifest, make_encoder: Any, tmp_path: Path
) -> None:
    items = [replace(item, label=None) if item.group == "p1" else item for item in archive]
    index = Index.build(Manifest.from_items(items, archive.root), make_encoder(has_text=False), tmp_path / "x.index")
    report = evaluate(index)
    assert report.protocol["queries without label (left out)"] == 4
    assert report.per_query.num_rows == 32
    assert any(None in query["hit_labels"] for query in queries_of(report))


def test_no_answerable_query_is_an_error(archive: Manifest, make_encoder: Any, tmp_path: Path) -> None:
    items = [replace(item, label=item.group) for item in archive]
    index = Index.build(Manifest.from_items(items, archive.root), make_encoder(has_text=False), tmp_path / "x.index")
    with pytest.raises(InputError, match="no query can be answered"):
        evaluate(index)


def test_figures_do_not_depend_on_the_size_of_query_blocks(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluate(index)
    monkeypatch.setattr(ranking_module, "QUERIES_A_BLOCK", 5)
    parts = evaluate(index)
    assert whole.per_query.equals(parts.per_query)
    assert whole.scores == parts.scores


def test_knn_and_confusion_look_deep_enough_whatever_the_ks(index: Index) -> None:
    shallow, deep = evaluate(index, ks=(1,)), evaluate(index, ks=(1, 5, 20))
    assert shallow.scores["kNN accuracy"] == deep.scores["kNN accuracy"]
    assert shallow.confusion == deep.confusion


def test_knn_accuracy_and_confusion_are_those_of_the_votes(index: Index) -> None:
    report = evaluate(index)
    names = sorted({query["label"] for query in queries_of(report)})
    codes = np.array([[names.index(label) for label in query["hit_labels"][:20]] for query in queries_of(report)])
    scores = np.array([query["hit_scores"][:20] for query in queries_of(report)], dtype=np.float32)
    truth = np.array([names.index(query["label"]) for query in queries_of(report)])
    right = weighted_vote(codes, scores, 20) == truth
    assert report.scores["kNN accuracy"].value == pytest.approx(right.mean())
    voted = majority_vote(codes, 5)
    seen = sorted({*truth, *voted})
    assert report.confusion["labels"] == [names[code] for code in seen]
    assert report.confusion["counts"] == [[int(((truth == t) & (voted == v)).sum()) for v in seen] for t in seen]


def test_macro_is_the_mean_of_the_classes(index: Index) -> None:
    report = evaluate(index)
    for name in ("Acc@1", "mAP@10", "mMV@5"):
        means = [values[name] for values in report.per_class.values()]
        assert report.macro[name].value == pytest.approx(np.mean(means))


def test_figures_are_the_same_for_the_same_seed(index: Index) -> None:
    assert evaluate(index, seed=5).scores == evaluate(index, seed=5).scores
    assert evaluate(index, seed=5).scores != evaluate(index, seed=6).scores


def test_another_column_can_decide_what_is_relevant(index: Index) -> None:
    report = evaluate(index, label="nth", ks=(5,))
    assert {query["label"] for query in queries_of(report)} == {"0", "1", "2", "3"}
    assert {query["n_relevant"] for query in queries_of(report)} == {8}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"label": "nope"}, "no column 'nope'"),
        ({"gallery": "label = 'none'"}, "gallery is empty"),
        ({"queries": "label = 'none'"}, "no query"),
        ({"ks": (0,)}, "k must be at least 1"),
        ({"ks": ()}, "k must be at least 1"),
        ({"n_bootstrap": 0}, "at least 1 round"),
        ({"protocol": "honest"}, "no protocol 'honest'"),
        ({"label": "case"}, "no query has a value"),
    ],
)
def test_wrong_settings_are_refused(index: Index, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        evaluate(index, **settings)


def test_protocol_says_what_the_figures_depend_on(index: Index) -> None:
    told = evaluate(index, gallery="nth < 3").protocol
    assert told["gallery filter"] == "nth < 3"
    assert (told["gallery items"], told["gallery groups"]) == (27, 9)
    assert (told["queries"], told["query groups"], told["classes"]) == (36, 9, 3)
    assert told["exclusion"].startswith("every item of the query's group")
    assert told["group stands for"] == "patient"
    assert told["encoder"] == "tiny"


def test_words_are_evaluated_with_a_dual_encoder(archive: Manifest, tiny: Any, tmp_path: Path) -> None:
    text = evaluate(Index.build(archive, tiny, tmp_path / "x.index")).text
    assert text["zero-shot accuracy"] > 0.9
    assert set(text["classes"]) == {"red", "green", "blue"}
    assert all(one["P@10"] > 0.9 for one in text["classes"].values())
    assert text["classes"]["red"]["chance"] == pytest.approx(1 / 3)
    assert text["caption → image Acc@10"] == 1


def test_words_are_not_evaluated_without_a_text_tower(index: Index) -> None:
    assert evaluate(index).text == {}
