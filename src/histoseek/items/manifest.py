"""The manifest: a table of items with the root their paths start from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from histoseek.errors import InputError
from histoseek.items.files import written_whole
from histoseek.items.filters import equals_filter, parse_filter
from histoseek.items.item import Item
from histoseek.items.spool import BLOCK, blocks_of, is_large, spool_checked, spooled
from histoseek.items.table import SCHEMA, check_table, item_of, table_of

if TYPE_CHECKING:  # a search of an index needs no Parquet
    import pyarrow.parquet as pq

    from histoseek.items.audit import Audit

FORMAT = 1
READ_BYTES = 1024**2
"""What is read of a column at once, so that a row group of any size takes little memory."""

LARGE_CSV = 256 * 1024**2
"""A CSV of so many bytes is not held in memory."""

_METADATA_KEY = b"histoseek"


@dataclass(frozen=True)
class Manifest:
    """Items as an Arrow table, one row each; `root` is the folder that their paths start from.

    `facts` travel with the table: dataset, licence, source and the notes made when it was prepared.
    """

    table: pa.Table
    root: Path
    facts: Mapping[str, Any]

    @classmethod
    def from_items(cls, items: Iterable[Item], root: str | Path, facts: Mapping[str, Any] | None = None) -> Manifest:
        """Make a manifest of items; raises `InputError` when two share an id."""
        return cls(check_table(table_of(items), "the manifest"), Path(root).resolve(), dict(facts or {}))

    @classmethod
    def read(cls, path: str | Path, root: str | Path | None = None) -> Manifest:
        """Read a manifest from Parquet, or from CSV with at least the columns `id` and `path`.

        `root` replaces the one kept in the file; a CSV's root is its folder unless given.

        Raises:
            InputError: no such file, not a table, or a wrong row or column, which the message names.
        """
        source = Path(path)
        if not source.is_file():
            raise InputError(f"there is no manifest {source}; make one with: histoseek prepare DATASET SOURCE")
        if source.suffix.lower() == ".csv":
            table = check_table(_read_csv(source), str(source))
            kept: dict[str, Any] = {"root": str(source.resolve().parent)}
        else:
            table, kept = _read_parquet(source)
        where = Path(root).resolve() if root is not None else Path(kept.get("root", source.resolve().parent))
        facts = kept.get("facts", {})
        return cls(table, where, facts if isinstance(facts, dict) else {})

    def write(self, path: str | Path) -> None:
        """Write the manifest as Parquet, whole or not at all."""
        import pyarrow.parquet as pq

        kept = {"format": FORMAT, "root": str(self.root), "facts": dict(self.facts)}
        table = self.table.replace_schema_metadata({_METADATA_KEY: json.dumps(kept).encode()})
        with written_whole(path) as draft:
            pq.write_table(table, draft, compression="zstd")

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[Item]:
        for batch in self.table.to_batches(max_chunksize=4096):
            yield from (item_of(row) for row in batch.to_pylist())

    def __getitem__(self, row: int) -> Item:
        return item_of(self.table.slice(range(len(self))[row], 1).to_pylist()[0])

    def path_of(self, item: Item) -> Path:
        """Absolute path of an item's image; raises `InputError` when the path leads out of the root."""
        return inside_root(self.root, item)

    def where(self, condition: str | None = None, **equals: Any) -> Manifest:
        """Keep the items that fulfil an SQL-like condition and every `column=value`.

        A list of values means any of them, None means unknown.

        Raises:
            InputError: wrong syntax, or no such column.
        """
        kept = self.table
        if condition is not None:
            kept = _filtered(kept, parse_filter(condition, kept.schema))
        if (expression := equals_filter(equals, kept.schema)) is not None:
            kept = _filtered(kept, expression)
        return Manifest(kept, self.root, self.facts)

    def split(
        self, fractions: Mapping[str, float], *, by: str = "group", stratify: str | None = "label", seed: int = 0
    ) -> Manifest:
        """Divide the items into named splits, whole groups at a time; see `histoseek.items.split.assign_splits`."""
        from histoseek.items.split import assign_splits

        names = assign_splits(self.table, fractions, by=by, stratify=stratify, seed=seed)
        at = self.table.schema.get_field_index("split")
        return Manifest(self.table.set_column(at, SCHEMA.field("split"), names), self.root, self.facts)

    def audit(self) -> Audit:
        """Look for what would make an evaluation dishonest; see `histoseek.items.audit`."""
        from histoseek.items.audit import audit_table

        return audit_table(self.table)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns, the user's own last."""
        return tuple(self.table.schema.names)

    @property
    def digest(self) -> str:
        """SHA-256 over the rows, in their order; the root and the facts do not count."""
        hasher = hashlib.sha256()
        for start in range(0, len(self), 4096):  # slices, since chunks depend on how the table came about
            rows = self.table.slice(start, 4096).to_pylist()
            hasher.update(json.dumps(rows, sort_keys=True, default=str).encode())
        return hasher.hexdigest()


