from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa

from histoseek.stores.sums import VECTOR_SUM, item_sums, vector_sums, with_sums, wrong_rows


def table() -> pa.Table:
    vectors = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    return pa.table(
        {
            "id": ["a", "b", "c", "d"],
            "label": pa.array(["x", None, "", "null"]),
            "fold": pa.array([0, None, 1, -1], pa.int32()),
            "mpp": pa.array([0.5, None, 0.0, -0.0]),
            "seen": pa.array([True, None, False, True]),
            "day": pa.array([datetime.date(2026, 1, 31), None, datetime.date(1970, 1, 1), None]),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 8),
        }
    )


def test_any_flipped_bit_of_a_vector_changes_its_sum() -> None:
    vectors = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    whole = vector_sums(vectors)
    for bit in range(8 * 32):
        bits = vectors.view(np.uint32).copy()
        bits[1, bit // 32] ^= np.uint32(1 << (bit % 32))
        sums = vector_sums(bits.view(np.float32))
        assert sums[1] != whole[1]
        assert (sums[[0, 2]] == whole[[0, 2]]).all()


def test_rows_with_their_own_sums_are_right_in_any_order_and_chunking() -> None:
    summed = with_sums(table(), "vector")
    assert len(wrong_rows(summed, "vector")) == 0
    pieces = pa.concat_tables([summed.slice(3), summed.slice(0, 2), summed.slice(2, 0)])
    assert len(wrong_rows(pieces, "vector")) == 0
    columns = [*reversed(summed.schema.names)]
    assert len(wrong_rows(summed.select(columns), "vector")) == 0


def test_every_column_counts_and_null_is_no_value() -> None:
    plain = table()
    whole = item_sums(plain.drop_columns(["vector"]))
    others = {
        "label": ["y", "", None, "z"], "fold": [1, 0, None, 1], "mpp": [0.6, 0.0, None, 0.0],
        "seen": [False, False, None, None], "day": [None, datetime.date(1970, 1, 1), None, datetime.date(1970, 1, 1)],
    }  # fmt: skip
    for name, values in others.items():
        at = plain.schema.get_field_index(name)
        changed = plain.set_column(at, plain.schema.field(name), pa.array(values, plain.schema.field(name).type))
        assert (item_sums(changed.drop_columns(["vector"])) != whole).all(), name


def test_a_wrong_row_is_named() -> None:
    summed = with_sums(table(), "vector")
    at = summed.schema.get_field_index("label")
    changed = summed.set_column(at, summed.schema.field("label"), pa.array(["x", None, "z", "null"]))
    assert wrong_rows(changed, "vector").tolist() == [2]


def test_sums_are_the_same_on_every_machine() -> None:
    """They are stored: another value here means that archives of today cannot be verified any more."""
    summed = with_sums(table().slice(0, 1), "vector")
    first = np.asarray(summed["vector"][0].as_py(), np.float32)[None]
    assert summed[VECTOR_SUM][0].as_py() == int(vector_sums(first)[0])
    assert vector_sums(np.ones((1, 3), np.float32)).tolist() == [PINNED[0]]
    assert item_sums(pa.table({"id": ["a"], "fold": pa.array([3], pa.int32())})).tolist() == [PINNED[1]]


PINNED = (11963287940353753088, 9391639829616152506)
