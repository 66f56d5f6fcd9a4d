"""The list of what was left out of an index, `skipped.csv`, as several writers keep it."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from histoseek.items import Skipped
from histoseek.items.files import skipped_of, skipped_text
from histoseek.stores.places import exists, joined, read_text, write_text

FILE = "skipped.csv"


def write_list(address: str, skipped: Sequence[Skipped]) -> int:
    """Write the list of an index anew and return its length."""
    write_text(joined(address, FILE), skipped_text(skipped))
    return len(skipped)


def join_list(address: str, skipped: Sequence[Skipped], held: pa.ChunkedArray) -> int:
    """Join what was skipped now to what was before, and return how many that are; under the store's lock.

    An item that came in since, as the ids `held` say, is no longer skipped.
    """
    place = joined(address, FILE)
    before = {one.id: one for one in skipped_of(read_text(place))} if exists(place) else {}
    both = before | {one.id: one for one in skipped}
    there = pc.is_in(pa.array(list(both), pa.string()), value_set=held.combine_chunks()).to_pylist()
    return write_list(address, [one for one, is_there in zip(both.values(), there, strict=True) if not is_there])
