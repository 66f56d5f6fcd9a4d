"""Bringing a table of the first format, without checksums and ledger, to the present one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa

from histoseek.items.files import flush_to_disk
from histoseek.stores.fast import ROW_ID
from histoseek.stores.lance_table import TABLE, batches_of, connect, with_sum_fields
from histoseek.stores.ledger import Entry, Ledger
from histoseek.stores.store import VECTOR
from histoseek.stores.sums import ITEM_SUM, VECTOR_SUM, with_sums

_SUMS = (VECTOR_SUM, ITEM_SUM)


def begin_ledger(home: Path, ledger: Ledger) -> None:
    """Write the rows anew with checksums, and a ledger that appears whole: without one the table stays as it is."""
    older = set(ledger.names())
    table = connect(home).open_table(TABLE)
    plain = [field for field in table.schema if field.name not in _SUMS]  # there where an earlier attempt was killed
    parts = (pa.Table.from_batches([batch]).drop_columns([ROW_ID]) for batch in batches_of(table, ledger.table_dir))
    summed = (batch for part in parts for batch in with_sums(_without_sums(part), VECTOR).to_batches())
    schema = with_sum_fields(pa.schema(plain))
    reader = pa.RecordBatchReader.from_batches(schema, summed)
    table = connect(home).create_table(TABLE, data=reader, mode="overwrite")
    draft = Ledger(home / f".{ledger.folder.name}", ledger.table_dir)
    shutil.rmtree(draft.folder, ignore_errors=True)
    draft.acknowledge(Entry(int(table.version), 1), set(ledger.names()) - older)
    shutil.rmtree(ledger.folder, ignore_errors=True)  # an empty one
    draft.folder.rename(ledger.folder)
    flush_to_disk(home)


def _without_sums(rows: pa.Table) -> pa.Table:
    return rows.drop_columns([name for name in _SUMS if name in rows.schema.names])
