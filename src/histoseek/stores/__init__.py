"""Vectors and item columns, kept on disk; the nearest rows among those allowed."""

from histoseek.stores.lance import LanceStore
from histoseek.stores.store import VECTOR, Neighbours, Rows, Store, rows_at

__all__ = ["VECTOR", "LanceStore", "Neighbours", "Rows", "Store", "rows_at"]
