"""Feature files of TRIDENT and CLAM become an index."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from histoseek.encoders import load_encoder
from histoseek.errors import EncoderError, HistoseekError, InputError
from histoseek.index import Example, Index
from histoseek.index.feature_slides import slide_name
from histoseek.index.importing import Imported, ImportSettings, import_features
from histoseek.items import Box, read_skipped
from histoseek.phantom import draw, make_patient, write_slide

SIDE = 256
TRIDENT: dict[str, Any] = {
    "patch_size": 256,
    "patch_size_level0": 512,
    "level0_magnification": 40,
    "target_magnification": 20,
    "overlap": 0,
    "name": "S1",
    "savetodir": "/somewhere/else",
}
CLAM = {"patch_size": 128, "patch_level": 1, "downsample": (4.0, 4.0), "level_dim": (500, 400)}


def write_h5(
    path: Path, corners: Any, features: Any = None, attrs: Mapping[str, Any] | None = None, dim: int = 8
) -> Path:
    """A feature file as TRIDENT (with attributes) or CLAM (without) leaves it."""
    places = np.array(corners, dtype=np.int64)
    if features is None:
        features = np.random.default_rng(len(path.stem)).normal(size=(len(places), dim)).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["features"] = features
        file["coords"] = places
        file["coords"].attrs.update(attrs or {})
    return path


def load(source: Path, out: Path, encoder: str = "uni_v1", **given: Any) -> tuple[Imported, Index]:
    done = import_features(source, encoder, out, ImportSettings(**given))
    return done, Index.open(out)


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one slide, `deep/S1.tif`, of 700 × 512 pixels at 0.5 µm."""
    folder = tmp_path_factory.mktemp("slides")
    picture = draw("gland", 700, 512, 0.5, make_patient(1), 3)
    picture[:, 256:] = draw("fat", 444, 512, 0.5, make_patient(1), 4)
    write_slide(folder / "deep" / "S1.tif", picture, 0.5, steps=(4,))
    return folder


CORNERS = ((0, 0), (256, 0), (0, 256), (256, 256))


@pytest.fixture(scope="module")
def colours(slides: Path) -> NDArray[np.float32]:
    """Vectors of the four tiles at `CORNERS` by the encoder `color`, as another program would have made them."""
    from histoseek.imaging import open_slide

    slide = open_slide(slides / "deep" / "S1.tif")
    views = [slide.read(Box(x, y, SIDE, SIDE), (SIDE, SIDE)) for x, y in CORNERS]
    slide.close()
    return load_encoder("color").embed_images(views)


def test_tridents_files_become_items_with_boxes_scale_and_unit_vectors(tmp_path: Path) -> None:
    features = np.arange(1, 13, dtype=np.float64).reshape(3, 4)
    write_h5(tmp_path / "f/S1.h5", [(0, 0), (512, 0), (1024, 2048)], features, TRIDENT)
    write_h5(tmp_path / "f/S2.h5", [(0, 512)], features[None, :1], TRIDENT | {"patch_size_level0": 256})
    done, index = load(tmp_path / "f", tmp_path / "x.index")
    items = {item.id: item for item in index.manifest}
    assert list(items) == [
        "features/S1#0,0,512,512",
        "features/S1#512,0,512,512",
        "features/S1#1024,2048,512,512",
        "features/S2#0,512,256,256",
    ]
    item = items["features/S1#1024,2048,512,512"]
    assert item.box == Box(1024, 2048, 512, 512)
    assert (item.slide, item.group, item.group_source, item.path) == ("S1", "S1", "slide", "S1")
    assert (item.mpp, item.mpp_source, item.width, item.height) == (0.25, "nominal", 512, 512)
    expected = features / np.linalg.norm(features, axis=1, keepdims=True)
    assert np.allclose(index.rows.vectors(np.arange(4)), expected[[0, 1, 2, 0]], atol=1e-6)
    assert (
        done.about.n_items == 4 and done.about.n_skipped == 0 and read_skipped(tmp_path / "x.index/skipped.csv") == []
    )
    assert any("pictures" in note for note in done.notes)


