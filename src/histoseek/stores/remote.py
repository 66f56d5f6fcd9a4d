"""The Lance store on object storage: the same table at `s3://bucket/name`, read through a copy in the user's cache.

There is no lock and no ledger: a commit is whole and durable when the storage has answered, and one that conflicts with
another writer's is made again on top of it.
"""

from __future__ import annotations

import hashlib
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from histoseek.errors import DamagedError, InputError, StorageError
from histoseek.stores.caching import cache_home
from histoseek.stores.codes import Tuned
from histoseek.stores.copies import fast_folder, fast_versions
from histoseek.stores.fast import FastCopy, write_fast
from histoseek.stores.lance_table import (
    FOLDER,
    TABLE,
    VERSIONS,
    batches_of,
    column_of,
    connect,
    delete_ids,
    first_line,
    last_of_each,
    sound_batches,
    version_of,
    with_sum_fields,
    without_sum_fields,
)
from histoseek.stores.ledger import Entry
from histoseek.stores.places import KEYS, joined, list_marks, list_names
from histoseek.stores.store import VECTOR, Rows
from histoseek.stores.sums import with_sums

_KEY = {b"lance-schema:unenforced-primary-key": b"true"}
"""Lets Lance see that two writers add the same id at once; the second then replaces the first one's row."""

_TRIES = 8
_FIRST_WAIT_S = 0.1

Answer = TypeVar("Answer")


