"""Adding to an index: new items and changed ones are embedded, what is there already is left alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from histoseek.errors import InputError
from histoseek.index.embedding import Embedded, embed_items
from histoseek.index.filling import Progress, fill, rows_of, schema_of, with_digests
from histoseek.index.upkeep import note_contents
from histoseek.items import Item, Manifest, Skipped, item_of
from histoseek.stores import Store

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


def add_items(index: Index, manifest: Manifest, progress: Progress | None = None) -> Added:
    """Embed those items of a manifest that the index does not hold, or holds with other pixels; see `Index.add`."""
    index.refresh()
    schema = schema_of(index.columns, index.about.dim)
    store: Store = index.server if index.server is not None else index.store
    placed = _placed(_fitted(manifest, schema), index.root)
    seen: Counter[str] = Counter()
    changed: set[str] = set()
    relabelled: list[Embedded] = []

    def wanted() -> Iterator[Item]:
        for item, row in _with_rows(with_digests(placed, placed.path_of), index):
            kind, whole = _kind(item, row, schema)
            seen[kind] += 1
            if kind == "changed":
                changed.add(item.id)
            if kind == "relabelled" and row is not None:
                relabelled.append(Embedded(whole, index.stored_vector(item.id)))
                if len(relabelled) >= _BLOCK:
                    _put(index, store, relabelled, schema)
            if kind in ("new", "changed"):
                yield whole

    tell = progress or (lambda _done, _total: None)
    embedded = embed_items(wanted(), placed.path_of, index.encoder)
    skipped = fill(store, schema, embedded, lambda _: tell(seen.total(), len(manifest)))
    _put(index, store, relabelled, schema)
    if index.server is None:
        note_contents(index, skipped)
    index.refresh()
    n_unread = sum(one.id in changed for one in skipped)  # they stay as they were
    n_new, n_changed = seen["new"] - (len(skipped) - n_unread), seen["changed"] - n_unread
    left_out = tuple(name for name in manifest.columns if name not in schema.names)
    return Added(n_new, n_changed, seen["relabelled"], seen["same"], tuple(skipped), left_out)


def _put(index: Index, store: Store, relabelled: list[Embedded], schema: pa.Schema) -> None:
    """Store items that keep their vectors; one that was removed meanwhile stays so."""
    there = set(index.items_there_now([one.item.id for one in relabelled]))
    kept = [one for one in relabelled if one.item.id in there]
    if kept:
        store.add(rows_of(kept, schema))
    relabelled.clear()


def _fitted(manifest: Manifest, schema: pa.Schema) -> Manifest:
    """The manifest with columns of the index's types, before hours are spent on its pixels."""
    table = manifest.table
    for at, name in enumerate(table.schema.names):
        if name not in schema.names or table.schema.field(at).type == schema.field(name).type:
            continue
        kind = schema.field(name).type
        try:
            table = table.set_column(at, pa.field(name, kind), table[name].cast(kind))
        except pa.ArrowException as error:
            raise InputError(
                f"the column {name!r} of the manifest holds {table.schema.field(at).type}, and that of the index "
                f"{kind}; make them alike, or leave the column out"
            ) from error
    return replace(manifest, table=table)


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
    while block := list(islice(items, _BLOCK)):
        there = {row["id"]: row for row in index.items_there([item.id for item in block]).to_pylist()}
        yield from ((item, there.get(item.id)) for item in block)


def _kind(item: Item, row: dict[str, Any] | None, schema: pa.Schema) -> tuple[str, Item]:
    """What an item is to the index, and the item with those columns of the index that the manifest does not know."""
    if row is None:
        return "new", item
    held = item_of(row)
    known = {name: value for name, value in item.extra.items() if name in schema.names}
    whole = replace(item, extra={**held.extra, **known})
    if held.sha256 is None:  # an older index, or an import: nothing says that its pixels were others
        held = replace(held, sha256=item.sha256)
        if all(getattr(held, name) == getattr(item, name) for name in _PIXELS):
            return "relabelled", whole
    if any(getattr(held, name) != getattr(item, name) for name in _PIXELS):
        return "changed", whole
    same_extra = all(_is_same(held.extra.get(name), value) for name, value in known.items())
    return ("same" if same_extra and replace(held, extra={}) == replace(item, extra={}) else "relabelled"), whole


def _is_same(one: Any, two: Any) -> bool:
    return bool(one == two or (one != one and two != two))  # NaN is like itself here
