from __future__ import annotations

import hashlib
import json

import numpy as np
import pyarrow as pa
import pytest

from histoseek.evaluation import gallery
from histoseek.evaluation.excluding import contents, find_twins


def items_of(n: int, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    boxes = {f"box_{side}": pa.array([None if one else int(one) for one in rng.integers(0, 3, n)], pa.int64())
             for side in ("x", "y", "width", "height")}  # fmt: skip
    columns = {
        "id": [f'é"{one}' for one in rng.permutation(n)],
        "group": [None if one == 0 else f"g{one}" for one in rng.integers(0, 9, n)],
        "sha256": pa.array([None if one < 3 else f"{one}" for one in rng.integers(0, 9, n)], pa.string()),
    }
    return pa.table({**columns, **boxes})


@pytest.mark.parametrize("rows_a_run", [1, 7, 50, 51])
def test_digest_of_a_gallery_is_that_of_its_sorted_rows_however_it_is_sorted(
    rows_a_run: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = items_of(50, 1)
    rows = sorted(
        json.dumps(row) for row in zip(*(items[n].to_pylist() for n in ("id", "group", "sha256")), strict=True)
    )
    expected = hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]
    monkeypatch.setattr(gallery, "ROWS_A_RUN", rows_a_run)
    assert gallery.gallery_digest(items) == expected
    assert gallery.gallery_digest(items.take(pa.array(np.random.default_rng(2).permutation(50)))) == expected


def test_twins_are_all_rows_of_the_same_content_and_the_querys_own() -> None:
    items = pa.concat_tables([items_of(60, 1), items_of(60, 2)])
    queries, own = items_of(30, 3), np.arange(-1, 29)
    held, asked = contents(items), contents(queries)
    expected = [
        sorted({at for at, one in enumerate(held) if one is not None and one == content} | {int(row)} - {-1})
        for row, content in zip(own, asked, strict=True)
    ]
    assert [rows.tolist() for rows in find_twins(items, queries, own)] == expected
    assert any(len(rows) > 2 for rows in expected)
