"""Adding to an index: new items and changed ones are embedded, what is there already is left alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from histoseek.errors import InputError
from histoseek.index.embedding import Embedded, embed_items
from histoseek.index.filling import Progress, fill, rows_of, schema_of, with_digests
from histoseek.index.upkeep import note_contents
from histoseek.items import Item, Manifest, Skipped, item_of
from histoseek.items.files import skipped_of, skipped_text
from histoseek.stores.places import exists, joined, read_text, write_text

if TYPE_CHECKING:
    from histoseek.index.index import Index

_PIXELS = ("sha256", "box", "mpp")
"""What the vector of an item depends on."""

_BLOCK = 4096


@dataclass(frozen=True)
class Added:
    """What an addition did; `relabelled` items kept their vector and got other columns."""

    n_new: int
    n_changed: int
    n_relabelled: int
    n_same: int
    skipped: tuple[Skipped, ...]
    columns_left_out: tuple[str, ...]


def add_items(index: Index, manifest: Manifest, progress: Progress | None = None, workers: int = 2) -> Added:
    """Embed those items of a manifest that the index does not hold, or holds with other pixels; see `Index.add`."""
    placed = _placed(manifest, index.root)
    seen = {"new": 0, "changed": 0, "relabelled": 0, "same": 0}
    schema = schema_of(index.rows.items.schema, index.about.dim)
    store = index.store
    relabelled: list[Embedded] = []

    def wanted() -> Iterator[Item]:
        for item, row in _with_rows(with_digests(placed, placed.path_of), index):
            kind = _kind(item, row, schema)
            seen[kind] += 1
            if kind == "relabelled" and row is not None:
                relabelled.append(Embedded(item, index.rows.vectors(np.array([row["_row"]]))[0]))
            if kind in ("new", "changed"):
                yield item

    def told(_: int) -> None:
        if progress is not None:
            progress(sum(seen.values()), len(manifest))

    embedded = embed_items(wanted(), placed.path_of, index.encoder, workers)
    skipped = fill(store, schema, embedded, told)
    for start in range(0, len(relabelled), _BLOCK):
        store.add(rows_of(relabelled[start : start + _BLOCK], schema))
    _note_skipped(index, skipped)
    left_out = tuple(name for name in manifest.columns if name not in schema.names)
    n_skipped_new = len(skipped)
    index.refresh()
    return Added(
        seen["new"] - n_skipped_new, seen["changed"], seen["relabelled"], seen["same"], tuple(skipped), left_out
    )


def _placed(manifest: Manifest, root: Path) -> Manifest:
    """The manifest with paths that start from the index's root."""
    if manifest.root.resolve() == root:
        return manifest
    try:
        inside = manifest.root.resolve().relative_to(root).as_posix()
    except ValueError as error:
        raise InputError(
            f"the images of the manifest lie in {manifest.root}, outside of {root} where those of the index lie; move "
            "them into it, or build the index over a folder that holds both"
        ) from error
    paths = pc.binary_join_element_wise(pa.scalar(inside), manifest.table["path"], "/")
    at = manifest.table.schema.get_field_index("path")
    table = manifest.table.set_column(at, manifest.table.schema.field("path"), paths)
    return replace(manifest, table=table, root=root)


def _with_rows(items: Iterator[Item], index: Index) -> Iterator[tuple[Item, dict[str, Any] | None]]:
    """Items with the row that the index holds under their id."""
    held = index.rows.items
    block: list[Item] = []
    for item in items:
        block.append(item)
        if len(block) == _BLOCK:
            yield from _matched(block, index, held)
            block = []
    yield from _matched(block, index, held)


def _matched(block: list[Item], index: Index, held: pa.Table) -> Iterator[tuple[Item, dict[str, Any] | None]]:
    rows = index.rows_of(item.id for item in block)
    there = np.flatnonzero(rows >= 0)
    found = dict(zip(there.tolist(), held.take(pa.array(rows[there])).to_pylist(), strict=True))
    for at, item in enumerate(block):
        yield item, None if at not in found else found[at] | {"_row": int(rows[at])}


def _kind(item: Item, row: dict[str, Any] | None, schema: pa.Schema) -> str:
    if row is None:
        return "new"
    held = item_of({name: value for name, value in row.items() if name != "_row"})
    if any(getattr(held, name) != getattr(item, name) for name in _PIXELS):
        return "changed"
    known = {name: value for name, value in item.extra.items() if name in schema.names}
    same_extra = all(held.extra.get(name) == value for name, value in known.items())
    return "same" if same_extra and replace(held, extra={}) == replace(item, extra={}) else "relabelled"


def _note_skipped(index: Index, skipped: list[Skipped]) -> None:
    """Join what was skipped now to what was skipped before; an item that came in since is no longer skipped."""
    place = joined(index.address, "skipped.csv")
    before = {one.id: one for one in skipped_of(read_text(place))} if exists(place) else {}
    both = before | {one.id: one for one in skipped}
    held = index.store.rows().items["id"]
    there = pc.is_in(pa.array(list(both), pa.string()), value_set=held.combine_chunks()).to_pylist()
    left = [one for one, is_there in zip(both.values(), there, strict=True) if not is_there]
    write_text(place, skipped_text(left))
    note_contents(index, n_skipped=len(left))
