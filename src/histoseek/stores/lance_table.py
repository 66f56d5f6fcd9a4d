"""What the stores on disk and on object storage share: reading and naming inside LanceDB's tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from histoseek.errors import DamagedError, HistoseekError
from histoseek.items.filters import text_literal
from histoseek.stores.fast import ROW_ID
from histoseek.stores.store import VECTOR
from histoseek.stores.sums import ITEM_SUM, VECTOR_SUM, wrong_rows

TABLE = "items"
FOLDER = f"{TABLE}.lance"
VERSIONS = "_versions"

_V2_TOP = 2**64 - 1
_ROWS_A_BATCH = 8192


def connect(home: str | Path) -> Any:
    """A LanceDB connection to the folder or address that holds the table."""
    import lancedb

    return lancedb.connect(str(home))


def version_of(name: str) -> int | None:
    """The version that a file of `_versions` is of: `N.manifest`, or `(2^64 − 1 − N).manifest`, newest first."""
    stem, _, suffix = name.partition(".")
    if suffix != "manifest" or not stem.isdigit():
        return None
    return _V2_TOP - int(stem) if len(stem) == 20 else int(stem)


def with_sum_fields(schema: pa.Schema) -> pa.Schema:
    """The columns of a table: those of the items, the vector, and the checksums of both."""
    return pa.schema([*schema, *(pa.field(name, pa.uint64()) for name in (VECTOR_SUM, ITEM_SUM))])


def without_sum_fields(schema: pa.Schema) -> pa.Schema:
    """The same without the checksums."""
    return pa.schema([field for field in schema if field.name not in (VECTOR_SUM, ITEM_SUM)])


def batches_of(table: Any, where: str | Path, failure: type[HistoseekError] = DamagedError) -> pa.RecordBatchReader:
    """All rows of a checked-out version, in order, with their row ids; raises `failure` where they cannot be read.

    Block by block: one scan over everything reads ahead without end (measured on 0.8 million rows: 0.75 GB instead of
    0.25 GB, and growing with the table).
    """
    n_rows = int(table.count_rows())

    def block(start: int, size: int) -> pa.Table:
        query = table.search().with_row_id(True).select(table.schema.names)
        try:
            return query.limit(size).offset(start).to_arrow()
        except (OSError, RuntimeError, ValueError) as error:
            raise failure(
                f"rows of {where} cannot be read, from number {start} on ({first_line(error)[:200]}); if that stays, "
                "restore a snapshot or build the index again"
            ) from error

    def blocks() -> Iterator[pa.RecordBatch]:
        for start in range(0, n_rows, _ROWS_A_BATCH):
            yield from block(start, _ROWS_A_BATCH).combine_chunks().to_batches()

    return pa.RecordBatchReader.from_batches(block(0, 1).schema, blocks())


def sound_batches(table: Any, where: str | Path, failure: type[HistoseekError] = DamagedError) -> pa.RecordBatchReader:
    """The same, each row held against its checksums as it passes; raises `DamagedError`, which says `where`."""
    reader = batches_of(table, where, failure)

    def checked() -> Iterator[pa.RecordBatch]:
        for batch in reader:
            check_rows(pa.Table.from_batches([batch]).drop_columns([ROW_ID]), where)
            yield batch

    return pa.RecordBatchReader.from_batches(reader.schema, checked())


def check_rows(rows: pa.Table, where: str | Path) -> None:
    """Hold rows against the checksums that they carry; raises `DamagedError`."""
    if VECTOR_SUM not in rows.schema.names:
        return
    wrong = wrong_rows(rows, VECTOR)
    if len(wrong):
        name = rows["id"][int(wrong[0])].as_py()
        raise DamagedError(
            f"{len(wrong)} rows of {where} are not what was stored, the first {name!r}: restore a snapshot, "
            "or remove them and add them again"
        )


def column_of(table: Any, name: str) -> pa.ChunkedArray:
    """One column, or the row ids."""
    query = table.search().with_row_id(True) if name == ROW_ID else table.search()
    return query.select([name] if name != ROW_ID else ["id"]).to_arrow()[name]


def delete_ids(table: Any, ids: Sequence[str]) -> Any:
    """Delete rows by id, in one commit; returns what LanceDB says of it."""
    return table.delete(f"id IN ({', '.join(map(text_literal, ids))})")


def last_of_each(rows: pa.Table) -> pa.Table:
    """Rows without those whose id comes again further down."""
    last = {name: at for at, name in enumerate(rows["id"].to_pylist())}
    return rows if len(last) == rows.num_rows else rows.take(pa.array(sorted(last.values())))


def first_line(error: Exception) -> str:
    """What an engine's error says before its details."""
    return str(error).split("\n")[0]
