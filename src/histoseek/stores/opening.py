"""Which store an address means: a folder of this machine, or object storage."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from histoseek.stores.lance import LanceStore
from histoseek.stores.places import is_remote
from histoseek.stores.remote import RemoteStore
from histoseek.stores.store import TableStore


def open_store(address: str | Path) -> TableStore:
    """The table in a folder or at an `s3://` address."""
    return RemoteStore(str(address)) if is_remote(address) else LanceStore(address)


def create_store(address: str | Path, schema: pa.Schema) -> TableStore:
    """Make an empty table there; `schema` holds the item columns and a `vector` of fixed size."""
    if is_remote(address):
        return RemoteStore.create(str(address), schema)
    return LanceStore.create(address, schema)
