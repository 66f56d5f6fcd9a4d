from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from histoseek.errors import DamagedError, FingerprintError, InputError
from histoseek.imaging import open_flat
from histoseek.index import Index, filling
from histoseek.index.embedding import embed_box, embed_items
from histoseek.index.reading import MANY_VIEWS
from histoseek.items import Box, Item, Manifest
from histoseek.stores import LanceStore


def test_vectors_are_those_of_the_encoder(archive: Manifest, tiny: Any, tmp_path: Path) -> None:
    index = Index.build(archive, tiny, tmp_path / "x.index")
    with Image.open(archive.path_of(archive[7])) as image:
        expected = tiny.embed_images([np.asarray(image)])[0]
    assert np.array_equal(index.rows.vectors(np.array([7]))[0], expected)


def test_large_region_is_the_unit_mean_of_its_views(tiny: Any, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (32, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    items = [Item(id="whole", path="a.png", mpp=0.5), Item(id="part", path="a.png", mpp=0.5, box=Box(16, 0, 16, 32))]
    index = Index.build(Manifest.from_items(items, tmp_path), tiny, tmp_path / "x.index")
    views = [pixels[y : y + 16, x : x + 16] for y in (0, 16) for x in (0, 16, 32)]
    for row, chosen in ((0, views), (1, [views[1], views[4]])):
        mean = tiny.embed_images(chosen).mean(axis=0)
        assert index.rows.vectors(np.array([row]))[0] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)


def test_image_of_many_views_is_embedded_like_any_other(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = 16 * 17
    pixels = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:9000])
    items = [Item(id=f"{name}{n}", path=f"{name}.png", mpp=0.5) for n in range(2) for name in ("a", "cut")]
    manifest = Manifest.from_items(
        [items[0], Item(id="small", path="a.png", mpp=0.5, box=Box(0, 0, 9, 9)), *items[1:]], tmp_path
    )
    assert (side // 16) ** 2 > MANY_VIEWS
    streamed = list(embed_items(manifest, manifest.path_of, tiny))
    monkeypatch.setattr("histoseek.index.reading.MANY_VIEWS", 10**6)
    together = list(embed_items(manifest, manifest.path_of, tiny))
    assert [one.item.id for one in streamed] == ["a0", "small", "cut0", "a1", "cut1"]
    for one, two in zip(streamed, together, strict=True):
        assert (one.item, one.reason) == (two.item, two.reason)
        assert (one.vector is None) == ("cut" in one.item.id)
        assert one.vector is None or np.array_equal(one.vector, two.vector)
    flat = open_flat(tmp_path / "a.png")
    assert np.array_equal(embed_box(flat, None, 0.5, tiny), streamed[0].vector)
    flat.close()


def test_scales_are_counted(archive: Manifest, tiny: Any, tmp_path: Path) -> None:
    mpps = [0.25, 0.5, 2.0, None]
    items = [replace(item, mpp=mpp) for item, mpp in zip(archive, mpps, strict=False)]
    index = Index.build(Manifest.from_items(items, archive.root), tiny, tmp_path / "x.index")
    assert index.about.scales == {"matched": 2, "own": 1, "fitted": 1}


def test_broken_images_are_left_out_and_listed_with_reasons(archive: Manifest, tiny: Any, tmp_path: Path) -> None:
    archive.path_of(archive[3]).write_bytes(b"no image")
    archive.path_of(archive[4]).unlink()
    index = Index.build(archive, tiny, tmp_path / "x.index")
    with (index.path / "skipped.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["id"] for row in rows] == [archive[3].id, archive[4].id]
    assert "no image" in rows[0]["reason"]
    assert (len(index), index.about.n_items, index.about.n_skipped) == (34, 34, 2)


def test_nothing_readable_is_an_error(archive: Manifest, tiny: Any, tmp_path: Path) -> None:
    lost = Manifest(archive.table, tmp_path / "elsewhere", {})
    with pytest.raises(InputError, match=r"none of 36 images .*skipped.csv"):
        Index.build(lost, tiny, tmp_path / "x.index")
    with pytest.raises(InputError, match="there is no index"):
        Index.open(tmp_path / "x.index")


def test_empty_manifest_is_refused(archive: Manifest, tiny: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no items"):
        Index.build(archive.where("label IS NULL"), tiny, tmp_path / "x.index")


def test_index_in_use_and_foreign_folder_are_refused(archive: Manifest, tiny: Any, tmp_path: Path) -> None:
    Index.build(archive, tiny, tmp_path / "x.index")
    with pytest.raises(InputError, match="holds an index already"):
        Index.build(archive, tiny, tmp_path / "x.index")
    with pytest.raises(InputError, match="exists and is no index"):
        Index.build(archive, tiny, archive.root)
    with pytest.raises(InputError, match=r"exists and is no index|cannot make"):
        Index.build(archive, tiny, archive.path_of(archive[0]))
    with pytest.raises(InputError, match="cannot make the folder"):
        Index.build(archive, tiny, archive.path_of(archive[0]) / "x.index")


def test_progress_ends_at_the_whole(archive: Manifest, tiny: Any, tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    Index.build(archive, tiny, tmp_path / "x.index", progress=lambda done, whole: heard.append((done, whole)))
    assert heard == [(done, 36) for done in range(1, 37)]


class Stops(Exception):
    pass


def interrupted(archive: Manifest, encoder: Any, out: Path, after: int) -> None:
    """A build that stops like one that was interrupted, with `after` items committed."""

    def stop(done: int, whole: int) -> None:
        if done == after:
            raise Stops

    with pytest.raises(Stops):
        Index.build(archive, encoder, out, progress=stop)


def test_interrupted_build_is_unfinished_until_resumed(
    archive: Manifest, tiny: Any, make_encoder: Any, tmp_path: Path
) -> None:
    out = tmp_path / "x.index"
    interrupted(archive, tiny, out, after=20)
    with pytest.raises(InputError, match="unfinished; finish it with: histoseek index MANIFEST --resume"):
        Index.open(out)
    second = make_encoder()
    index = Index.build(archive, second, out, resume=True)
    assert second.n_embedded == 16
    assert [item.id for item in index.manifest] == [item.id for item in archive]
    assert (index.about.n_items, index.about.scales) == (36, {"matched": 36})


def test_resume_with_another_encoder_or_manifest_is_refused(
    archive: Manifest, tiny: Any, make_encoder: Any, tmp_path: Path
) -> None:
    out = tmp_path / "x.index"
    interrupted(archive, tiny, out, after=20)
    with pytest.raises(FingerprintError, match="begun with encoder 'tiny'"):
        Index.build(archive, make_encoder(weights="other"), out, resume=True)
    with pytest.raises(InputError, match="begun with another manifest"):
        Index.build(archive.where(split="test"), tiny, out, resume=True)


def test_resume_of_a_finished_index_embeds_nothing(
    archive: Manifest, tiny: Any, make_encoder: Any, tmp_path: Path
) -> None:
    Index.build(archive, tiny, tmp_path / "x.index")
    second = make_encoder()
    assert len(Index.build(archive, second, tmp_path / "x.index", resume=True)) == 36
    assert second.n_embedded == 0


def test_resume_tries_skipped_images_again(archive: Manifest, tiny: Any, tmp_path: Path) -> None:
    path = archive.path_of(archive[3])
    whole = path.read_bytes()
    path.write_bytes(b"no image")
    Index.build(archive, tiny, tmp_path / "x.index")
    path.write_bytes(whole)
    index = Index.build(archive, tiny, tmp_path / "x.index", resume=True)
    assert (len(index), index.about.n_skipped) == (36, 0)


def test_kill_loses_no_committed_row_and_resume_doubles_none(
    archive: Manifest, make_encoder: Any, tmp_path: Path
) -> None:
    out, told = tmp_path / "x.index", tmp_path / "told"
    archive.write(tmp_path / "m.parquet")
    code = f"""
        import sys, time
        sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        from conftest import TinyEncoder
        from histoseek.index import Index, filling
        from histoseek.items import Manifest
        filling.ROWS_A_COMMIT = 8
        def progress(done, whole):
            if done == 21:
                open({str(told)!r}, "w").close()
                time.sleep(60)
        Index.build(Manifest.read({str(tmp_path / "m.parquet")!r}), TinyEncoder(), {str(out)!r}, progress=progress)
    """
    worker = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    try:
        deadline = time.monotonic() + 60
        while not told.exists() and worker.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert told.exists()
    finally:
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
    assert len(LanceStore(out).ids()) == 16
    encoder = make_encoder()
    index = Index.build(archive, encoder, out, resume=True)
    assert encoder.n_embedded == 36 - 16
    assert [item.id for item in index.manifest] == [item.id for item in archive]


def test_commits_happen_by_number_of_rows(
    archive: Manifest, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "ROWS_A_COMMIT", 10)
    sizes: list[int] = []
    real = LanceStore.add
    monkeypatch.setattr(LanceStore, "add", lambda store, rows: (sizes.append(len(rows)), real(store, rows)))
    Index.build(archive, tiny, tmp_path / "x.index")
    assert sizes == [10, 10, 10, 6]


def test_folder_without_index_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="histoseek index MANIFEST --out"):
        Index.open(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', "no json"])
def test_damaged_index_json_is_named(archive: Manifest, tiny: Any, tmp_path: Path, text: str) -> None:
    (tmp_path / "x.index").mkdir()
    (tmp_path / "x.index" / "index.json").write_text(text)
    with pytest.raises(DamagedError, match=r"index.json is damaged"):
        Index.open(tmp_path / "x.index")


def test_index_json_tells_what_the_index_is_made_of(archive: Manifest, tiny: Any, tmp_path: Path) -> None:
    index = Index.build(archive, tiny, tmp_path / "x.index")
    kept = json.loads((index.path / "index.json").read_text())
    assert kept["encoder"] == "tiny"
    assert kept["manifest_digest"] == archive.digest
    assert kept["fingerprint"]["weights_sha256"] == "tiny"


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "mpp"), [(".jpg", 0.5), (".png", None), (".tiff", 0.5)])
def test_region_of_100_million_pixels_stays_below_600_megabytes(tmp_path: Path, suffix: str, mpp: float | None) -> None:
    path = tmp_path / f"large{suffix}"
    Image.new("RGB", (10_000, 10_000), (200, 120, 180)).save(
        path, **({"compression": "tiff_lzw"} if "tif" in suffix else {})
    )
    code = f"""
        import resource
        from histoseek.encoders import load_encoder
        from histoseek.index.embedding import embed_items
        from histoseek.items import Item, Manifest
        from pathlib import Path
        encoder = load_encoder("color")
        item = Item(id="a", path={path.name!r}, mpp={mpp})
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        (one,) = embed_items([item], lambda item: Path({str(tmp_path)!r}) / item.path, encoder)
        assert one.vector is not None, one.reason
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
    """
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert int(answer.stdout) < 600
