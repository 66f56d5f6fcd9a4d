"""What a writer was about to do and what it was told is done: the promises that a store must keep through a kill."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from histoseek.stores import VECTOR, LanceStore, Rows
from histoseek.stores.fast import matrix_of

DIM = 16

State = dict[str, str]
"""A digest of every row by its id."""


class Journal:
    """An append-only file, on the disk before the writer goes on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        raw = path.read_bytes() if path.is_file() else b""
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.ftruncate(self._handle, raw.rfind(b"\n") + 1)  # a line that a kill cut off was never written
        os.lseek(self._handle, 0, os.SEEK_END)

    def write(self, **line: object) -> None:
        os.write(self._handle, json.dumps(line).encode() + b"\n")
        os.fsync(self._handle)


@dataclass
class Promises:
    """The rows of one writer: what was acknowledged, and what the one change that was not would make of them."""

    state: State = field(default_factory=dict)
    pending: State | None = None
    touched: list[set[str]] = field(default_factory=list)  # by each change, the last of which may be pending
    rows_added: int = 0
    rows_removed: int = 0

    @classmethod
    def read(cls, path: Path) -> Promises:
        made = cls()
        raw = path.read_bytes() if path.is_file() else b""
        for line in raw[: raw.rfind(b"\n") + 1].splitlines():
            made.take(json.loads(line))
        return made

    def take(self, line: dict[str, object]) -> None:
        if line["what"] == "seen":  # after a kill: whether the last change counts was looked up
            self.state, self.pending = dict(line["state"]), None  # type: ignore[call-overload]
            return
        if line["what"] == "done":
            assert self.pending is not None
            gone = [name for name in self.state if name not in self.pending]
            self.rows_removed += len(gone)
            self.rows_added += sum(self.state.get(name) != mark for name, mark in self.pending.items())
            self.state, self.pending = self.pending, None
            return
        names = line["rows"]
        self.touched.append(set(names))  # type: ignore[call-overload]
        if line["what"] == "add":
            self.pending = {**self.state, **names}  # type: ignore[dict-item]
        else:
            self.pending = {name: mark for name, mark in self.state.items() if name not in set(names)}  # type: ignore[call-overload]

    @property
    def n_settled(self) -> int:
        return len(self.touched) - (self.pending is not None)

    def broken(self, seen: State, later: Promises) -> list[str]:
        """Ids that are not as acknowledged, though no change of them was begun since; `later` was read after `seen`."""
        open_ = set().union(*later.touched[self.n_settled :])
        asked = set().union(*self.touched) - open_
        return sorted(name for name in asked if seen.get(name) != self.state.get(name))


def row_marks(ids: Iterable[str], labels: Iterable[str | None], vectors: np.ndarray) -> State:  # type: ignore[type-arg]
    """Digests of rows, of their label and vector too."""
    return {
        name: hashlib.sha256(f"{name} {label} ".encode() + vector.tobytes()).hexdigest()[:16]
        for name, label, vector in zip(ids, labels, vectors, strict=True)
    }


def marks_of_table(rows: pa.Table) -> State:
    return row_marks(rows["id"].to_pylist(), rows["label"].to_pylist(), matrix_of(rows[VECTOR]))


def marks_of_rows(rows: Rows) -> State:
    vectors = rows.checked(np.arange(rows.items.num_rows))
    return row_marks(rows.items["id"].to_pylist(), rows.items["label"].to_pylist(), vectors)


def journaled(journal: Journal) -> None:
    """Let every store of this process write down what it does."""
    add, remove = LanceStore.add, LanceStore.remove

    def add_and_tell(store: LanceStore, rows: pa.Table) -> None:
        journal.write(what="add", rows=marks_of_table(rows))
        add(store, rows)
        journal.write(what="done")

    def remove_and_tell(store: LanceStore, ids: list[str]) -> int:
        journal.write(what="remove", rows=list(ids))
        n_gone = remove(store, ids)
        journal.write(what="done")
        return n_gone

    LanceStore.add, LanceStore.remove = add_and_tell, remove_and_tell  # type: ignore[method-assign,assignment]


def vector_of(name: str, label: str) -> np.ndarray:  # type: ignore[type-arg]
    """The vector that a row of this id and label must have."""
    seed = int.from_bytes(hashlib.sha256(f"{name}{label}".encode()).digest()[:8], "little")
    vector = np.random.default_rng(seed).normal(size=DIM)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def rows_for(names: list[str], labels: list[str]) -> pa.Table:
    vectors = np.stack([vector_of(name, label) for name, label in zip(names, labels, strict=True)])
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIM)
    groups = [f"g{len(name) % 5}" for name in names]
    return pa.table({"id": names, "label": labels, "group": groups, VECTOR: column})