def inside_root(root: Path, item: Item) -> Path:
    """Absolute path of an item's image; raises `InputError` when the path leads out of `root`."""
    relative = PurePosixPath(item.path)
    if relative.is_absolute() or ".." in relative.parts:
        raise InputError(f"item {item.id!r} has the path {item.path!r}, which leads out of {root}")
    return root / relative


def _filtered(table: pa.Table, expression: pc.Expression) -> pa.Table:
    if not is_large(table.num_rows):
        return table.filter(expression)
    return spooled(table.schema, (block.filter(expression) for block in blocks_of(table)))


def _read_parquet(source: Path) -> tuple[pa.Table, dict[str, Any]]:
    """The checked table of a Parquet file, and what stands beside it; a large one goes block by block."""
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(source, buffer_size=READ_BYTES) as file:
            kept = _kept(source, file.schema_arrow)
            if is_large(file.metadata.num_rows):
                return spool_checked(file.schema_arrow, lambda: _blocks(file), str(source)), kept
        table = pq.read_table(source)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(f"{source} is no Parquet table ({reason}); make it anew with histoseek prepare") from error
    return check_table(table, str(source)), kept


def _blocks(file: pq.ParquetFile) -> Iterator[pa.Table]:
    return (pa.Table.from_batches([batch]) for batch in file.iter_batches(BLOCK))


def _kept(source: Path, schema: pa.Schema) -> dict[str, Any]:
    """What a manifest says beside its rows; raises `InputError` where it is in another format."""
    raw = (schema.metadata or {}).get(_METADATA_KEY, b"{}")
    try:
        kept = json.loads(raw)
    except ValueError:
        kept = None
    if not isinstance(kept, dict) or not isinstance(kept.get("root", ""), str) or kept.get("format", FORMAT) != FORMAT:
        raise InputError(f"{source} was written in another manifest format; make it anew with histoseek prepare")
    return kept


def _read_csv(source: Path) -> pa.Table:
    """Read a CSV as text, an empty cell as NULL; columns of one's own get the type that their text has."""
    from pyarrow import csv

    cells = csv.ParseOptions(newlines_in_values=True)
    try:
        with csv.open_csv(source, parse_options=cells) as head:
            names = head.schema.names
        kept = csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True
        )
        if source.stat().st_size < LARGE_CSV:
            table = csv.read_csv(source, convert_options=kept, parse_options=cells)
        else:
            with csv.open_csv(source, convert_options=kept, parse_options=cells) as stream:
                table = spooled(stream.schema, (pa.Table.from_batches([batch]) for batch in stream))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{source} cannot be read as a CSV table: {str(error).split(chr(10))[0]}") from error
    own = [at for at, name in enumerate(names) if name not in SCHEMA.names]
    for at in own:
        table = table.set_column(at, names[at], _typed(table.column(at)))
    return table


def _typed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text as truth values, whole or decimal numbers, where that loses nothing: `007` stays text."""
    if column.null_count == len(column):
        return column
    for kind in (pa.bool_(), pa.int64()):
        try:
            values = column.cast(kind)
        except pa.ArrowInvalid:
            continue
        if values.cast(pa.string()).equals(column):
            return values
    if pc.any(pc.match_substring_regex(column, r"^[+-]?0[0-9]")).as_py():
        return column
    try:
        decimal = column.cast(pa.float64())
    except pa.ArrowInvalid:
        return column
    return decimal if pc.all(pc.is_finite(decimal)).as_py() else column
