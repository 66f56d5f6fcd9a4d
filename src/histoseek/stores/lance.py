"""The Lance store: the table on disk that everything else is derived from."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from histoseek.errors import DamagedError, InputError, StorageError, needs_extra
from histoseek.items.files import flush_to_disk, is_full
from histoseek.stores.caching import cache_home
from histoseek.stores.codes import Tuned
from histoseek.stores.copies import drop_fast, fast_folder, fast_versions
from histoseek.stores.difference import Difference, changes_since, read_difference, write_difference
from histoseek.stores.fast import ROW_ID, FastCopy, write_fast
from histoseek.stores.fresh import FreshRows
from histoseek.stores.known import KnownIds
from histoseek.stores.lance_table import (
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
from histoseek.stores.ledger import FOLDER as LEDGER
from histoseek.stores.ledger import Entry, Ledger
from histoseek.stores.store import VECTOR, Rows
from histoseek.stores.sums import with_sums
from histoseek.stores.upgrading import begin_ledger

LOCK = "writer.lock"

FRESH_FROM = 50_000
"""A fast copy with fewer rows is written anew after each commit; beside a larger one what has changed is kept."""

FRESH_SHARE = 0.1
"""What may have changed since a large fast copy was made, as a share of its rows."""

PATIENCE_S = 600.0
"""How long a writer waits for the one before it."""

_SAY_WHAT_IS_THERE = ("_versions", "_deletions")
"""Small files that say which rows there are: they are checked before anything is built upon them. Rows carry sums."""

_FULL = ("No space left", "File too large", "Disk quota exceeded")
_IDS_A_DELETE = 5_000
_TRIES = 20


class LanceStore:
    """A Lance table `items.lance` in a folder, its ledger, and the fast copy of its newest version beside it.

    One process writes at a time; the others wait. Readers need no lock: they see acknowledged versions only.
    """

    def __init__(self, home: str | Path) -> None:
        self.home = Path(home)
        self.ledger = Ledger(self.home / LEDGER, self._lance)
        self._known = KnownIds()
        self._written: Entry | None = None  # the version that this writer acknowledged last

    @classmethod
    def create(cls, home: str | Path, schema: pa.Schema) -> LanceStore:
        """Make an empty table; `schema` holds the item columns and a `vector` of fixed size."""
        store = cls(home)
        with store.locked(), store._storing():
            if store.exists:
                raise InputError(f"{store._lance} is there already; choose another folder")
            shutil.rmtree(store._lance, ignore_errors=True)  # begun by a process that died before it was acknowledged
            store.ledger.folder.mkdir(exist_ok=True)
            table = connect(store.home).create_table(TABLE, schema=with_sum_fields(schema))
            flush_to_disk(store.home)
            store._acknowledge(table, set(), 0)
        return store

    @property
    def exists(self) -> bool:
        """Whether the folder holds an acknowledged table."""
        if self.ledger.folder.is_dir():
            return self.ledger.newest() is not None
        return (self._lance / "_versions").is_dir()

    @property
    def version(self) -> int:
        """Number of the newest acknowledged version, without LanceDB."""
        return self._entry.version

    @property
    def state(self) -> tuple[Entry, str]:
        """What tells the newest version from others, also from those of another table that lay at this place."""
        entry = self._entry
        return entry, self._mark(entry.version)

    @property
    def schema(self) -> pa.Schema:
        """Item columns and the `vector`."""
        return without_sum_fields(self._at(self.version).schema)

    def count(self) -> int:
        """How many items there are."""
        with self._reading():
            return int(self._at(self.version).count_rows())

    def add(self, rows: pa.Table) -> None:
        """Add rows, on disk when this returns; one whose id is there already takes the place of the older."""
        with self._writing() as table:
            rows = last_of_each(rows)
            ids = rows["id"].to_pylist()
            _delete(table, self._known.among(ids, self._entry, lambda: column_of(table, "id")))
            table.add(with_sums(rows, VECTOR))
        self._known.add(ids, self._written)

    def remove(self, ids: Sequence[str]) -> int:
        """Take items out, all of them or none; returns how many were there."""
        with self._writing() as table:
            before = table.count_rows()
            _delete(table, ids)
            n_removed = int(before - table.count_rows())
        return n_removed

    def compact(self) -> bool:
        """Write the rows anew, without those removed, and delete everything older; False where that changes nothing."""
        with self._writing(moves_rows=True) as table:
            if self.is_tidy:
                drop_fast(self.home, self._entry.version)
                return False
            older = set(self.ledger.names())
            self._write_anew(table)
        with self.locked(), self._storing():  # what is older is deleted only after what is newer was acknowledged
            self._forget(older)
        return True

    def make_codes(self) -> Tuned:
        """Make the codes that a large archive is searched by.

        Raises:
            MissingExtraError: the extra `scale` is not installed.
        """
        with needs_extra("scale"):
            import faiss  # noqa: F401 (before a copy is written for it)
        copy = self.rows()
        return (copy if isinstance(copy, FastCopy) else self._copied(self._entry)).make_codes()

    @property
    def n_commits(self) -> int:
        """Commits since the table was last compacted."""
        return len(self.ledger.entries())

    def rows(self) -> Rows:
        """The newest version, from its fast copy, which is made now if it is missing or stale.

        Raises:
            DamagedError: the table's files are not what was acknowledged.
        """
        for _ in range(_TRIES):
            entry = self._entry
            try:
                return self._rows_of(entry)
            except DamagedError:
                if self._entry == entry:  # else a compaction took the files away meanwhile
                    raise
        raise StorageError(f"{self.home} changes faster than it can be read; try again when its writers are done")

    def ids(self) -> set[str]:
        """The ids of all items."""
        with self._reading():
            return set(column_of(self._at(self.version), "id").to_pylist())

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows with item columns, vector, checksums and row ids, in bounded memory; raises `DamagedError`."""
        yield from batches_of(self._at(self.version), self._lance)

    def damaged_files(self) -> list[str]:
        """Names of the table's files that are not what was stored."""
        return self.ledger.damaged()

    @property
    def n_files(self) -> int:
        """How many files there are checksums of."""
        return len(self.ledger.files())

    @property
    def has_sums(self) -> bool:
        """Whether rows and files have checksums; the first format had none."""
        return self.ledger.newest() is not None

    def drop(self) -> None:
        """Delete the table, its ledger and its fast copies."""
        for folder in (self._lance, self.ledger.folder, *self.home.glob("fast-*")):
            shutil.rmtree(folder, ignore_errors=True)
        (self.home / LOCK).unlink(missing_ok=True)

    @property
    def _lance(self) -> Path:
        return self.home / f"{TABLE}.lance"

    @property
    def _entry(self) -> Entry:
        newest = self.ledger.newest()
        if newest is None:
            newest = Entry(max(self._versions(), default=0), 0)  # the first format had no ledger
        if not newest.version:
            raise DamagedError(f"{self._lance} holds no table; build the index again")
        return newest

    def _versions(self) -> dict[int, Path]:
        """Lance's version files: `N.manifest`, or `(2^64 − 1 − N).manifest` so that the newest sorts first."""
        found = {version_of(path.name): path for path in (self._lance / VERSIONS).glob("*.manifest")}
        return {version: path for version, path in found.items() if version is not None}

    def _mark(self, version: int) -> str:
        """What tells this table from others, empty in the first format."""
        path = self._versions().get(version)
        return "" if path is None else self.ledger.mark(version, f"{path.parent.name}/{path.name}")

    def _at(self, version: int) -> Any:
        """A handle on one version, which no later commit moves."""
        with self._reading():
            table = connect(self.home).open_table(TABLE)
            table.checkout(version)
        return table

    @property
    def _homes(self) -> list[Path]:
        """Where copies may lie: who may only read uses what a writer left, too."""
        return list(dict.fromkeys((self.home, cache_home(self.home))))

    def _rows_of(self, entry: Entry) -> Rows:
        copies = sorted(((version, home) for home in self._homes for version in fast_versions(home)), reverse=True)
        for version, home in copies:
            if version > entry.version:
                continue
            mark = self._mark(version)
            try:
                copy = FastCopy(fast_folder(home, version))
                if copy.mark != mark:
                    raise DamagedError(f"{copy.folder} is of another table that lay at this place")
            except DamagedError:  # derived and disposable: it is made anew from the table
                shutil.rmtree(fast_folder(home, version), ignore_errors=True)
                continue
            if version == entry.version:
                return copy
            if copy.entry.generation == entry.generation and copy.items.num_rows >= FRESH_FROM:
                difference = self._difference(copy, entry)
                if difference is not None:
                    return FreshRows(copy, entry.version, difference)
            break
        return self._copied(entry)

    def _copied(self, entry: Entry) -> FastCopy:
        self._check_files()
        table = self._at(entry.version)
        return write_fast(
            cache_home(self.home),
            entry,
            self._mark(entry.version),
            sound_batches(table, self._lance),
            int(table.count_rows()),
        )

    def _difference(self, base: FastCopy, entry: Entry) -> Difference | None:
        """What has changed since the base was made, which is kept for others; None when that is too much."""
        mark = self._mark(entry.version)
        for home in self._homes:
            known = read_difference(home, base, entry, mark)
            if known is not None:
                return known
        self._check_files(_SAY_WHAT_IS_THERE)
        table = self._at(entry.version)
        with self._reading():
            found = changes_since(base, table, FRESH_SHARE * base.items.num_rows, self._lance)
        if found is not None:
            with suppress(StorageError, DamagedError):  # no room, or overtaken: then it serves from memory
                folder = write_difference(cache_home(self.home), base, entry, mark, found)
                if self._entry != entry:  # a compaction may have deleted meanwhile what was removed: it stays deleted
                    shutil.rmtree(folder, ignore_errors=True)
        return found

    def _check_files(self, folders: tuple[str, ...] | None = None) -> None:
        """Hold the table's files against the ledger, or only those in some folders."""
        wrong = self.ledger.damaged(folders)
        if wrong:
            raise DamagedError(
                f"{self._lance / wrong[0]} is not what was stored; restore the index from a snapshot, or build it again"
            )

    @contextmanager
    def _writing(self, *, moves_rows: bool = False) -> Iterator[Any]:
        """The table for one atomic change: it counts when this ends without an error, and not before."""
        with self.locked(), self._storing():
            self._check_files(_SAY_WHAT_IS_THERE)
            self._undo_unacknowledged()
            before = set(self.ledger.names())
            entry = self._entry
            table = connect(self.home).open_table(TABLE)
            yield table
            self._acknowledge(connect(self.home).open_table(TABLE), before, entry.generation + moves_rows)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other writers out for a while; not to be nested."""
        from filelock import FileLock, Timeout  # readers do without its import

        lock = FileLock(self.home / LOCK, timeout=PATIENCE_S)
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout as error:
            raise StorageError(f"another process has been writing to {self.home} for long; try again later") from error
        except OSError as error:
            raise StorageError(f"{self.home} cannot be written to ({error.strerror or error})") from error
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Turn what Lance says of files that are gone, or not what it wrote, into one sentence."""
        try:
            yield
        except (OSError, RuntimeError, ValueError) as error:
            raise DamagedError(f"{self._lance} cannot be read ({first_line(error)})") from error

    @contextmanager
    def _storing(self) -> Iterator[None]:
        """Turn what the disk or Lance has to complain about into one sentence."""
        try:
            yield
        except (OSError, RuntimeError) as error:
            full = (isinstance(error, OSError) and is_full(error)) or any(words in str(error) for words in _FULL)
            reason = "the disk is full" if full else first_line(error)
            raise StorageError(
                f"cannot write to {self.home}: {reason}; what was acknowledged before is kept: go on when there is room"
            ) from error

    def _acknowledge(self, table: Any, before: set[str], generation: int) -> None:
        """Put what is new on the disk for good, then say so in the ledger."""
        fresh = set(self.ledger.names()) - before
        if fresh:
            self._written = Entry(int(table.version), generation)
            self.ledger.acknowledge(self._written, fresh)

    def _undo_unacknowledged(self) -> None:
        """Take back the commits of a writer that died before it acknowledged them."""
        newest = self.ledger.newest()
        if newest is None:
            begin_ledger(self.home, self.ledger)
            return
        for version, path in self._versions().items():
            if version > newest.version:
                path.unlink()
                (path.parent / "latest_version_hint.json").unlink(missing_ok=True)

    def _write_anew(self, table: Any) -> None:
        wrong: list[DamagedError] = []

        def sound() -> Iterator[pa.RecordBatch]:
            try:
                yield from (batch.drop_columns([ROW_ID]) for batch in sound_batches(table, self._lance))
            except DamagedError as error:  # Lance, which draws these batches, would make a text of it
                wrong.append(error)
                raise

        whole = pa.RecordBatchReader.from_batches(table.schema, sound())
        try:
            connect(self.home).create_table(TABLE, data=whole, mode="overwrite")
        except (OSError, RuntimeError, ValueError):
            if wrong:
                raise wrong[0] from None
            raise

    @property
    def is_tidy(self) -> bool:
        """Whether nothing was removed and nothing older lies about."""
        names = set(self.ledger.names())
        return self.n_commits == 1 and names == set(self.ledger.files()) and not any("_deletions" in n for n in names)

    def _forget(self, names: set[str]) -> None:
        for name in names:
            (self._lance / name).unlink(missing_ok=True)
        self.ledger.merge()
        drop_fast(self.home, self._entry.version)


def _delete(table: Any, ids: Sequence[str]) -> None:
    for start in range(0, len(ids), _IDS_A_DELETE):
        delete_ids(table, ids[start : start + _IDS_A_DELETE])