class RemoteStore:
    """A Lance table `items.lance` under an address; several processes on several machines may write at once."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self.table_address = joined(self.address, FOLDER)

    @classmethod
    def create(cls, address: str, schema: pa.Schema) -> RemoteStore:
        """Make an empty table; `schema` holds the item columns and a `vector` of fixed size."""
        store = cls(address)
        if store.exists:
            raise InputError(f"{store.table_address} is there already; choose another address")
        with store._told("write"):
            connect(store.address).create_table(TABLE, schema=_keyed(with_sum_fields(schema)))
        store._forget_copies()
        return store

    @property
    def exists(self) -> bool:
        """Whether there is a table at the address."""
        return bool(list_names(joined(self.table_address, VERSIONS)))

    @property
    def version(self) -> int:
        """Number of the newest version, from one listing."""
        return self._entry.version

    @property
    def state(self) -> Entry:
        """What tells the newest version from others, also from those of another table that lay at this address."""
        return self._entry

    @property
    def schema(self) -> pa.Schema:
        """Item columns and the `vector`."""
        return pa.schema([field.remove_metadata() for field in without_sum_fields(self.full_schema)])

    @property
    def full_schema(self) -> pa.Schema:
        """The same with the checksums, as the table has it."""
        with self._told("read"):
            return self._open().schema

    def count(self) -> int:
        """How many items there are."""
        with self._told("read"):
            return int(self._open().count_rows())

    def add(self, rows: pa.Table) -> None:
        """Add rows, durably when this returns; one whose id is there already takes the place of the older."""
        whole = with_sums(last_of_each(rows), VECTOR)
        whole = whole.cast(_keyed(whole.schema))

        def merged(table: Any) -> None:
            table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(whole)

        self._changed(merged)

    def remove(self, ids: Sequence[str]) -> int:
        """Take items out, all of them or none; returns how many were there."""
        return self._changed(lambda table: int(delete_ids(table, ids).num_deleted_rows)) if len(ids) else 0

    def compact(self) -> bool:
        """Write the rows anew where some were removed, and delete everything older; False where that changes nothing.

        A process that reads an older version meanwhile starts again.
        """
        return self._changed(self._tidied)

    def make_codes(self) -> Tuned:
        """Make the codes that a large archive is searched by, in the cache.

        Raises:
            MissingExtraError: the extra `scale` is not installed.
        """
        return self._copy().make_codes()

    @property
    def n_commits(self) -> int:
        """Commits since the table was last compacted."""
        return len(self._versions())

    @property
    def n_files(self) -> int:
        """None of the files has a checksum here: rows have theirs, and the storage keeps its own."""
        return 0

    @property
    def has_sums(self) -> bool:
        """Whether rows have checksums: here all do."""
        return True

    def damaged_files(self) -> list[str]:
        """Nothing: there are no files with checksums."""
        return []

    def rows(self) -> Rows:
        """The newest version, from its copy in the user's cache, which is fetched now if it is missing or stale.

        Raises:
            DamagedError: a row is not what was stored.
            StorageError: the storage does not answer.
        """
        return self._copy()

    def ids(self) -> set[str]:
        """The ids of all items."""
        with self._told("read"):
            return set(column_of(self._open(), "id").to_pylist())

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows with item columns, vector and checksums, in bounded memory."""
        with self._told("read"):
            yield from batches_of(self._at(self.version), self.address, StorageError)

    def drop(self) -> None:
        """Delete the table and its copies in the cache."""
        with self._told("delete"):
            connect(self.address).drop_table(TABLE)
        self._forget_copies()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody can be kept out of object storage; what is written under this is small and written whole."""
        yield

    @property
    def _entry(self) -> Entry:
        """The newest version; its `generation` tells it from that of another table that had the address before."""
        found = self._versions()
        if not found:
            raise DamagedError(f"{self.table_address} holds no table; build the index again")
        newest = max(found)
        return Entry(newest, int.from_bytes(hashlib.sha256(found[newest].encode()).digest()[:6]))

    def _versions(self) -> dict[int, str]:
        marks = list_marks(joined(self.table_address, VERSIONS))
        numbered = {version_of(name): mark for name, mark in marks.items()}
        return {version: mark for version, mark in numbered.items() if version is not None}

    def _open(self) -> Any:
        return connect(self.address).open_table(TABLE)

    def _at(self, version: int) -> Any:
        table = self._open()
        table.checkout(version)
        return table

    def _copy(self) -> FastCopy:
        for _ in range(_TRIES):
            entry = self._entry
            try:
                return self._copied(entry)
            except (DamagedError, StorageError):
                if self._entry == entry:  # else a compaction took the files away meanwhile
                    raise
        raise StorageError(f"{self.address} changes faster than it can be read; try again when its writers are done")

    def _copied(self, entry: Entry) -> FastCopy:
        home = cache_home(self.address)
        for version in fast_versions(home):
            if version >= entry.version:
                copy = _read(home, version)
                if copy is not None and copy.entry == entry:
                    return copy
                shutil.rmtree(fast_folder(home, version), ignore_errors=True)  # damaged, or another table's
        with self._told("read"):
            table = self._at(entry.version)
            rows = sound_batches(table, self.address, StorageError)
            return write_fast(home, entry, "", rows, int(table.count_rows()))

    def _changed(self, change: Callable[[Any], Answer]) -> Answer:
        """Make an atomic change; where another writer was quicker, make it again on what that one wrote."""
        for attempt in range(_TRIES):
            with self._told("write"):
                try:
                    return change(self._open())
                except (OSError, RuntimeError, ValueError) as error:
                    if "conflict" not in str(error).lower():
                        raise
            time.sleep(_FIRST_WAIT_S * 2**attempt * np.random.default_rng().uniform(0.5, 1))
        raise StorageError(f"others are writing to {self.address} all the time; try again when they are done")

    def _tidied(self, table: Any) -> bool:
        has_removed = bool(list_names(joined(self.table_address, "_deletions")))
        if len(self._versions()) == 1 and not has_removed:
            return False
        if has_removed:  # `optimize` leaves rows that were removed where they are few
            table.update(values_sql={"id": "id"})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it warns of readers of older versions, who start again
            table.optimize(cleanup_older_than=timedelta(0))
        return True

    def _forget_copies(self) -> None:
        shutil.rmtree(cache_home(self.address), ignore_errors=True)

    @contextmanager
    def _told(self, verb: str) -> Iterator[None]:
        """Turn what the storage or Lance has to complain about into one sentence."""
        try:
            yield
        except (OSError, RuntimeError, ValueError) as error:
            raise StorageError(
                f"cannot {verb} {self.address}: {first_line(error)[:300]}; what was written before is kept; {KEYS}"
            ) from error


def _keyed(schema: pa.Schema) -> pa.Schema:
    """The columns with `id` as their key, which is never NULL."""
    key = [field.with_metadata(_KEY).with_nullable(False) if field.name == "id" else field for field in schema]
    return pa.schema(key)


def _read(home: Path, version: int) -> FastCopy | None:
    try:
        return FastCopy(fast_folder(home, version))
    except DamagedError:  # derived and disposable: it is made anew from the table
        return None
