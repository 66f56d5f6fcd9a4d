"""An index written for other programs, and read back by them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from histoseek.errors import InputError
from histoseek.index import Index, exporting
from histoseek.index.exporting import METADATA_KEY, export_index
from histoseek.items import Box, Manifest


@pytest.fixture
def index(archive: Manifest, tiny, tmp_path: Path) -> Index:  # type: ignore[no-untyped-def]
    """36 pictures; every second one is a box, some have no label, fold, truth or age."""
    items = []
    for number, item in enumerate(archive):
        box = Box(2, 4, 12, 8) if number % 2 else None
        extra = {"age": None if number == 3 else 50 + number, "seen": number % 3 == 0 if number else None, "none": None}
        label = None if number == 5 else item.label
        items.append(replace(item, box=box, label=label, fold=number % 3 if number else None, extra=extra))
    manifest = Manifest.from_items(items, archive.root, {"dataset": "toy", "licence": "CC0", "source": "/secret/disk"})
    return Index.build(manifest, tiny, tmp_path / "x.index")


def test_parquet_holds_every_item_with_its_vector(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "ROWS_A_GROUP", 10)
    seen: list[tuple[int, int]] = []
    n_written = export_index(index, tmp_path / "x.parquet", progress=lambda done, total: seen.append((done, total)))
    assert n_written == 36 and seen == [(10, 36), (20, 36), (30, 36), (36, 36)]
    file = pq.ParquetFile(tmp_path / "x.parquet")
    assert file.num_row_groups == 4
    table = file.read()
    assert table.schema.field("vector").type == pa.list_(pa.float32(), 32)
    assert table.drop_columns(["vector"]).replace_schema_metadata().equals(index.rows.items)
    vectors = table["vector"].combine_chunks().flatten().to_numpy().reshape(-1, 32)
    assert np.array_equal(vectors, index.rows.vectors(np.arange(36)))
    facts = json.loads(file.schema_arrow.metadata[METADATA_KEY])
    assert facts["encoder"] == "tiny" and facts["fingerprint"] == index.about.fingerprint.digest
    assert facts["licence"] == "CC0" and facts["items"] == "36" and facts["view_mpp"] == "0.5"


def test_h5ad_holds_every_item_with_its_vector_and_place(index: Index, tmp_path: Path) -> None:
    export_index(index, tmp_path / "x.h5ad")
    data = anndata.read_h5ad(tmp_path / "x.h5ad")
    items = list(index.manifest)
    assert list(data.obs_names) == [item.id for item in items]
    assert data.X.dtype == np.float32 and np.array_equal(data.X, index.rows.vectors(np.arange(36)))
    assert data.obs["label"].isna().tolist() == [item.label is None for item in items]
    assert data.obs["label"].dropna().tolist() == [item.label for item in items if item.label is not None]
    assert data.obs["group"].tolist() == [item.group for item in items]
    assert data.obs["fold"].isna().tolist() == [True] + 35 * [False]
    assert data.obs["fold"].tolist()[1:] == [number % 3 for number in range(1, 36)]
    assert data.obs["age"].isna().sum() == 1 and data.obs["age"].dropna().tolist()[3:] == list(range(54, 86))
    assert data.obs["seen"].tolist()[1:] == [number % 3 == 0 for number in range(1, 36)]
    assert data.obs["mpp"].tolist() == 36 * [0.5]
    assert data.obs["width"].tolist() == 36 * [16]
    assert "none" not in data.obs and "id" not in data.obs
    assert data.obsm["spatial"][:2].tolist() == [[8.0, 8.0], [8.0, 8.0]]
    assert data.uns["histoseek"]["fingerprint"] == index.about.fingerprint.digest
    assert {type(value) for value in data.uns["histoseek"].values()} == {str}


def test_centres_are_those_of_the_boxes(index: Index) -> None:
    items = index.rows.items.slice(0, 3)
    at = items.schema.get_field_index
    moved = items.set_column(at("box_x"), items.schema.field("box_x"), pa.array([None, 100, 7]))
    moved = moved.set_column(at("box_width"), items.schema.field("box_width"), pa.array([None, 31, 10]))
    moved = moved.set_column(at("width"), items.schema.field("width"), pa.array([None, 31, 10]))
    assert np.array_equal(exporting._centres(moved)[:, 0], [np.nan, 115.5, 12], equal_nan=True)


@pytest.mark.parametrize("suffix", [".parquet", ".h5ad"])
def test_a_filter_chooses_items(index: Index, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"x{suffix}"
    n_written = export_index(index, out, where="label = 'red' AND fold = 1")
    expected = [item.id for item in index.manifest if item.label == "red" and item.fold == 1]
    names = pq.read_table(out)["id"].to_pylist() if suffix == ".parquet" else list(anndata.read_h5ad(out).obs_names)
    assert names == expected and n_written == len(expected) > 0
    with pytest.raises(InputError, match="no item"):
        export_index(index, tmp_path / f"none{suffix}", where="label = 'purple'")
    assert not (tmp_path / f"none{suffix}").exists()


@pytest.mark.parametrize("suffix", [".parquet", ".h5ad"])
def test_where_things_lie_on_this_machine_is_told_on_request_only(index: Index, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"x{suffix}"
    for keep_paths in (False, True):
        export_index(index, out, keep_paths=keep_paths)
        if suffix == ".parquet":
            table = pq.read_table(out)
            told = json.loads(table.schema.metadata[METADATA_KEY])
            rows = table.drop_columns(["vector"]).to_pylist()
        else:
            data = anndata.read_h5ad(out)
            told, rows = data.uns["histoseek"], data.obs.to_dict("records")
        assert (str(index.root) in json.dumps(dict(told))) is keep_paths
        assert "/secret/disk" not in json.dumps(dict(told))
        assert str(tmp_path) not in str(rows)


def test_another_suffix_is_refused(index: Index, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="h5ad"):
        export_index(index, tmp_path / "x.csv")
