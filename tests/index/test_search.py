from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from histoseek.encoders import load_encoder
from histoseek.errors import EncoderError, FingerprintError, ImageError, InputError
from histoseek.index import MINUS, Example, Hits, Index
from histoseek.items import Item, Manifest


@pytest.fixture
def index(archive: Manifest, tiny: Any, tmp_path: Path) -> Index:
    return Index.build(archive, tiny, tmp_path / "toy.index")


def ids(hits: Hits) -> list[str]:
    return [hit.item.id for hit in hits]


def full_ranking(index: Index, vector: np.ndarray) -> list[tuple[Item, float]]:
    """Every item with its cosine, best first: the definition that the rules of a search are held against."""
    items = list(index.manifest)
    scores = index.rows.vectors(np.arange(len(items))).astype(float) @ vector.astype(float)
    return [(items[row], float(scores[row])) for row in np.argsort(-scores, kind="stable")]


def test_image_that_is_in_the_index_is_its_own_first_hit(index: Index, archive: Manifest) -> None:
    path = archive.path_of(archive[5])
    with Image.open(path) as image:
        pixels = np.asarray(image)
        asked = [path, str(path), image, pixels]
        for one in asked:
            hits = index.search(image=one, mpp=0.5, k=3)
            assert ids(hits)[0] == archive[5].id
            assert hits[0].score == pytest.approx(1, abs=1e-6)


def test_rank_starts_at_one_and_scores_fall(index: Index) -> None:
    hits = index.search(item="toy/p0_0", k=7)
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5, 6, 7]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_hits_are_the_first_of_the_full_ranking(index: Index, tiny: Any) -> None:
    vector = tiny.embed_texts(["red"])[0]
    hits = index.search([Example("vector", vector)], k=10)
    wanted = full_ranking(index, vector)[:10]
    assert ids(hits) == [item.id for item, _ in wanted]
    assert [hit.score for hit in hits] == pytest.approx([score for _, score in wanted], abs=1e-6)
    assert hits[0].item == wanted[0][0]


def test_item_does_not_meet_its_own_group_by_default(index: Index) -> None:
    hits = index.search(item="toy/p0_0", k=100)
    assert len(hits) == 32
    assert all(hit.item.group != "p0" for hit in hits)


def test_item_may_meet_its_group_when_asked_but_never_itself(index: Index) -> None:
    found = ids(index.search(item="toy/p0_0", k=100, exclude_group=False))
    assert len(found) == 35
    assert "toy/p0_0" not in found
    assert "toy/p0_1" in found


def test_groups_of_all_examples_are_left_out_also_of_counter_examples(index: Index) -> None:
    asked = [Example("item", "toy/p0_0"), Example("item", "toy/p1_0", MINUS)]
    assert {hit.item.group for hit in index.search(asked, k=100)} == {f"p{n}" for n in range(2, 9)}


def test_text_finds_pictures_of_its_colour(index: Index) -> None:
    hits = index.search(text="something red", k=8)
    assert {hit.item.label for hit in hits} == {"red"}


def test_examples_are_weighed_and_added_as_unit_vectors(index: Index, tiny: Any) -> None:
    red, blue = tiny.embed_texts(["red", "blue"]).astype(float)
    asked = [Example("text", "red"), Example("vector", list(5 * blue), MINUS)]
    mixed = red - 0.5 * blue
    wanted = full_ranking(index, mixed / np.linalg.norm(mixed))
    assert ids(index.search(asked, k=10)) == [item.id for item, _ in wanted[:10]]


def test_examples_that_cancel_out_are_refused(index: Index) -> None:
    with pytest.raises(InputError, match="cancel"):
        index.search([Example("text", "red"), Example("text", "red", -1.0)])


@pytest.mark.parametrize(
    ("where", "keeps"),
    [
        ("label = 'red'", lambda item: item.label == "red"),
        ("nth > 1 AND split = 'train'", lambda item: item.extra["nth"] > 1 and item.split == "train"),
        ("group IN ('p1', 'p2')", lambda item: item.group in ("p1", "p2")),
        ("label IS NULL", lambda item: False),
    ],
)
def test_filter_is_kept_and_nothing_that_fulfils_it_is_missed(index: Index, tiny: Any, where: str, keeps: Any) -> None:
    vector = tiny.embed_texts(["green"])[0]
    wanted = [item.id for item, _ in full_ranking(index, vector) if keeps(item)][:6]
    assert ids(index.search(text="green", where=where, k=6)) == wanted


