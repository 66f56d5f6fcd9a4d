"""An index in later life: items come, change and go, and what is gone is gone from the disk too."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from histoseek.errors import FingerprintError, InputError
from histoseek.index import Index, Removal
from histoseek.index import upkeep as upkeep_module
from histoseek.items import Item, Manifest, read_skipped, sha256_of
from histoseek.stores import lance as lance_module
from tests.conftest import TinyEncoder, draw_square, write_archive

ROOT = Path(__file__).parents[2]
RED = np.full((16, 16, 3), (200, 40, 40), dtype=np.uint8)


@pytest.fixture
def index(archive: Manifest, tiny: TinyEncoder, tmp_path: Path) -> Index:
    return Index.build(archive, tiny, tmp_path / "x.index")


def again(index: Index, tiny: TinyEncoder) -> Index:
    return Index.open(index.path, tiny)


def ids(index: Index) -> list[str]:
    return sorted(index.rows.items["id"].to_pylist())


def answered(index: Index) -> set[str]:
    return {hit.item.id for hit in index.search(image=RED, k=1000)}


def changed(manifest: Manifest, where: str, **values: Any) -> Manifest:
    """The manifest with other values for those items whose id holds `where`."""
    items = [replace(item, **values) if where in item.id else item for item in manifest]
    return Manifest.from_items(items, manifest.root)


def redrawn(manifest: Manifest, name: str) -> Manifest:
    """The manifest after the file of one item was drawn anew."""
    path = manifest.root / name
    draw_square("blue", np.random.default_rng(99)).save(path)
    return changed(manifest, path.stem, sha256=sha256_of(path))


def vector(index: Index, name: str) -> np.ndarray[Any, Any]:
    return index.rows.vectors(index.rows_of([name]))[0]


def files_with(folder: Path, secret: bytes) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and secret in path.read_bytes()]


# adding


def test_adding_the_same_again_changes_nothing(index: Index, archive: Manifest, tiny: TinyEncoder) -> None:
    version, before = index.store.version, tiny.n_embedded
    added = index.add(archive)
    assert (added.n_new, added.n_changed, added.n_relabelled, added.n_same) == (0, 0, 0, 36)
    assert (index.store.version, tiny.n_embedded) == (version, before)


def test_new_items_are_embedded_and_found(index: Index, archive: Manifest, tiny: TinyEncoder) -> None:
    draw_square("red", np.random.default_rng(7)).save(archive.root / "new.png")
    more = Manifest.from_items([*archive, Item("toy/new", "new.png", mpp=0.5)], archive.root)
    before = tiny.n_embedded
    added = index.add(more)
    assert (added.n_new, added.n_same, tiny.n_embedded - before) == (1, 36, 1)
    assert "toy/new" in answered(index)
    assert again(index, tiny).about.n_items == 37
    assert index.add(more).n_same == 37


def test_added_is_the_same_as_built_at_once(archive: Manifest, tiny: TinyEncoder, tmp_path: Path) -> None:
    whole = Index.build(archive, tiny, tmp_path / "whole.index")
    part = Index.build(archive.where("split = 'train'"), tiny, tmp_path / "part.index")
    part.add(archive)
    assert ids(part) == ids(whole)
    for name in ids(whole):
        assert np.array_equal(vector(part, name), vector(whole, name))
    found = [[(hit.item.id, hit.score) for hit in one.search(image=RED, k=36)] for one in (part, whole)]
    assert sorted(found[0]) == sorted(found[1])
    assert part.about.scales == whole.about.scales


def test_changed_pixels_are_embedded_again(index: Index, archive: Manifest, tiny: TinyEncoder) -> None:
    old, before = vector(index, "toy/p0_0"), tiny.n_embedded
    added = index.add(redrawn(archive, "p0_0.png"))
    assert (added.n_changed, added.n_same, tiny.n_embedded - before) == (1, 35, 1)
    assert not np.array_equal(vector(index, "toy/p0_0"), old)
    assert len(index) == 36


@pytest.mark.parametrize("values", [{"mpp": 1.0}, {"mpp": None}])
def test_another_scale_is_embedded_again(index: Index, archive: Manifest, values: dict[str, Any]) -> None:
    added = index.add(changed(archive, "p0_0", **values))
    assert (added.n_changed, added.n_same) == (1, 35)
    assert index.about.scales != {"matched": 36}


def test_a_relabelled_item_keeps_its_vector(index: Index, archive: Manifest, tiny: TinyEncoder) -> None:
    old, before = vector(index, "toy/p0_0"), tiny.n_embedded
    added = index.add(changed(archive, "p0_0", label="violet", extra={"nth": 77}))
    assert (added.n_relabelled, added.n_same, tiny.n_embedded) == (1, 35, before)
    assert np.array_equal(vector(index, "toy/p0_0"), old)
    hit = next(hit for hit in index.search(image=RED, k=99) if hit.item.id == "toy/p0_0")
    assert (hit.item.label, hit.item.extra["nth"]) == ("violet", 77)
    assert len(index) == 36


def test_columns_that_the_manifest_does_not_know_are_kept(index: Index, archive: Manifest) -> None:
    bare = Manifest.from_items([replace(item, extra={}) for item in changed(archive, "p0_2", label="x")], archive.root)
    assert index.add(bare).n_relabelled == 1
    kept = index.manifest[int(index.rows_of(["toy/p0_2"])[0])]
    assert (kept.label, kept.extra) == ("x", {"nth": 2})


def test_columns_that_the_index_does_not_know_are_left_out(index: Index, archive: Manifest) -> None:
    extra = [replace(item, extra={**item.extra, "stain": "HE"}) for item in archive]
    added = index.add(Manifest.from_items(extra, archive.root))
    assert (added.columns_left_out, added.n_same) == (("stain",), 36)


def test_a_column_of_another_type_is_refused_before_anything_is_embedded(
    index: Index, archive: Manifest, tiny: TinyEncoder
) -> None:
    other = [replace(item, id=f"{item.id}-2", extra={"nth": "third"}) for item in archive]
    before = tiny.n_embedded
    with pytest.raises(InputError, match=r"column 'nth' .* string, and that of the index int64"):
        index.add(Manifest.from_items(other, archive.root))
    assert (tiny.n_embedded, len(index)) == (before, 36)


def test_not_a_number_is_no_change(archive: Manifest, tiny: TinyEncoder, tmp_path: Path) -> None:
    odd = Manifest.from_items([replace(item, extra={"age": float("nan")}) for item in archive], archive.root)
    assert Index.build(odd, tiny, tmp_path / "x.index").add(odd).n_same == 36


def test_pictures_outside_of_the_root_are_refused(index: Index, archive: Manifest, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with pytest.raises(InputError, match="outside of"):
        index.add(write_archive(elsewhere, seed=1))
    assert len(index) == 36


def test_pictures_in_a_folder_below_the_root_are_placed_there(index: Index, archive: Manifest) -> None:
    below = archive.root / "below"
    below.mkdir()
    items = [replace(item, id=f"below/{item.id}") for item in write_archive(below, n_groups=1, seed=1)]
    manifest = Manifest.from_items(items, below)
    assert index.add(manifest).n_new == 4
    assert index.manifest.where("id = 'below/toy/p0_0'")[0].path == "below/p0_0.png"
    assert index.add(manifest).n_same == 4


def test_another_encoder_is_refused(index: Index, make_encoder: type[TinyEncoder]) -> None:
    with pytest.raises(FingerprintError):
        Index.open(index.path, make_encoder(weights="other"))


def test_an_item_that_others_removed_meanwhile_comes_back(index: Index, archive: Manifest, tiny: TinyEncoder) -> None:
    assert len(index) == 36
    again(index, tiny).remove(Removal(items=["toy/p1_1"]))
    added = index.add(archive)
    assert (added.n_new, added.n_same, len(index)) == (1, 35, 36)


# what is skipped


def test_an_unreadable_new_item_is_listed_and_its_recovery_noted(
    index: Index, archive: Manifest, tiny: TinyEncoder
) -> None:
    (archive.root / "bad.png").write_bytes(b"no picture")
    more = Manifest.from_items([*archive, Item("toy/bad", "bad.png", mpp=0.5)], archive.root)
    added = index.add(more)
    assert (added.n_new, added.n_same, [one.id for one in added.skipped]) == (0, 36, ["toy/bad"])
    assert [one.id for one in read_skipped(index.path / "skipped.csv")] == ["toy/bad"]
    assert again(index, tiny).about.n_skipped == 1
    index.add(archive)  # says nothing of it
    assert again(index, tiny).about.n_skipped == 1
    draw_square("red", np.random.default_rng(1)).save(archive.root / "bad.png")
    assert index.add(more).n_new == 1
    assert read_skipped(index.path / "skipped.csv") == []
    assert again(index, tiny).about.n_skipped == 0


def test_two_writers_keep_what_the_other_one_skipped(
    index: Index, archive: Manifest, tiny: TinyEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_have_read, read_text = threading.Barrier(2), Path.read_text

    def read_together(path: Path, *given: Any, **named: Any) -> str:
        text = read_text(path, *given, **named)
        if path.name == "skipped.csv":  # whoever may read waits for the other one, who comes now or after the lock
            with suppress(threading.BrokenBarrierError):
                both_have_read.wait(1.0)
        return text

    def add_broken(name: str) -> None:
        (archive.root / f"{name}.png").write_bytes(b"no picture")
        broken = Manifest.from_items([Item(f"toy/{name}", f"{name}.png", mpp=0.5)], archive.root)
        again(index, tiny).add(broken)

    monkeypatch.setattr(Path, "read_text", read_together)
    with ThreadPoolExecutor(2) as writers:
        list(writers.map(add_broken, ["one", "two"]))
    assert sorted(one.id for one in read_skipped(index.path / "skipped.csv")) == ["toy/one", "toy/two"]
    assert again(index, tiny).about.n_skipped == 2


def test_going_on_with_a_build_keeps_what_an_addition_skipped(
    index: Index, archive: Manifest, tiny: TinyEncoder
) -> None:
    (archive.root / "bad.png").write_bytes(b"no picture")
    index.add(Manifest.from_items([Item("toy/bad", "bad.png", mpp=0.5)], archive.root))
    resumed = Index.build(archive, tiny, index.path, resume=True)
    assert [one.id for one in read_skipped(index.path / "skipped.csv")] == ["toy/bad"]
    assert resumed.about.n_skipped == 1


@pytest.mark.parametrize("harm", ["garbage", "missing"])
def test_an_item_whose_file_broke_stays_as_it_was(index: Index, archive: Manifest, harm: str) -> None:
    path = archive.root / "p0_0.png"
    path.write_bytes(b"no picture")
    if harm == "missing":
        path.unlink()
    plain = Manifest.from_items([replace(item, sha256=None) for item in archive], archive.root)
    old = vector(index, "toy/p0_0")
    added = index.add(plain)
    assert (added.n_new, added.n_changed, added.n_same) == (0, 0, 35)
    assert [one.id for one in added.skipped] == ["toy/p0_0"]
    assert np.array_equal(vector(index, "toy/p0_0"), old)


# removing


@pytest.mark.parametrize(
    ("removal", "n_gone"),
    [
        (Removal(items=["toy/p0_0", "toy/p8_3"]), 2),
        (Removal(slides=["p1s0"]), 2),
        (Removal(patients=["p1", "p2"]), 8),
        (Removal(where="label = 'red' AND split = 'train'"), 3),
        (Removal(items=["toy/p1_0"], slides=["p1s0"], patients=["p1"], where="group = 'p1'"), 4),
        (Removal(where="label IS NOT NULL"), 36),
        (Removal(where="label = 'none'"), 0),
    ],
)
def test_what_is_removed_is_gone_at_once(index: Index, tiny: TinyEncoder, removal: Removal, n_gone: int) -> None:
    would = index.remove(removal, dry_run=True)
    assert (len(would), len(index), again(index, tiny).about.n_items) == (n_gone, 36, 36)
    before = set(ids(index))
    gone = index.remove(removal)
    assert sorted(gone) == sorted(would)
    assert set(ids(index)) == before - set(gone)
    assert answered(index) == before - set(gone)
    assert again(index, tiny).about.n_items == 36 - n_gone
    assert sum(again(index, tiny).about.scales.values()) == 36 - n_gone


@pytest.mark.parametrize(
    ("removal", "sentence"),
    [
        (Removal(items=["toy/p0_0", "toy/none"]), "no item 'toy/none'; nothing was removed"),
        (Removal(slides=["p0"]), "no slide 'p0'"),
        (Removal(patients=["p0", "nobody"]), "no patient 'nobody'"),
        (Removal(), "nothing is named"),
        (Removal(where="colour = 'red'"), "colour"),
        (Removal(where="label = "), "filter|condition|where|label"),
    ],
)
def test_unknown_names_remove_nothing(index: Index, removal: Removal, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        index.remove(removal)
    assert len(index) == 36


def test_another_open_index_sees_a_removal_at_its_next_search(index: Index, tiny: TinyEncoder) -> None:
    other = again(index, tiny)
    assert len(other.search(image=RED, k=99, where="group = 'p1'")) == 4
    index.remove(Removal(patients=["p1"]))
    assert len(other.search(image=RED, k=99, where="group = 'p1'")) == 0
    assert len(other.search(image=RED, k=99)) == 32
    assert other.about.n_items == 32
    with pytest.raises(InputError, match="no item 'toy/p1_0'"):
        other.search(item="toy/p1_0")


def test_what_others_added_of_a_patient_goes_with_it(index: Index, archive: Manifest, tiny: TinyEncoder) -> None:
    assert len(index) == 36
    draw_square("red", np.random.default_rng(7)).save(archive.root / "late.png")
    late = Item("toy/late", "late.png", group="p1", group_source="patient", mpp=0.5)
    again(index, tiny).add(Manifest.from_items([late], archive.root))
    assert "toy/late" in index.remove(Removal(patients=["p1"]))


def test_a_removed_item_can_be_added_again(index: Index, archive: Manifest) -> None:
    old = vector(index, "toy/p1_0")
    index.remove(Removal(patients=["p1"]))
    assert index.add(archive).n_new == 4
    assert np.array_equal(vector(index, "toy/p1_0"), old)


def test_removal_by_quotes_and_odd_names(archive: Manifest, tiny: TinyEncoder, tmp_path: Path) -> None:
    odd = ["it's", 'a "b"', "x' OR '1'='1", "back\\slash", "naïve 日本", "per%cent_", "-- ;"]
    items = [Item(name, "p0_0.png", mpp=0.5, group=f"g{name}", sha256="0") for name in odd]
    index = Index.build(Manifest.from_items(items, archive.root), tiny, tmp_path / "x.index")
    for name in odd:
        assert index.remove(Removal(items=[name])) == [name]
        assert name not in ids(index)
    assert len(index) == 0


def test_an_empty_index_answers_with_nothing_and_can_be_filled(index: Index, archive: Manifest) -> None:
    index.remove(Removal(where="label IS NOT NULL"))
    assert len(index.search(image=RED)) == 0
    index.compact()
    assert len(index.search(image=RED)) == 0
    assert index.verify().damage == ()
    assert index.add(archive).n_new == 36


# the right to be forgotten


def test_nothing_of_what_was_removed_is_on_the_disk_after_compaction(
    archive: Manifest, tiny: TinyEncoder, tmp_path: Path
) -> None:
    secret = Item(
        "SECRET-ID-7f3a", "p0_0.png", group="SECRET-PATIENT-91", group_source="patient", mpp=0.5,
        caption="SECRET-WORDS-5c", slide="SECRET-SLIDE-44", extra={"nth": 3},
    )  # fmt: skip
    draw_square("green", np.random.default_rng(1234)).save(archive.root / "p0_0.png")
    manifest = Manifest.from_items([*changed(archive, "p0_0", sha256=None), secret], archive.root)
    index = Index.build(manifest.where("group != 'p0'"), tiny, tmp_path / "x.index")
    bytes_of_vector = vector(index, secret.id).tobytes()
    marks = [b"SECRET-ID", b"SECRET-PATIENT", b"SECRET-WORDS", b"SECRET-SLIDE", bytes_of_vector, bytes_of_vector[8:24]]
    for mark in marks:
        assert files_with(index.path, mark), "the test looks for what was never there"
    index.search(image=RED)
    (index.path / f".fast-{index.store.version}.left").mkdir()  # by a process that was killed
    (index.path / f".fast-{index.store.version}.left" / "vectors.npy").write_bytes(bytes_of_vector)
    index.remove(Removal(patients=["SECRET-PATIENT-91"]))
    assert secret.id not in answered(index)
    assert index.compact()
    for mark in marks:
        assert files_with(index.path, mark) == []
    assert len(index) == len(again(index, tiny)) == 32
    assert index.verify().damage == ()


def test_what_a_killed_writer_left_is_forgotten_too(index: Index, archive: Manifest) -> None:
    orphan = index.path / "items.lance" / "data" / "orphan.lance"
    orphan.write_bytes(b"SECRET")
    assert index.compact()
    assert files_with(index.path, b"SECRET") == []


def test_old_pixels_of_a_changed_item_are_forgotten(index: Index, archive: Manifest) -> None:
    old = vector(index, "toy/p0_0").tobytes()
    index.add(redrawn(archive, "p0_0.png"))
    assert files_with(index.path / "items.lance", old)
    index.compact()
    assert files_with(index.path, old) == []


# compaction


def test_compaction_keeps_rows_vectors_and_answers(index: Index, archive: Manifest, tiny: TinyEncoder) -> None:
    index.remove(Removal(patients=["p3"]))
    before = {name: vector(index, name) for name in ids(index)}
    columns = index.rows.items.sort_by("id")
    scores = [(hit.item.id, hit.score) for hit in index.search(image=RED, k=99)]
    assert index.compact()
    assert not index.compact()
    for one in (index, again(index, tiny)):
        assert {name: vector(one, name).tobytes() for name in ids(one)} == {k: v.tobytes() for k, v in before.items()}
        assert one.rows.items.sort_by("id").equals(columns)
        assert sorted((hit.item.id, hit.score) for hit in one.search(image=RED, k=99)) == sorted(scores)


def test_the_folder_is_small_after_compaction(index: Index, archive: Manifest, tmp_path: Path) -> None:
    for _ in range(5):
        index.remove(Removal(patients=["p3"]))
        index.add(archive)
    index.compact()
    names = [path for path in (index.path / "items.lance").rglob("*") if path.is_file()]
    assert len([path for path in names if path.suffix == ".manifest"]) == 1
    assert len([path for path in names if path.parent.name == "data"]) == 1
    assert len(list((index.path / "ledger").iterdir())) == 1
    assert len(list(index.path.glob("*fast-*"))) == 1


def test_an_index_is_compacted_by_itself_after_many_commits(
    index: Index, archive: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep_module, "COMMITS_LEFT", 6)
    most = 0
    for nth in range(10):
        index.remove(Removal(items=[f"toy/p{nth % 9}_0"]))
        index.add(archive)
        most = max(most, index.store.n_commits)
    assert most <= 7
    assert len(index) == 36


@pytest.mark.parametrize("fresh", [False, True])
def test_many_changes_in_a_row_are_all_answered(
    index: Index, archive: Manifest, tiny: TinyEncoder, fresh: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fresh:
        monkeypatch.setattr(lance_module, "FRESH_FROM", 0)
        monkeypatch.setattr(lance_module, "FRESH_SHARE", np.inf)
    other = again(index, tiny)
    for nth in range(4):
        index.remove(Removal(patients=[f"p{nth}"]))
        assert answered(other) == answered(index) == {item.id for item in archive if item.group != f"p{nth}"}
        index.add(archive)
        assert len(answered(other)) == 36
        if nth == 2:
            index.compact()
            assert len(answered(other)) == 36


COLD = """
import sys
from histoseek.index import Index
from histoseek.stores import lance
from tests.conftest import TinyEncoder
lance.FRESH_FROM, lance.FRESH_SHARE = 0, 1
hits = Index.open(sys.argv[1], TinyEncoder()).search(text="red", k=99)
assert "lancedb" not in sys.modules, "LanceDB was imported"
print(*(hit.item.id for hit in hits))
"""


def test_the_first_search_of_a_process_after_a_change_of_a_large_index_needs_no_lancedb(
    index: Index, archive: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lance_module, "FRESH_FROM", 0)
    monkeypatch.setattr(lance_module, "FRESH_SHARE", 1)
    answered(index)
    for change in (lambda: index.remove(Removal(patients=["p3"])), lambda: index.add(archive)):
        change()
        assert len(list(index.path.glob("fast-*+*"))) == 1
        command = [sys.executable, "-W", "error", "-c", COLD, str(index.path)]
        run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        assert run.returncode == 0, run.stderr
        assert set(run.stdout.split()) == answered(index)
        assert index.verify().remarks == ()


def test_threads_that_search_while_others_write_get_rows_that_belong_together(
    archive: Manifest, index: Index, tiny: TinyEncoder
) -> None:
    """A search holds on to one version: numbers of rows of one are never looked up in another."""
    shared, view = again(index, tiny), None
    first = shared.search(text="red", k=36)
    right = {hit.item.id: round(hit.score, 5) for hit in first}
    view = shared.view
    real = view.rows.find

    def slow(*asked: Any) -> Any:
        found = real(*asked)
        index.remove(Removal(patients=["p0"]))
        shared.refresh()
        return found

    view.rows.find = slow  # type: ignore[method-assign]
    for hit in shared.search(text="red", k=36):
        assert round(hit.score, 5) == right[hit.item.id]
    assert not any(hit.item.id.startswith("toy/p0") for hit in shared.search(text="red", k=36))


def test_an_archive_that_was_rebuilt_in_its_place_is_noticed(
    archive: Manifest, index: Index, tiny: TinyEncoder
) -> None:
    opened = again(index, tiny)
    assert len(answered(opened)) == 36
    shutil.rmtree(index.path)
    Index.build(archive.where("label = 'red'"), tiny, index.path)
    assert answered(opened) == {item.id for item in archive.where("label = 'red'")}


def test_an_index_that_knew_no_digests_is_not_embedded_again(
    archive: Manifest, tiny: TinyEncoder, tmp_path: Path
) -> None:
    index = Index.build(archive, tiny, tmp_path / "x.index")
    rows = index.rows.items
    at = rows.schema.get_field_index("sha256")
    bare = rows.set_column(at, rows.schema.field(at), pa.nulls(len(rows), pa.string()))
    column = pa.FixedSizeListArray.from_arrays(pa.array(index.rows.vectors(np.arange(36)).ravel()), 32)
    index.store.add(bare.append_column("vector", column))
    added = again(index, tiny).add(archive)
    assert (added.n_relabelled, added.n_changed, added.n_new) == (36, 0, 0)
    assert again(index, tiny).rows.items["sha256"].null_count == 0


def test_a_relabelled_item_that_was_removed_meanwhile_stays_removed(
    archive: Manifest, index: Index, tiny: TinyEncoder
) -> None:
    other = again(index, tiny)
    gone = False

    def meanwhile(_done: int, _all: int) -> None:
        nonlocal gone
        if not gone:
            other.remove(Removal(patients=["p1"]))
            gone = True

    path = archive.root / "p8_3.png"  # the last one is embedded, so that progress is told before the end
    draw_square("blue", np.random.default_rng(5)).save(path)
    manifest = changed(changed(archive, "p1_", label="red"), "p8_3", sha256=sha256_of(path))
    again(index, tiny).add(manifest, meanwhile)
    assert gone and not any(name.startswith("toy/p1") for name in answered(again(index, tiny)))
