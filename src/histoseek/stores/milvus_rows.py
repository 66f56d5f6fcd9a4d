"""Items on their way into Milvus and back: checked tables, matrices, and entities as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from histoseek.errors import InputError
from histoseek.stores.fast import matrix_of
from histoseek.stores.milvus_codes import ID, columns_of
from histoseek.stores.store import VECTOR


def dim_of(schema: pa.Schema) -> int:
    """Length of the vectors of a schema.

    Raises:
        InputError: there is no column `vector` of lists of float32 of one length.
    """
    kind = schema.field(VECTOR).type if VECTOR in schema.names else None
    if kind is None or not pa.types.is_fixed_size_list(kind) or kind.value_type != pa.float32():
        raise InputError(f"the items need a column {VECTOR!r} of float32 lists of one length, not {kind}")
    return int(kind.list_size)


def item_columns(schema: pa.Schema) -> pa.Schema:
    """The columns beside the vector."""
    return pa.schema([field for field in schema if field.name != VECTOR])


def checked_rows(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows in the order and with the types of `schema`.

    Raises:
        InputError: other columns, an id twice, or vectors that are not of unit length.
    """
    if set(rows.schema.names) != set(schema.names):
        odd = sorted(set(rows.schema.names) ^ set(schema.names))
        raise InputError(f"the items have other columns than the collection: {', '.join(odd)} stand on one side only")
    rows = rows.select(schema.names)
    for field in schema:
        if rows.schema.field(field.name).type != field.type:
            given = rows.schema.field(field.name).type
            raise InputError(f"column {field.name!r} holds {given}, and the collection's holds {field.type}")
    if pc.count_distinct(rows[ID]).as_py() != rows.num_rows:
        raise InputError("an id stands twice among the items to write; give every item an id of its own")
    if rows[VECTOR].null_count:
        raise InputError("an item has no vector")
    lengths = np.linalg.norm(matrix_of(rows[VECTOR]).astype(np.float64), axis=1)
    if not (np.abs(lengths - 1) < 1e-3).all():  # NaN fails too
        at = int(np.argmax(~(np.abs(lengths - 1) < 1e-3)))
        raise InputError(f"the vector of item {rows[ID][at].as_py()!r} is not of unit length ({lengths[at]:.3g})")
    return rows


def table_of_rows(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Entities as Milvus gives them, as a table with item columns and vector."""
    columns = columns_of(item_columns(schema))
    arrays = {one.column.name: one.decode([row[one.field] for row in rows]) for one in columns}
    flat = np.asarray([row[VECTOR] for row in rows], dtype=np.float32).reshape(-1)
    arrays[VECTOR] = pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), type=schema.field(VECTOR).type)
    return pa.table([arrays[name] for name in schema.names], schema=schema)