@pytest.mark.parametrize("k", [1, 3, 5, 9, 40])
@pytest.mark.parametrize(
    "rules", [{"per_group": 1}, {"per_group": 2}, {"per_slide": 1}, {"per_group": 2, "per_slide": 1}]
)
def test_quotas_give_what_going_through_the_whole_ranking_gives(
    index: Index, tiny: Any, rules: dict[str, int], k: int
) -> None:
    used: dict[Any, int] = {}
    wanted = []
    for item, _ in full_ranking(index, tiny.embed_texts(["blue"])[0]):
        keys = [(name, getattr(item, name[4:])) for name in rules]
        if all(used.get(key, 0) < rules[key[0]] for key in keys):
            wanted.append(item.id)
            for key in keys:
                used[key] = used.get(key, 0) + 1
    assert ids(index.search(text="blue", k=k, **rules)) == wanted[:k]


def test_lowest_score_is_kept_and_nothing_above_it_is_missed(index: Index, tiny: Any) -> None:
    ranking = full_ranking(index, tiny.embed_texts(["blue"])[0])
    border = (ranking[11][1] + ranking[12][1]) / 2
    assert ids(index.search(text="blue", k=30, min_score=border)) == [item.id for item, _ in ranking[:12]]


def test_identical_images_are_shown_once_on_request(archive: Manifest, tiny: Any, tmp_path: Path) -> None:
    items = list(archive)
    path, sha256 = items[0].path, items[0].sha256
    twins = [Item(id=f"twin{n}", path=path, sha256=sha256, mpp=0.5, group=f"t{n}") for n in range(20)]
    index = Index.build(Manifest.from_items([*items, *twins], archive.root), tiny, tmp_path / "twins.index")
    asked = archive.path_of(items[0])
    assert ids(index.search(image=asked, mpp=0.5, k=3)) == ["toy/p0_0", "twin0", "twin1"]
    once = index.search(image=asked, mpp=0.5, k=5, collapse=True)
    assert [name for name in ids(once) if "twin" in name or name == "toy/p0_0"] == ["toy/p0_0"]
    assert len(once) == 5


def test_items_of_unknown_slide_do_not_share_a_quota(archive: Manifest, tiny: Any, tmp_path: Path) -> None:
    items = [Item(id=item.id, path=item.path, mpp=0.5) for item in archive]
    index = Index.build(Manifest.from_items(items, archive.root), tiny, tmp_path / "bare.index")
    assert len(index.search(text="red", per_slide=1, collapse=True, k=36)) == 36


