"""Fields and vector index of a Milvus collection: exact while it is small, HNSW when it is large."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from histoseek.stores.milvus_address import MilvusAddress
from histoseek.stores.milvus_client import ASK_S, BUILD_S, STRONG, WRITE_S, asking
from histoseek.stores.milvus_codes import MAX_TEXT_BYTES, Column
from histoseek.stores.store import VECTOR

EXACT_ROWS = 50_000
"""Up to here a scan takes milliseconds and misses nothing."""

METRIC = "IP"
"""Vectors are of unit length, so their inner product is their cosine, and Milvus keeps them as they are."""


def create_items(client: Any, address: MilvusAddress, columns: Sequence[Column], dim: int) -> None:
    """Make the collection of items, empty, with an exact index."""
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    for one in columns:
        about = one.column.name[:200]
        if one.is_text:
            schema.add_field(
                one.field, DataType.VARCHAR, is_primary=one.is_id, max_length=MAX_TEXT_BYTES, description=about
            )
        else:
            schema.add_field(one.field, DataType.INT64, description=about)
    schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=dim)
    with asking(address):
        client.create_collection(address.collection, schema=schema, consistency_level=STRONG, timeout=WRITE_S)
    create_index(client, address, large=False)


def create_index(client: Any, address: MilvusAddress, *, large: bool) -> None:
    """Build the vector index of a collection that has none."""
    kind = {"index_type": "HNSW", "params": {"M": 24, "efConstruction": 200}} if large else {"index_type": "FLAT"}
    index = client.prepare_index_params()
    index.add_index(VECTOR, metric_type=METRIC, **kind)
    with asking(address):
        client.create_index(address.collection, index, timeout=BUILD_S)


def fit_index(client: Any, address: MilvusAddress, n_rows: int) -> None:
    """Change to HNSW when a collection has outgrown the exact index; Milvus answers nothing until it is built.

    Milvus Lite stays exact: it is for trying out.
    """
    if address.is_lite or n_rows <= EXACT_ROWS:
        return
    with asking(address):
        names = client.list_indexes(address.collection, timeout=ASK_S)
        kinds = [client.describe_index(address.collection, name, timeout=ASK_S)["index_type"] for name in names]
        if kinds != ["FLAT"]:
            return
        client.release_collection(address.collection, timeout=WRITE_S)
        client.drop_index(address.collection, names[0], timeout=WRITE_S)
    create_index(client, address, large=True)
    with asking(address):
        client.load_collection(address.collection, timeout=BUILD_S)


def search_options(limit: int) -> dict[str, Any]:
    """How widely HNSW looks for `limit` hits; the exact index takes no notice."""
    return {"metric_type": METRIC, "params": {"ef": min(32_768, max(256, 2 * limit))}}