def test_a_declared_encoder_answers_items_and_vectors_and_refuses_images_and_words(tmp_path: Path) -> None:
    vectors = np.eye(3, 8, dtype=np.float32) + 0.1
    write_h5(tmp_path / "f/S1.h5", [(0, 0), (512, 0), (0, 512)], vectors, TRIDENT)
    done, index = load(tmp_path / "f", tmp_path / "x.index")
    about = done.about
    assert (about.encoder, about.has_text) == ("uni_v1", False)
    assert about.fingerprint.weights_sha256 == "declared:uni_v1"
    assert (about.fingerprint.preprocessing.view_px, about.fingerprint.preprocessing.mpp) == (256, 0.5)
    hits = index.search([Example("vector", vectors[1])], k=1)
    assert hits[0].item.id == "features/S1#512,0,512,512" and hits[0].score == pytest.approx(1, abs=1e-6)
    assert len(index.search(item=hits[0].item.id, exclude_group=False)) == 2
    with pytest.raises(EncoderError, match="made elsewhere by 'uni_v1'"):
        index.search(image=np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(EncoderError, match="made elsewhere"):
        index.search(text="gland")
    with pytest.raises(HistoseekError, match="uni_v1"):
        Index.open(tmp_path / "x.index", load_encoder("color"))


def test_an_encoder_that_loads_and_made_the_vectors_answers_images(
    tmp_path: Path, slides: Path, colours: NDArray[np.float32]
) -> None:
    write_h5(tmp_path / "f/S1.h5", CORNERS, 3 * colours, {"patch_size": 256, "patch_size_level0": 256})
    done, index = load(tmp_path / "f", tmp_path / "x.index", "color", slides=slides)
    assert done.about.fingerprint == load_encoder("color").fingerprint
    assert any("mean cosine of 1.000" in note for note in done.notes)
    items = list(index.manifest)
    assert {(item.path, item.mpp, item.mpp_source) for item in items} == {("deep/S1.tif", 0.5, "file")}
    found = index.search([Example("region", f"{slides}/deep/S1.tif:256,0,256,256")], k=1, exclude_group=False)
    assert found[0].item.box == Box(256, 256, 256, 256)  # the tile asked with does not answer itself
    whole = index.search(item="features/S1#0,0,256,256", exclude_group=False)
    assert whole[0].item.id == "features/S1#0,256,256,256"


def test_views_of_a_real_encoder_are_as_large_as_the_tiles_were(tmp_path: Path, colours: NDArray[np.float32]) -> None:
    write_h5(tmp_path / "f/S1.h5", CORNERS, colours, TRIDENT | {"target_magnification": 10, "patch_size": 224})
    done, _ = load(tmp_path / "f", tmp_path / "x.index", "color")
    how = done.about.fingerprint.preprocessing
    assert how.mpp * how.view_px == pytest.approx(512 * 0.25, rel=0.01)
    assert any("not checked" in note for note in done.notes)


def test_vectors_of_another_encoder_under_a_known_name_are_found_out(
    tmp_path: Path, slides: Path, colours: NDArray[np.float32]
) -> None:
    write_h5(tmp_path / "f/S1.h5", CORNERS, colours[:, ::-1], {"patch_size": 256, "patch_size_level0": 256})
    done, _ = load(tmp_path / "f", tmp_path / "x.index", "color", slides=slides)
    assert done.about.fingerprint.weights_sha256 == "declared:color"
    assert any("did not make them" in note for note in done.notes)
    write_h5(tmp_path / "g/S1.h5", CORNERS, colours[:, :100], {"patch_size": 256, "patch_size_level0": 256})
    other, _ = load(tmp_path / "g", tmp_path / "y.index", "color", slides=slides)
    assert other.about.fingerprint.weights_sha256 == "declared:color" and other.about.dim == 100


def test_clams_tiles_get_their_size_from_patch_files_or_as_stated(tmp_path: Path) -> None:
    write_h5(tmp_path / "clam/h5_files/S1.h5", [(0, 0), (512, 0)])
    with pytest.raises(InputError, match="--tile-px-level0"):
        load(tmp_path / "clam", tmp_path / "x.index", mpp=0.25)
    assert not (tmp_path / "x.index").exists()
    with h5py.File(write_h5(tmp_path / "patches/S1.h5", [(0, 0), (512, 0)], attrs=CLAM), "a") as file:
        del file["features"]
    by_file, index = load(tmp_path / "clam", tmp_path / "x.index", patches=tmp_path / "patches", mpp=0.25)
    assert {(item.box.width, item.mpp, item.mpp_source) for item in index.manifest if item.box} == {(512, 0.25, "user")}
    assert by_file.about.fingerprint.preprocessing.view_px == 128
    stated, index = load(tmp_path / "clam", tmp_path / "y.index", tile_px=300, view_px=224, view_mpp=0.5)
    assert {(item.box.width, item.mpp) for item in index.manifest if item.box} == {(300, None)}
    how = stated.about.fingerprint.preprocessing
    assert (how.view_px, how.mpp, dict(stated.about.scales)) == (224, 0.5, {"fitted": 2})
    with pytest.raises(InputError, match="--mpp"):
        load(tmp_path / "clam", tmp_path / "z.index", tile_px=300)
    write_h5(tmp_path / "patches/S1.h5", [(0, 0), (0, 512)], attrs=CLAM)
    with pytest.raises(InputError, match="other places"):
        load(tmp_path / "clam", tmp_path / "z.index", patches=tmp_path / "patches", mpp=0.25)


def test_tiles_at_the_edge_are_cut_to_the_slide(tmp_path: Path, slides: Path) -> None:
    corners = [(600, 300), (-10, 0), (700, 0), (0, 0)]
    write_h5(tmp_path / "f/S1.h5", corners, attrs={"patch_size_level0": 256, "patch_size": 256})
    done, index = load(tmp_path / "f", tmp_path / "x.index", slides=slides)
    assert [item.box for item in index.manifest] == [
        Box(600, 300, 100, 212), Box(0, 0, 246, 256), Box(0, 0, 256, 256)
    ]  # fmt: skip
    assert [row.reason for row in read_skipped(tmp_path / "x.index/skipped.csv")] == [
        "1 of its tiles: the place lies outside the slide"
    ]
    assert done.about.n_skipped == 1


def test_rows_that_are_no_vectors_are_left_out_with_their_number(tmp_path: Path) -> None:
    features = np.ones((7, 4), dtype=np.float32)
    features[1] = 0
    features[2, 3] = np.nan
    features[3, 0] = np.inf
    features[6] = 3e38  # finite, but its length overflows in float32
    write_h5(tmp_path / "f/S1.h5", [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (4, 0), (6, 0)], features, TRIDENT)
    _, index = load(tmp_path / "f", tmp_path / "x.index")
    assert [item.box.x for item in index.manifest if item.box] == [0, 4, 6]
    assert np.allclose(index.rows.vectors(np.arange(3)), 0.5)
    reasons = {row.reason for row in read_skipped(tmp_path / "x.index/skipped.csv")}
    assert reasons == {
        "2 of its tiles: the vector holds values that are not finite",
        "1 of its tiles: the vector is zero",
        "1 of its tiles: the place stands in the file already",
    }


def test_blocks_join_without_a_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.random.default_rng(1).normal(size=(23, 4)).astype(np.float32)
    write_h5(tmp_path / "f/S1.h5", [(n, n) for n in range(23)], features, TRIDENT)
    monkeypatch.setattr("histoseek.index.feature_files.BLOCK_BYTES", 16 * 5)
    monkeypatch.setattr("histoseek.index.importing.ROWS_A_COMMIT", 7)
    _, index = load(tmp_path / "f", tmp_path / "x.index")
    assert [item.box.x for item in index.manifest if item.box] == list(range(23))
    stored = index.rows.vectors(np.arange(23))
    assert np.allclose(stored, features / np.linalg.norm(features, axis=1, keepdims=True), atol=1e-6)


def broken(folder: Path) -> dict[str, str]:
    """Files that cannot be used, with what their reason must say."""
    (folder / "text.h5").write_text("no HDF5")
    whole = write_h5(folder / "cut.h5", [(n, 0) for n in range(500)], attrs=TRIDENT).read_bytes()
    (folder / "cut.h5").write_bytes(whole[: len(whole) // 2])
    write_h5(folder / "slide_vector.h5", [(0, 0)], np.ones(8), TRIDENT)
    write_h5(folder / "fewer.h5", [(0, 0)], np.ones((2, 8)), TRIDENT)
    write_h5(folder / "flat.h5", [0, 0], np.ones((2, 8)), TRIDENT)
    write_h5(folder / "longer.h5", [(0, 0)], np.ones((1, 9)), TRIDENT)
    write_h5(folder / "whole_numbers.h5", [(0, 0)], np.ones((1, 8), dtype=np.int64), TRIDENT)
    write_h5(folder / "far.h5", [(2**40, 0)], np.ones((1, 8)), TRIDENT)
    write_h5(folder / "other_scale.h5", [(0, 0)], np.ones((1, 8)), TRIDENT | {"target_magnification": 10})
    with h5py.File(write_h5(folder / "only_places.h5", [(0, 0)], attrs=TRIDENT), "a") as file:
        del file["features"]
    with h5py.File(folder / "objects.h5", "w") as file:
        file.create_dataset("features", data=["a pickle could hide here"], dtype=h5py.string_dtype())
        file["coords"] = np.zeros((1, 2), dtype=np.int64)
    return {
        "text": "no HDF5 file", "cut": "damaged", "slide_vector": "one vector", "fewer": "shape", "flat": "shape",
        "longer": "9 numbers", "whole_numbers": "instead of numbers", "far": "no slide has", "other_scale": "10.0x",
        "only_places": "no dataset 'features'", "objects": "instead of numbers",
    }  # fmt: skip


def test_broken_files_are_left_out_with_a_reason_and_the_rest_goes_on(tmp_path: Path) -> None:
    write_h5(tmp_path / "f/a.h5", [(0, 0)], np.ones((1, 8)), TRIDENT)
    reasons = broken(tmp_path / "f")
    write_h5(tmp_path / "f/z.h5", [(0, 0)], np.ones((1, 8)), TRIDENT)
    done, index = load(tmp_path / "f", tmp_path / "x.index")
    assert [item.slide for item in index.manifest] == ["a", "z"]
    skipped = {row.id.removeprefix("features/"): row.reason for row in read_skipped(tmp_path / "x.index/skipped.csv")}
    assert skipped.keys() == reasons.keys()
    for name, words in reasons.items():
        assert words in skipped[name], f"{name}: {skipped[name]}"
    assert done.about.n_skipped == len(reasons)


def test_nothing_outside_the_file_is_read(tmp_path: Path) -> None:
    secret = np.full((1, 8), 7.0)
    write_h5(tmp_path / "f/a.h5", [(0, 0)], np.ones((1, 8)), TRIDENT)
    write_h5(tmp_path / "secret.hdf", [(0, 0)], secret)
    (tmp_path / "secret.raw").write_bytes(secret.tobytes())
    layout = h5py.VirtualLayout((1, 8), "f8")
    layout[:] = h5py.VirtualSource(str(tmp_path / "secret.hdf"), "features", (1, 8))
    for name in ("linked", "virtual", "stored_outside", "soft"):
        with h5py.File(tmp_path / f"f/{name}.h5", "w") as file:
            file["coords"] = np.zeros((1, 2), dtype=np.int64)
            file["coords"].attrs.update(TRIDENT)
            if name == "linked":
                file["features"] = h5py.ExternalLink(str(tmp_path / "secret.hdf"), "features")
            elif name == "virtual":
                file.create_virtual_dataset("features", layout)
            elif name == "stored_outside":
                outside = [(str(tmp_path / "secret.raw"), 0, 64)]
                file.create_dataset("features", (1, 8), "f8", external=outside)
            else:
                file["far"] = h5py.ExternalLink(str(tmp_path / "secret.hdf"), "/")
                file["features"] = h5py.SoftLink("/far/features")
    _, index = load(tmp_path / "f", tmp_path / "x.index")
    assert [item.slide for item in index.manifest] == ["a"]
    reasons = {row.id: row.reason for row in read_skipped(tmp_path / "x.index/skipped.csv")}
    assert "link" in reasons["features/linked"] and "link" in reasons["features/soft"]
    assert "other files" in reasons["features/virtual"] and "other files" in reasons["features/stored_outside"]


def test_a_table_gives_labels_patients_and_columns_of_ones_own(tmp_path: Path) -> None:
    for name in ("S1", "S2", "S3"):
        write_h5(tmp_path / f"f/{name}.h5", [(0, 0)], np.ones((1, 8)), TRIDENT)
    (tmp_path / "t.csv").write_text(
        "slide_id,label,patient,case,split,age,mpp\nS1.svs,tumour,P1,C1,train,61,0.5\nx/S2.ome.tif,normal,,,test,,\n"
    )
    done, index = load(tmp_path / "f", tmp_path / "x.index", table=tmp_path / "t.csv")
    one, two, three = index.manifest
    assert (one.label, one.group, one.group_source, one.case, one.split) == ("tumour", "P1", "patient", "C1", "train")
    assert (one.mpp, one.mpp_source, one.extra["age"], one.slide) == (0.5, "table", 61, "S1")
    assert (two.label, two.group, two.group_source, two.mpp) == ("normal", "S2", "slide", 0.25)
    assert (three.label, three.group, three.extra["age"]) == (None, "S3", None)
    assert any("1 slides are not in t.csv" in note for note in done.notes)
    assert len(index.search(item=one.id, where="age IS NULL AND split = 'test'")) == 1


def test_the_group_pattern_finds_patients_in_names(tmp_path: Path) -> None:
    for name in ("P1_a", "P1_b", "Q"):
        write_h5(tmp_path / f"f/{name}.h5", [(0, 0)], np.ones((1, 8)), TRIDENT)
    _, index = load(tmp_path / "f", tmp_path / "x.index", group=r"^(P\d)_")
    assert [(item.group, item.group_source) for item in index.manifest] == [
        ("P1", "pattern"), ("P1", "pattern"), ("Q", "slide")
    ]  # fmt: skip
    for wrong in ("(", "P1", "(X)"):
        with pytest.raises(InputError, match="group"):
            load(tmp_path / "f", tmp_path / "y.index", group=wrong)


def test_a_place_in_use_and_empty_sources_are_refused(tmp_path: Path) -> None:
    write_h5(tmp_path / "job/deep/f/S1.h5", [(0, 0)], attrs=TRIDENT)
    with pytest.raises(InputError, match="deep/f"):
        load(tmp_path / "job", tmp_path / "x.index")
    with pytest.raises(InputError, match="no folder"):
        load(tmp_path / "nothing", tmp_path / "x.index")
    source = tmp_path / "job/deep/f"
    load(source, tmp_path / "x.index")
    with pytest.raises(InputError, match="choose another --out"):
        load(source, tmp_path / "x.index")
    (tmp_path / "y").mkdir()
    (source / "S1.h5").write_bytes(b"")
    with pytest.raises(InputError, match=r"S1\.h5"):
        load(source, tmp_path / "y" / "y.index")
    assert list((tmp_path / "y").iterdir()) == []


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    for name in ("S1", "S2"):
        write_h5(tmp_path / f"f/{name}.h5", [(0, 0)], attrs=TRIDENT)

    def stop(done: int, total: int) -> None:
        assert total == 2
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_features(tmp_path / "f", "uni_v1", tmp_path / "x.index", progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_a_name_that_two_slides_have_is_not_guessed(tmp_path: Path, slides: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / "two" / folder).mkdir(parents=True)
        (tmp_path / "two" / folder / "S1.svs").write_bytes(b"")
    write_h5(tmp_path / "f/S1.h5", [(0, 0)], attrs=TRIDENT)
    done, index = load(tmp_path / "f", tmp_path / "x.index", slides=tmp_path / "two")
    assert index.manifest[0].path == "S1"
    assert any("2 files" in note for note in done.notes)


@pytest.mark.parametrize(
    ("cell", "name"),
    [("S1", "S1"), ("S1.svs", "S1"), ("a\\b\\S1.OME.TIF", "S1"), ("a.b", "a.b"), ("x/S.1.ndpi", "S.1")],
)
def test_slides_are_known_with_and_without_their_suffix(cell: str, name: str) -> None:
    assert slide_name(cell) == name


def test_wrong_numbers_are_refused() -> None:
    for wrong in ({"tile_px": 0}, {"view_px": -1}, {"mpp": 900.0}, {"view_mpp": 0.0}, {"slides": Path("no/such")}):
        with pytest.raises(InputError):
            ImportSettings(**wrong)  # type: ignore[arg-type]