def test_text_on_an_index_without_words_names_what_would_help(
    archive: Manifest, make_encoder: Any, tmp_path: Path
) -> None:
    index = Index.build(archive, make_encoder(has_text=False), tmp_path / "mute.index")
    with pytest.raises(EncoderError, match=r"'tiny', which knows no words; .* dual encoder"):
        index.search(text="red")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "nothing is asked"),
        ({"item": "p0_0"}, "did you mean toy/p0_0"),
        ({"item": "zzz"}, "no item 'zzz'"),
        ({"text": "  "}, "empty"),
        ({"text": "red", "k": 0}, "k must be at least 1"),
        ({"text": "red", "per_group": 0}, "per-group must be at least 1"),
        ({"text": "red", "where": "labl = 'x'"}, "did you mean 'label'"),
        ({"image": np.zeros((4, 4), np.uint8)}, "must be uint8"),
        ({"examples": [Example("vector", [1.0, 2.0])]}, "32 finite numbers"),
        ({"examples": [Example("vector", ["a", "b"])]}, "32 finite numbers"),  # type: ignore[list-item]
        ({"examples": [Example("vector", [0.0] * 32)]}, "32 finite numbers"),
        ({"examples": [Example("vector", [float("nan")] * 32)]}, "32 finite numbers"),
    ],
)
def test_wrong_question_is_refused_with_a_reason(index: Index, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        index.search(**asked)


def test_query_image_that_cannot_be_read_is_named(index: Index, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"none\.png"):
        index.search(image=tmp_path / "none.png")


def test_weight_of_zero_is_refused() -> None:
    with pytest.raises(InputError, match="weight"):
        Example("text", "red", 0)


def test_reopened_index_gives_the_same_answer(index: Index, tiny: Any) -> None:
    again = Index.open(index.path, tiny)
    assert again.search(text="red").rows() == index.search(text="red").rows()
    assert again.about == index.about


def test_item_search_needs_no_encoder(index: Index) -> None:
    assert len(Index.open(index.path).search(item="toy/p0_0")) == 10


def test_another_encoder_is_refused_with_the_name_of_the_right_one(index: Index, make_encoder: Any) -> None:
    with pytest.raises(FingerprintError, match="use --encoder tiny"):
        Index.open(index.path, make_encoder(weights="other"))


def test_encoder_of_the_index_is_loaded_by_its_name(archive: Manifest, tmp_path: Path) -> None:
    Index.build(archive.where(split="test"), "color", tmp_path / "color.index")
    index = Index.open(tmp_path / "color.index")
    hits = index.search(image=archive.path_of(archive[0]), mpp=0.5, k=1)
    assert ids(hits) == [archive[0].id]
    assert index.encoder.fingerprint == load_encoder("color").fingerprint


def test_json_holds_query_and_hits(index: Index, tmp_path: Path) -> None:
    hits = index.search(text="red", k=2, where="label = 'red'")
    told = json.loads(hits.to_json(tmp_path / "hits.json"))
    assert json.loads((tmp_path / "hits.json").read_text(encoding="utf-8")) == told
    assert [row["rank"] for row in told["hits"]] == [1, 2]
    assert told["hits"][0]["id"] == hits[0].item.id
    assert told["hits"][0]["nth"] == hits[0].item.extra["nth"]
    assert told["query"]["examples"] == [{"kind": "text", "value": "red", "weight": 1.0}]
    assert told["query"]["rules"]["where"] == "label = 'red'"


def test_json_of_a_missing_number_is_valid_json(index: Index) -> None:
    hit = index.search(text="red", k=1)[0]
    odd = Item(id="odd", path="p", extra={"ratio": float("nan")})
    text = Hits((hit, type(hit)(2, 0.5, odd)), index.path).to_json()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_csv_has_one_row_a_hit(index: Index, tmp_path: Path) -> None:
    hits = index.search(text="red", k=3)
    hits.to_csv(tmp_path / "hits.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "hits.csv").read_text(encoding="utf-8"))))
    assert [row["rank"] for row in rows] == ["1", "2", "3"]
    assert [row["id"] for row in rows] == ids(hits)


def test_csv_without_hits_has_its_header(index: Index) -> None:
    assert index.search(text="red", where="label IS NULL").to_csv().strip() == "rank,score,id"


def test_pandas_table_has_the_columns_of_rows(index: Index) -> None:
    hits = index.search(text="red", k=3)
    assert hits.to_pandas()["id"].tolist() == ids(hits)


def test_vote_counts_hits_and_groups_of_each_label(index: Index) -> None:
    hits = index.search(text="red", k=30)
    vote = hits.vote()
    labels = [hit.item.label for hit in hits]
    assert vote.label == max(set(labels), key=labels.count)
    assert vote.counts == {label: labels.count(label) for label in set(labels)}
    assert vote.groups == {
        label: len({hit.item.group for hit in hits if hit.item.label == label}) for label in set(labels)
    }


def test_tied_vote_goes_to_the_label_that_ranks_first(index: Index) -> None:
    hit = index.search(text="red", k=1)[0]
    kind = type(hit)
    made = [kind(n, 0.5, Item(id=str(n), path="p", label=label)) for n, label in enumerate(("b", "a", "a", "b", None))]
    assert Hits(tuple(made), index.path).vote().label == "b"
    assert Hits((), index.path).vote().label is None


def test_slice_of_hits_is_hits(index: Index) -> None:
    hits = index.search(text="red", k=5)
    assert isinstance(hits[1:3], Hits)
    assert ids(hits[1:3]) == ids(hits)[1:3]
    assert hits.path_of(hits[0]).is_file()


def test_index_gives_its_items_back_as_a_manifest(index: Index, archive: Manifest) -> None:
    assert list(index.manifest) == list(archive)
    assert isinstance(index.rows.items, pa.Table)
