"""How batches that lie in a Ray cluster's memory get into the table: each whole or not at all.

Whoever writes, only the driver commits, one commit a batch. So a task that dies leaves no rows behind and can be run
again, and a driver that dies has committed a batch or has not: the ids in the table say which.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import pyarrow as pa

from histoseek.errors import StorageError
from histoseek.stores import VECTOR, RemoteStore, Store
from histoseek.stores.lance_table import first_line
from histoseek.stores.sums import with_sums


class Sink(Protocol):
    """Takes batches of rows."""

    def add(self, ray: Any, parts: Sequence[Any]) -> int:
        """Append the tables that `parts` refer to, durably and in one commit; returns how many rows that were."""
        ...


class DriverSink:
    """Brings the rows to the driver, which adds them to any store: right wherever the nodes do not see the table."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, ray: Any, parts: Sequence[Any]) -> int:
        """Append the tables that `parts` refer to; returns how many rows that were."""
        rows = pa.concat_tables(ray.get(list(parts)))
        if rows.num_rows:
            self._store.add(rows)
        return int(rows.num_rows)


class LanceRaySink:
    """Lets a node write the data files to object storage with lance-ray; the vectors never pass through the driver.

    Every node must reach the table under its address, with keys of its own: none are sent.
    """

    def __init__(self, store: RemoteStore) -> None:
        self._address = store.table_address
        self._schema = store.full_schema

    def add(self, ray: Any, parts: Sequence[Any]) -> int:
        """Append the tables that `parts` refer to; returns how many rows that were."""
        from lance_ray import LanceFragmentCommitter  # not sooner: it imports Ray, and `connected` prepares that

        write = ray.remote(write_fragments).options(num_cpus=0, max_retries=3)  # 0: it need not wait for a free slot
        n_rows, fragments = ray.get(write.remote(self._address, self._schema, *parts))
        if not n_rows:
            return 0
        try:
            committer = LanceFragmentCommitter(self._address, schema=self._schema, mode="append")
            committer.on_write_start()
            committer.on_write_complete([fragments])
        except (OSError, RuntimeError, ValueError) as error:
            raise StorageError(
                f"cannot write {self._address}: {first_line(error)}; what is there is kept, go on with --resume"
            ) from error
        return int(n_rows)


def sink_for(store: Store) -> Sink:
    """Choose who writes: the nodes where they reach the table for sure, else the driver."""
    return LanceRaySink(store) if isinstance(store, RemoteStore) else DriverSink(store)


def write_fragments(address: str, schema: pa.Schema, *parts: pa.Table) -> tuple[int, list[tuple[bytes, bytes]]]:
    """On a node: write rows as data files that belong to no version yet, and say which they are."""
    from lance_ray import LanceFragmentWriter

    rows = pa.concat_tables(parts)
    if not rows.num_rows:
        return 0, []
    whole = with_sums(rows, VECTOR).cast(schema)
    written = LanceFragmentWriter(address, schema=schema)(whole)
    return rows.num_rows, list(zip(written["fragment"].to_pylist(), written["schema"].to_pylist(), strict=True))
