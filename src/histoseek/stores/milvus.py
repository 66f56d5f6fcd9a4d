"""The Milvus store: items on a Milvus server, or in a Milvus Lite file, filled from the Lance table.

The collection holds one entity an item: its id, its vector, and a field for each column (see `milvus_codes`). A
companion collection holds the Arrow schema, the version and notes. One writer at a time; readers need no arrangement.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoseek.errors import DamagedError, InputError
from histoseek.stores.fast import matrix_of
from histoseek.stores.milvus_about import create_about, read_about, write_about
from histoseek.stores.milvus_address import MilvusAddress
from histoseek.stores.milvus_client import ASK_S, BUILD_S, FLUSH_S, STRONG, WRITE_S, asking, connect, is_not_loaded
from histoseek.stores.milvus_codes import ID, columns_of, quoted
from histoseek.stores.milvus_filter import FALSE, TRUE, all_of, milvus_filter, without
from histoseek.stores.milvus_index import create_index, create_items, fit_index, search_options
from histoseek.stores.milvus_rows import checked_rows, dim_of, item_columns, table_of_rows
from histoseek.stores.milvus_search import MAX_HITS, Search
from histoseek.stores.store import VECTOR
from histoseek.stores.wanted import Found, Wanted

__all__ = ["MilvusAddress", "MilvusStore"]

WRITE_BYTES = 16 * 1024 * 1024
"""Size of one upsert; a server takes 64 MiB at most."""

IDS_AT_ONCE = 500
MAX_EXPRESSION = 8_000_000
"""Characters of one condition: reading five million took a server three seconds."""


class MilvusStore:
    """Items of one archive in Milvus. It connects when it is first asked; several threads may use it."""

    def __init__(self, address: MilvusAddress) -> None:
        self.address = address
        self._open_client: Any = None
        self._loaded = False
        self._whole_schema: pa.Schema | None = None

    @classmethod
    def create(cls, address: MilvusAddress, schema: pa.Schema) -> MilvusStore:
        """Make an empty collection; `schema` holds the item columns and a `vector`, a fixed-size list of float32.

        Raises:
            InputError: it is there already, or Milvus cannot hold such columns.
        """
        store = cls(address)
        dim = dim_of(schema)
        columns = columns_of(item_columns(schema))
        client = store._client
        with asking(address):
            there = client.has_collection(address.collection, timeout=ASK_S)
        if there:
            raise InputError(f"{address} is there already; choose another name, or drop it first")
        with asking(address):
            if client.has_collection(address.about, timeout=ASK_S):  # left over from a drop that was cut short
                client.drop_collection(address.about, timeout=WRITE_S)
        create_items(client, address, columns, dim)
        create_about(client, address)
        written = base64.b64encode(schema.serialize()).decode()
        write_about(client, address, {"schema": written, "version": "1", "notes": "{}"})
        return store

    @property
    def exists(self) -> bool:
        """Whether the collection and its companion are there, whole."""
        if self.address.is_lite and not Path(self.address.place).exists():
            return False
        names = (self.address.collection, self.address.about)
        with asking(self.address):
            there = [self._client.has_collection(name, timeout=ASK_S) for name in names]
        return all(there) and "schema" in self._about()

    @property
    def schema(self) -> pa.Schema:
        """The item columns, with the Arrow types that `create` was given."""
        return item_columns(self._schema)

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return dim_of(self._schema)

    @property
    def version(self) -> int:
        """A number that grows with every write."""
        return int(self._known()["version"])

    def count(self) -> int:
        """How many items there are."""
        return int(self._query("", output_fields=["count(*)"])[0]["count(*)"])

    def add(self, rows: pa.Table) -> None:
        """Write items, in place of those with the same ids; when this returns they are found and on disk.

        Raises:
            InputError: other columns than the collection's, an id twice, vectors that are not of unit length, or a
                value that Milvus cannot hold.
        """
        rows = checked_rows(rows, self._schema)
        columns = columns_of(self.schema)
        step = max(1, WRITE_BYTES * rows.num_rows // max(1, rows.nbytes))
        for start in range(0, rows.num_rows, step):
            part = rows.slice(start, step)
            fields: dict[str, Sequence[Any]] = {one.field: one.encode(part[one.column.name]) for one in columns}
            fields[VECTOR] = list(matrix_of(part[VECTOR]))
            entities = [dict(zip(fields, values, strict=True)) for values in zip(*fields.values(), strict=True)]
            with asking(self.address):
                self._ready.upsert(self.address.collection, entities, timeout=WRITE_S)
        self._raise_version()
        if rows.num_rows:
            with asking(self.address):
                self._ready.flush(self.address.collection, timeout=FLUSH_S)
            fit_index(self._ready, self.address, self.count())

    def remove(self, ids: Sequence[str]) -> int:
        """Take items out; no answer holds them when this returns. Returns how many were there."""
        n_removed = 0
        for names in _in_parts(ids):
            condition = f"{ID} in [{','.join(names)}]"
            n_removed += int(self._query(condition, output_fields=["count(*)"])[0]["count(*)"])
            with asking(self.address):
                self._ready.delete(self.address.collection, filter=condition, timeout=WRITE_S)
        self._raise_version()
        return n_removed

    def ids(self, where: str | None = None) -> list[str]:
        """The ids of all items, or of those that fulfil a condition, in order."""
        condition = self._condition(Wanted(where))
        found: list[str] = []
        while condition != FALSE:
            page = self._smallest_ids(all_of([condition, f"{ID} > {quoted(found[-1])}" if found else TRUE]), MAX_HITS)
            found += page
            if len(page) < MAX_HITS:
                break
        return found

    def first_id(self) -> str:
        """The smallest id, by which a person sees how they look; an empty text where there are no items."""
        return next(iter(self._smallest_ids(TRUE, 1)), "")

    def get(self, ids: Sequence[str]) -> pa.Table:
        """Item columns and `vector` of some items, in the order asked; ids that are not there are left out."""
        columns = columns_of(self.schema)
        names = [one.field for one in columns] + [VECTOR]
        rows: dict[str, dict[str, Any]] = {}
        for part in _in_parts(ids):
            page = self._query(f"{ID} in [{','.join(part)}]", output_fields=names)
            rows |= {row[ID]: row for row in page}
        return self._table([rows[name] for name in ids if name in rows])

    def nearest(self, queries: NDArray[np.float32], k: int, wanted: Wanted) -> list[Found]:
        """The `k` items of highest cosine with each query [Q, D]; equal scores are ordered by id.

        Raises:
            InputError: queries of another length, more hits than Milvus gives, or a condition that cannot be asked.
        """
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise InputError(f"queries of shape {list(queries.shape)} do not fit {self.address}: [Q, {self.dim}] do")
        if k > MAX_HITS:
            raise InputError(f"Milvus gives at most {MAX_HITS} hits, and {k} were asked; ask for fewer")
        condition = self._condition(wanted)
        if condition == FALSE or k < 1 or not len(queries):
            empty = Found(self._table([]).drop_columns([VECTOR]), np.zeros(0, dtype=np.float32))
            return [empty] * len(queries)
        names = [one.field for one in columns_of(self.schema)]
        return Search(self._search, self._table, self.get, names, self.dim).nearest(queries, k, condition)

    def notes(self) -> dict[str, Any]:
        """What `set_notes` kept."""
        return dict(json.loads(self._known()["notes"]))

    def set_notes(self, notes: dict[str, Any]) -> None:
        """Keep something small that JSON can hold beside the collection, in place of what was kept before."""
        self._known()
        write_about(self._ready, self.address, {"notes": json.dumps(notes)})

    def drop(self) -> None:
        """Delete the collection and its companion, whole or not."""
        if self.address.is_lite and not Path(self.address.place).exists():
            return
        for name in (self.address.about, self.address.collection):  # without its companion it counts as not there
            with asking(self.address):
                if self._client.has_collection(name, timeout=ASK_S):
                    self._client.drop_collection(name, timeout=WRITE_S)
        self._whole_schema, self._loaded = None, False

    def close(self) -> None:
        """Hang up; the next question connects again. A Milvus Lite file stays with the process until it ends."""
        if self._open_client is not None:
            self._open_client.close()
        self._open_client, self._loaded = None, False

    @property
    def _client(self) -> Any:
        if self._open_client is None:
            self._open_client = connect(self.address)
        return self._open_client

    @property
    def _ready(self) -> Any:
        """The client, once Milvus holds both collections in memory."""
        client = self._client
        if not self._loaded:
            self._load(client)
            self._loaded = True
        return client

    def _load(self, client: Any) -> None:
        names = (self.address.collection, self.address.about)
        with asking(self.address):
            if not all(client.has_collection(name, timeout=ASK_S) for name in names):
                raise InputError(f"there is no archive at {self.address}; fill it from an index first")
            if not client.list_indexes(self.address.collection, timeout=ASK_S):  # a change of index was cut short
                create_index(client, self.address, large=True)
            for name in names:  # each takes seconds, so both are begun before one is awaited
                client.load_collection(name, timeout=BUILD_S, _async=True)
            for name in names:
                client.load_collection(name, timeout=BUILD_S)

    def _about(self) -> dict[str, str]:
        try:
            return read_about(self._ready, self.address)
        except InputError as error:
            if not is_not_loaded(error):
                raise
            self._load(self._client)
            return read_about(self._client, self.address)

    def _known(self) -> dict[str, str]:
        about = self._about()
        if "schema" not in about:
            raise DamagedError(f"the making of {self.address} was cut short; drop it and fill it again")
        return about

    @property
    def _schema(self) -> pa.Schema:
        if self._whole_schema is None:
            self._whole_schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(self._known()["schema"])))
        return self._whole_schema

    def _raise_version(self) -> None:
        write_about(self._ready, self.address, {"version": str(self.version + 1)})

    def _condition(self, wanted: Wanted) -> str:
        terms = []
        if wanted.where is not None:
            with asking(self.address):
                server = self._ready.get_server_version(timeout=ASK_S)
            terms.append(milvus_filter(wanted.where, self.schema, any_pattern=_knows_patterns(server)))
        if wanted.not_groups:
            columns = {one.column.name: one for one in columns_of(self.schema)}
            if "group" not in columns:
                raise InputError(f"the items at {self.address} have no column 'group', so none can be shut out by it")
            terms.append(without(columns["group"].field, columns["group"].encode(_text_column(wanted.not_groups))))
        terms.append(without(ID, wanted.not_ids))
        condition = all_of(terms)
        if len(condition) > MAX_EXPRESSION:
            raise InputError(
                f"{len(wanted.not_groups)} groups and {len(wanted.not_ids)} ids to shut out are more than Milvus can "
                "be told in one question; say what is wanted in a filter"
            )
        return condition

    def _smallest_ids(self, condition: str, limit: int) -> list[str]:
        # "iterator" makes Milvus, Lite too, answer with the smallest ones
        page = self._query(condition, output_fields=[ID], limit=limit, iterator="True", offset=0)
        return sorted(row[ID] for row in page)

    def _query(self, condition: str, **options: Any) -> list[dict[str, Any]]:
        return self._asked("query", filter=condition, **options)  # type: ignore[no-any-return]

    def _search(self, queries: NDArray[np.float32], limit: int, condition: str, fields: list[str]) -> Any:
        return self._asked(
            "search",
            data=list(queries),
            limit=limit,
            filter="" if condition == TRUE else condition,
            output_fields=fields,
            search_params=search_options(limit),
        )

    def _asked(self, question: str, **options: Any) -> Any:
        """Ask the collection, once more when the server has let go of it meanwhile."""
        for first in (True, False):
            client = self._ready
            try:
                with asking(self.address):
                    return getattr(client, question)(
                        self.address.collection, consistency_level=STRONG, timeout=ASK_S, **options
                    )
            except InputError as error:
                if not (first and is_not_loaded(error)):
                    raise
                self._loaded = False
        raise AssertionError("the second turn returns or raises")

    def _table(self, rows: list[dict[str, Any]]) -> pa.Table:
        return table_of_rows(rows, self._schema)


def _knows_patterns(server: str) -> bool:
    """Whether LIKE may hold wildcards anywhere; servers before 2.4 compare the beginning of a text only."""
    version = re.match(r"v?(\d+)\.(\d+)", server)
    return version is None or (int(version[1]), int(version[2])) >= (2, 4)


def _in_parts(ids: Sequence[str]) -> Iterator[list[str]]:
    """Ids, quoted, as many at once as an answer has room for."""
    names = [quoted(name) for name in dict.fromkeys(ids)]
    for start in range(0, len(names), IDS_AT_ONCE):
        yield names[start : start + IDS_AT_ONCE]


def _text_column(values: Collection[str]) -> pa.ChunkedArray:
    return pa.chunked_array([sorted(values)], pa.string())
