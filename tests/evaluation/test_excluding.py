"""Nobody answers their own query: not under another group, another name, or another folder's name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histoseek.encoders import load_encoder
from histoseek.errors import InputError
from histoseek.evaluation import compare, evaluate
from histoseek.index import Index
from histoseek.items import Item, Manifest, sha256_of


def noise(folder: Path, n: int, seed: int) -> list[Item]:
    """Pictures of noise, two classes without any likeness, each of a patient of its own."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    items = []
    for number in range(n):
        path = folder / f"{number}.png"
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
        label = "ab"[number % 2]
        items.append(
            Item(f"x/{number}.png", path.name, label=label, group=f"P{seed}-{number}", group_source="patient",
                 mpp=0.5, width=64, height=64, sha256=sha256_of(path))
        )  # fmt: skip
    return items


def build(items: list[Item], root: Path, out: Path) -> Index:
    return Index.build(Manifest.from_items(items, root), load_encoder("color"), out)


def test_the_same_id_in_another_folder_is_another_picture(tmp_path: Path) -> None:
    index = build(noise(tmp_path / "a", 8, 1), tmp_path / "a", tmp_path / "x.index")
    report = evaluate(index, Manifest.from_items(noise(tmp_path / "b", 8, 2), tmp_path / "b"), n_bootstrap=10)
    assert max(scores[0] for scores in report.per_query["hit_scores"].to_pylist()) < 0.99999


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("protocol", ["leave-group-out", "split"])
def test_an_item_does_not_answer_itself_under_another_groups_name(tmp_path: Path, protocol: str, known: bool) -> None:
    items = [replace(item, sha256=item.sha256 if known else None) for item in noise(tmp_path / "a", 8, 1)]
    index = build(items, tmp_path / "a", tmp_path / "x.index")
    renamed = Manifest.from_items([replace(item, group=f"Q{item.id}") for item in items], tmp_path / "a")
    if protocol == "split":
        with pytest.raises(InputError, match="meet themselves"):
            evaluate(index, renamed, protocol="split")
        return
    report = evaluate(index, renamed, protocol="leave-group-out", n_bootstrap=10)
    for name, hits in zip(report.per_query["id"].to_pylist(), report.per_query["hit_ids"].to_pylist(), strict=True):
        assert name not in hits


def test_identical_pictures_are_shut_out_counted_and_not_relevant(tmp_path: Path) -> None:
    items = noise(tmp_path / "a", 6, 1)
    copies = [replace(item, id=f"copy/{item.id}", group=f"C{item.id}") for item in items]
    index = build(items + copies, tmp_path / "a", tmp_path / "x.index")
    report = evaluate(index, n_bootstrap=10)
    assert report.protocol["identical pictures shut out"] == 12
    assert report.per_query["n_relevant"].to_pylist() == [4] * 12
    for name, hits in zip(report.per_query["id"].to_pylist(), report.per_query["hit_ids"].to_pylist(), strict=True):
        assert {name.removeprefix("copy/"), f"copy/{name.removeprefix('copy/')}"}.isdisjoint(hits)


def test_two_boxes_of_one_file_are_two_pictures(tmp_path: Path) -> None:
    items = noise(tmp_path / "a", 4, 1)
    halves = [
        replace(item, id=f"{item.id}#{x}", group=f"{item.group}-{x}", box=(x, 0, 32, 64), width=32)
        for item in items
        for x in (0, 32)
    ]
    report = evaluate(build(halves, tmp_path / "a", tmp_path / "x.index"), n_bootstrap=10)
    assert report.protocol["identical pictures shut out"] == 0
    assert report.per_query["n_relevant"].to_pylist() == [3] * 8


def test_other_galleries_are_not_compared(tmp_path: Path) -> None:
    queries = Manifest.from_items(noise(tmp_path / "q", 4, 9), tmp_path / "q")
    reports = {}
    for name, seed in (("one", 1), ("two", 2)):
        items = [replace(item, id=f"{name}/{item.id}") for item in noise(tmp_path / name, 6, seed)]
        reports[name] = evaluate(build(items, tmp_path / name, tmp_path / f"{name}.index"), queries, n_bootstrap=10)
    with pytest.raises(InputError, match="gallery digest"):
        compare(reports)


def test_unreadable_queries_are_listed(tmp_path: Path) -> None:
    index = build(noise(tmp_path / "a", 6, 1), tmp_path / "a", tmp_path / "x.index")
    queries = noise(tmp_path / "b", 4, 2)
    (tmp_path / "b" / "2.png").write_bytes((tmp_path / "b" / "2.png").read_bytes()[:900])
    report = evaluate(index, Manifest.from_items(queries, tmp_path / "b"), n_bootstrap=10)
    assert [skipped.id for skipped in report.skipped] == ["x/2.png"]
    report.write(tmp_path / "report")
    assert "x/2.png" in (tmp_path / "report" / "skipped.csv").read_text(encoding="utf-8")


def test_a_query_file_of_the_archive_can_leave_its_patient_out(tmp_path: Path) -> None:
    items = [replace(item, group=f"P{at // 2}") for at, item in enumerate(noise(tmp_path / "a", 6, 1))]
    index = build(items, tmp_path / "a", tmp_path / "x.index")
    assert index.search(image=tmp_path / "a" / "0.png", mpp=0.5, k=1)[0].item.id == "x/0.png"
    left = index.search(image=tmp_path / "a" / "0.png", mpp=0.5, exclude_group=True)
    assert {hit.item.group for hit in left} == {"P1", "P2"}


def test_strips_show_queries_from_their_own_folder(tmp_path: Path) -> None:
    index = build(noise(tmp_path / "a", 6, 1), tmp_path / "a", tmp_path / "x.index")
    queries = Manifest.from_items(noise(tmp_path / "b", 6, 2), tmp_path / "b")
    report = evaluate(index, queries, n_bootstrap=10)
    report.write(tmp_path / "right", index.root, queries.root)
    report.write(tmp_path / "wrong", index.root)
    right, wrong = ((tmp_path / name / "report.html").read_text() for name in ("right", "wrong"))
    assert right.count("data:image") == wrong.count("data:image")
    assert right != wrong
