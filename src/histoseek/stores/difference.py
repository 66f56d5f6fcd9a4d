"""What has changed since a large fast copy was made: which of its rows are gone, and which rows were added.

Derived and disposable like the copy that it belongs to, and small: with both a process that starts anew reads neither
the table nor LanceDB. It is always taken from a full copy, never from another difference. A search looks at all of it,
so all of it is held against its checksums when it is opened.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoseek.errors import DamagedError
from histoseek.items.files import sha256_of
from histoseek.stores.copies import (
    array_file,
    damaged,
    difference_folder,
    difference_folders,
    drop_fast,
    facts_of,
    fast_folder,
    fast_versions,
    written_folder,
)
from histoseek.stores.fast import ROW_ID, FastCopy, matrix_of
from histoseek.stores.lance_table import check_rows, column_of
from histoseek.stores.ledger import Entry
from histoseek.stores.store import VECTOR
from histoseek.stores.sums import ITEM_SUM, VECTOR_SUM


class Difference(NamedTuple):
    """Rows of the base that are `gone` [G], ascending; `items` and `vectors` [A, D] of what was added."""

    gone: NDArray[np.int64]
    items: pa.Table
    vectors: NDArray[np.float32]


def changes_since(base: FastCopy, table: Any, most: float, where: Path) -> Difference | None:
    """What a checked-out version holds that its base does not, and the other way round; None for more than `most` rows.

    Raises:
        DamagedError: a row is not what was stored in the table, which lies at `where`.
    """
    now = np.sort(column_of(table, ROW_ID).to_numpy())
    gone = np.flatnonzero(~np.isin(base.row_ids, now, assume_unique=True))
    added = np.setdiff1d(now, base.row_ids, assume_unique=True)
    if len(added) + len(gone) > most:
        return None
    if not len(added):
        return Difference(gone, base.items.slice(0, 0), base.vectors(gone[:0]))
    found = table.take_row_ids([int(row) for row in added]).to_arrow()
    check_rows(found, where)
    hidden = [name for name in (VECTOR, VECTOR_SUM, ITEM_SUM) if name in found.schema.names]
    items = found.drop_columns(hidden).cast(base.items.schema)
    return Difference(gone, items, matrix_of(found[VECTOR]))


def write_difference(home: Path, base: FastCopy, entry: Entry, mark: str, difference: Difference) -> Path:
    """Keep a difference on the disk, and drop older ones and older copies."""
    target = difference_folder(home, base.version, entry.version)
    with written_folder(target, {**entry._asdict(), "mark": mark, "base": base.checksum}) as draft:
        for name, array in (("gone.npy", difference.gone), ("vectors.npy", difference.vectors)):
            with array_file(draft / name, array.dtype.str, array.shape) as stream:
                stream.write(np.ascontiguousarray(array).tobytes())
        with (draft / "items.arrow").open("wb") as sink, pa.ipc.new_file(sink, difference.items.schema) as writer:
            writer.write_table(difference.items.combine_chunks())
    drop_fast(home, base.version, entry.version)
    return target


def read_difference(home: Path, base: FastCopy, entry: Entry, mark: str) -> Difference | None:
    """The difference that makes a version of its base; None where there is none, and a wrong one is deleted."""
    folder = difference_folder(home, base.version, entry.version)
    if not folder.is_dir():
        return None
    try:
        facts, difference = _opened(folder)
        wanted = {**entry._asdict(), "mark": mark, "base": base.checksum}
        if {name: facts.get(name) for name in wanted} != wanted:
            raise damaged(folder)
    except DamagedError:  # derived and disposable: it is made anew from the table
        shutil.rmtree(folder, ignore_errors=True)
        return None
    return difference


def damaged_copies(home: Path) -> list[str]:
    """What is wrong with the fast copies in a folder and with their differences, after reading every byte of them."""
    wrong = []
    for version in fast_versions(home):
        try:
            FastCopy(fast_folder(home, version)).verify()
        except DamagedError as error:
            wrong.append(str(error))
    for folder in difference_folders(home):
        try:
            _opened(folder)
        except DamagedError as error:
            wrong.append(str(error))
    return wrong


def _opened(folder: Path) -> tuple[dict[str, Any], Difference]:
    try:
        facts = facts_of(folder)
        for name in ("gone.npy", "vectors.npy", "items.arrow"):
            if sha256_of(folder / name) != facts["files"][name]:
                raise ValueError(name)
        gone, vectors = (
            np.load(folder / name, mmap_mode="r", allow_pickle=False) for name in ("gone.npy", "vectors.npy")
        )
        with pa.memory_map(str(folder / "items.arrow")) as stream:
            items = pa.ipc.open_file(stream).read_all()
    except (OSError, ValueError, KeyError, TypeError, EOFError, pa.ArrowException) as error:
        raise damaged(folder) from error
    return facts, Difference(gone, items, vectors)
