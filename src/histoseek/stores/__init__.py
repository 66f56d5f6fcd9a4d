"""Vectors and item columns, kept on disk or on object storage; the nearest rows among those allowed."""

from histoseek.stores.lance import LanceStore
from histoseek.stores.opening import create_store, open_store
from histoseek.stores.remote import RemoteStore
from histoseek.stores.store import VECTOR, Neighbours, Rows, Store, TableStore, rows_at

__all__ = [
    "VECTOR",
    "LanceStore",
    "Neighbours",
    "RemoteStore",
    "Rows",
    "Store",
    "TableStore",
    "create_store",
    "open_store",
    "rows_at",
]
