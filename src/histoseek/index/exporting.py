"""An index as a file for other programs: Parquet for tables, h5ad for single-cell and spatial tools."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from histoseek.errors import InputError, needs_extra
from histoseek.index.index import Index
from histoseek.items import written_whole
from histoseek.stores import VECTOR

FORMAT = 1
METADATA_KEY = b"histoseek.index"
SUFFIXES = (".parquet", ".h5ad")
ROWS_A_GROUP = 16_384

Progress = Callable[[int, int], None]


def export_index(
    index: Index,
    out: str | Path,
    *,
    where: str | None = None,
    keep_paths: bool = False,
    progress: Progress | None = None,
) -> int:
    """Write the items of an index and their vectors into one file, whole or not at all; gives how many.

    `.parquet` holds the item columns and `vector`, and is written a group of rows at a time; `.h5ad` is put together in
    memory. Paths of items are those inside their folder; where that folder lies on this machine is left out unless
    `keep_paths`.

    Raises:
        InputError: another suffix, a wrong filter, or no item fulfils it.
        MissingExtraError: an h5ad without the extra `slides`.
    """
    target = Path(out)
    if target.suffix.lower() not in SUFFIXES:
        raise InputError(f"an index is exported as {' or '.join(SUFFIXES)}, not as {target.name!r}")
    allowed = index.allowed(where)
    chosen = np.arange(len(index)) if allowed is None else np.flatnonzero(allowed)
    if not len(chosen):
        raise InputError(f"no item of {index.address} fulfils {where!r}; nothing was written")
    facts = index_facts(index, keep_paths=keep_paths) | {"items": str(len(chosen))}
    blocks = _blocks(index, chosen, progress)
    with written_whole(target) as draft:
        if target.suffix.lower() == ".parquet":
            _write_parquet(draft, index, facts, blocks)
        else:
            _write_h5ad(draft, facts, list(blocks))
    return len(chosen)


def index_facts(index: Index, *, keep_paths: bool = False) -> dict[str, str]:
    """What an export says of its vectors, as plain text by name."""
    about = index.about
    how = about.fingerprint.preprocessing
    facts = {
        "format": str(FORMAT),
        "encoder": about.encoder if keep_paths or not PurePath(about.encoder).is_absolute() else "encoder folder",
        "fingerprint": about.fingerprint.digest,
        "weights_sha256": about.fingerprint.weights_sha256,
        "precision": about.fingerprint.precision,
        "dim": str(about.dim),
        "view_px": str(how.view_px),
        "view_mpp": f"{how.mpp:g}",
        "decoding": how.decoding,
        "created": about.created,
        "histoseek": about.versions.get("histoseek", ""),
    }
    facts |= {name: str(about.facts[name]) for name in ("dataset", "title", "licence") if about.facts.get(name)}
    return facts | ({"root": str(index.root), "loaded_from": about.loaded_from} if keep_paths else {})


def _blocks(
    index: Index, chosen: NDArray[np.int64], progress: Progress | None
) -> Iterator[tuple[pa.Table, NDArray[np.float32]]]:
    """Item columns and vectors `[n, D]` of the chosen rows, in order."""
    for start in range(0, len(chosen), ROWS_A_GROUP):
        rows = chosen[start : start + ROWS_A_GROUP]
        yield index.rows.items.take(pa.array(rows)), np.asarray(index.rows.checked(rows), dtype=np.float32)
        if progress is not None:
            progress(start + len(rows), len(chosen))


def _write_parquet(
    draft: Path, index: Index, facts: dict[str, str], blocks: Iterator[tuple[pa.Table, NDArray[np.float32]]]
) -> None:
    dim = index.about.dim
    schema = index.rows.items.schema.append(pa.field(VECTOR, pa.list_(pa.float32(), dim)))
    schema = schema.with_metadata({METADATA_KEY: json.dumps(facts).encode()})
    # Vectors do not repeat: a dictionary of them would only cost.
    plain = [name for name in index.rows.items.schema.names if name != "id"]
    with pq.ParquetWriter(draft, schema, compression="zstd", use_dictionary=plain) as writer:
        for items, vectors in blocks:
            stored = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dim)
            columns = [column.combine_chunks() for column in items.columns]
            writer.write_table(pa.table([*columns, stored], schema=schema), row_group_size=ROWS_A_GROUP)


def _write_h5ad(draft: Path, facts: dict[str, str], blocks: list[tuple[pa.Table, NDArray[np.float32]]]) -> None:
    with needs_extra("slides"):
        import pandas as pd
        from anndata import AnnData
    items = pa.concat_tables(table for table, _ in blocks)
    ids = items["id"].to_pylist()
    columns = {
        name: _obs_column(items[name])
        for name in items.schema.names
        if name != "id" and items[name].null_count < len(ids)
    }
    data = AnnData(
        X=np.concatenate([vectors for _, vectors in blocks]),
        obs=pd.DataFrame(columns, index=pd.Index(ids, dtype=object)),
        obsm={"spatial": _centres(items)},
        uns={"histoseek": facts},
    )
    data.var_names = [f"v{number}" for number in range(data.n_vars)]
    data.write_h5ad(draft, compression="gzip")


def _obs_column(column: pa.ChunkedArray) -> Any:
    """A column as AnnData stores it: text as categories, whole numbers and truth values with gaps as nullable."""
    import pandas as pd

    kind = column.type
    if pa.types.is_integer(kind):
        return column.to_numpy() if not column.null_count else pd.array(column.to_pylist(), dtype="Int64")
    if pa.types.is_boolean(kind):
        return pd.array(column.to_pylist(), dtype="boolean")
    if pa.types.is_floating(kind):
        return column.cast(pa.float64()).to_numpy()
    return pd.Categorical(column.cast(pa.string()).to_pylist())


def _centres(items: pa.Table) -> NDArray[np.float64]:
    """Centres `[N, 2]` of the items in level-0 pixels of their slide; NaN where the size of the image is unknown."""
    edges = []
    for corner, side, whole in (("box_x", "box_width", "width"), ("box_y", "box_height", "height")):
        start, length, full = (items[name].cast(pa.float64()).to_numpy() for name in (corner, side, whole))
        edges.append(np.where(np.isnan(start), full / 2, start + length / 2))
    return np.stack(edges, axis=1)
