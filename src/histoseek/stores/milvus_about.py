"""The companion of a Milvus collection: what is known about it, as small texts under a few keys."""

from __future__ import annotations

from typing import Any

from histoseek.stores.milvus_address import MilvusAddress
from histoseek.stores.milvus_client import ASK_S, BUILD_S, STRONG, WRITE_S, asking

PART = 60_000
"""Characters of one row: a text field holds 65 535 bytes."""

_NO_VECTOR = [0.0, 0.0]
"""Milvus wants a vector in every collection."""


def create_about(client: Any, address: MilvusAddress) -> None:
    """Make the companion, empty."""
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("key", DataType.VARCHAR, is_primary=True, max_length=256)
    schema.add_field("text", DataType.VARCHAR, max_length=65_535)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=len(_NO_VECTOR))
    index = client.prepare_index_params()
    index.add_index("vector", index_type="FLAT", metric_type="L2")
    with asking(address):
        client.create_collection(address.about, schema=schema, consistency_level=STRONG, timeout=WRITE_S)
        client.create_index(address.about, index, timeout=BUILD_S)


def read_about(client: Any, address: MilvusAddress) -> dict[str, str]:
    """All texts by their keys."""
    with asking(address):
        rows = client.query(
            address.about,
            filter='key != ""',
            output_fields=["key", "text"],
            limit=16_384,
            consistency_level=STRONG,
            timeout=ASK_S,
        )
    parts = {row["key"]: row["text"] for row in rows}
    counts = {key: int(text) for key, text in parts.items() if "/" not in key}
    return {key: "".join(parts[f"{key}/{at}"] for at in range(count)) for key, count in counts.items()}


def write_about(client: Any, address: MilvusAddress, texts: dict[str, str]) -> None:
    """Replace some texts, all at once: readers see either the old ones or the new ones. Texts are ASCII.

    Milvus holds an acknowledged write in its log, from which it recovers; a flush would take seconds for a few words.
    """
    rows: dict[str, str] = {}
    for key, text in texts.items():
        parts = [text[at : at + PART] for at in range(0, len(text), PART)]
        rows |= {key: str(len(parts)), **{f"{key}/{at}": part for at, part in enumerate(parts)}}
    data = [{"key": key, "text": text, "vector": _NO_VECTOR} for key, text in rows.items()]
    with asking(address):
        client.upsert(address.about, data, timeout=WRITE_S)
