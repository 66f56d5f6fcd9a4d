"""Removing from an index: what is removed is gone from every answer at once, and from the disk after `compact`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histoseek.errors import InputError
from histoseek.index.upkeep import note_contents
from histoseek.items.filters import text_literal

if TYPE_CHECKING:
    from histoseek.index.index import Index
    from histoseek.stores.milvus import MilvusStore

NOUNS = {"id": "item", "slide": "slide", "group": "patient"}
"""What the columns hold by which items can be named."""


@dataclass(frozen=True)
class Removal:
    """What shall go: items by id, whole slides, whole patients (groups), and all that fulfil a filter."""

    items: Sequence[str] = ()
    slides: Sequence[str] = ()
    patients: Sequence[str] = ()
    where: str | None = None


def remove_items(index: Index, removal: Removal, *, dry_run: bool = False) -> list[str]:
    """Remove what is asked and return the ids; with `dry_run` only return them; see `Index.remove`."""
    _check_named(removal)
    index.refresh()  # what another process added of the same patient goes too
    ids = _ids(index, removal) if index.server is None else _ids_served(index.server, removal)
    if ids and not dry_run and index.server is not None:
        index.server.remove(ids)
    elif ids and not dry_run:
        index.store.remove(ids)
        note_contents(index)
        index.refresh()
    return ids


def _ids(index: Index, removal: Removal) -> list[str]:
    items = index.rows.items
    mask: NDArray[np.bool_] = np.zeros(len(index), dtype=bool)
    for column, names in _asked(removal).items():
        if names:
            mask |= _named(items[column], names, NOUNS[column])
    if removal.where is not None:
        found = index.allowed(removal.where)
        mask |= found if found is not None else True
    ids: list[str] = items["id"].filter(pa.array(mask)).to_pylist()
    return ids


def _ids_served(server: MilvusStore, removal: Removal) -> list[str]:
    ids: set[str] = set()
    for column, names in _asked(removal).items():
        for name in names:
            found = server.ids(f"{column} = {text_literal(name)}")
            if not found:
                raise InputError(f"{server.address} holds no {NOUNS[column]} {name!r}; nothing was removed")
            ids.update(found)
    if removal.where is not None:
        ids.update(server.ids(removal.where))
    return sorted(ids)


def _asked(removal: Removal) -> dict[str, Sequence[str]]:
    return {"id": removal.items, "slide": removal.slides, "group": removal.patients}


def _check_named(removal: Removal) -> None:
    if not any(_asked(removal).values()) and removal.where is None:
        raise InputError("nothing is named to remove; give items, slides, patients or a filter")


def _named(column: pa.ChunkedArray, names: Sequence[str], noun: str) -> NDArray[np.bool_]:
    wanted = pa.array(list(names), pa.string())
    missing = wanted.filter(pc.invert(pc.is_in(wanted, value_set=column.combine_chunks())))
    if len(missing):
        raise InputError(f"the index holds no {noun} {missing[0].as_py()!r}; nothing was removed")
    return np.asarray(pc.is_in(column, value_set=wanted).to_numpy(), dtype=bool)
