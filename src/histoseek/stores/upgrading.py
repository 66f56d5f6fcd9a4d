"""Bringing a table of the first format, without checksums and ledger, to the present one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa

from histoseek.items.files import flush_to_disk
from histoseek.stores.ledger import Entry, Ledger
from histoseek.stores.store import VECTOR
from histoseek.stores.sums import ITEM_SUM, VECTOR_SUM, with_sums

TABLE = "items"
_ROW_ID = "_rowid"
_SUMS = (VECTOR_SUM, ITEM_SUM)


def begin_ledger(home: Path, ledger: Ledger) -> None:
    """Write the rows anew with checksums, and a ledger that appears whole: without one the table stays as it is."""
    older = set(ledger.names())
    table = connect(home).open_table(TABLE)
    plain = [field for field in table.schema if field.name not in _SUMS]  # there where an earlier attempt was killed
    parts = (pa.Table.from_batches([batch]).drop_columns([_ROW_ID]) for batch in batches_of(table))
    summed = (batch for part in parts for batch in with_sums(_without_sums(part), VECTOR).to_batches())
    schema = pa.schema([*plain, *(pa.field(name, pa.uint64()) for name in _SUMS)])
    reader = pa.RecordBatchReader.from_batches(schema, summed)
    table = connect(home).create_table(TABLE, data=reader, mode="overwrite")
    draft = Ledger(home / f".{ledger.folder.name}", ledger.table_dir)
    shutil.rmtree(draft.folder, ignore_errors=True)
    draft.acknowledge(Entry(int(table.version), 1), set(ledger.names()) - older)
    shutil.rmtree(ledger.folder, ignore_errors=True)  # an empty one
    draft.folder.rename(ledger.folder)
    flush_to_disk(home)


def batches_of(table: Any) -> pa.RecordBatchReader:
    """All rows of a table in bounded memory, with their places in it."""
    return table.search().with_row_id(True).select(table.schema.names).to_batches(batch_size=8192)


def connect(home: Path) -> Any:
    """LanceDB on an index folder."""
    import lancedb

    return lancedb.connect(str(home))


def _without_sums(rows: pa.Table) -> pa.Table:
    return rows.drop_columns([name for name in _SUMS if name in rows.schema.names])
