"""Archives of invented embeddings, shaped like real ones: tissue classes, patients and slides each move the vectors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoseek.encoders.encoder import Encoder, Fingerprint, Preprocessing, loadable_name
from histoseek.index.about import FILE, About
from histoseek.index.declared import MARK
from histoseek.index.filling import schema_of
from histoseek.items import SCHEMA
from histoseek.stores import LanceStore

DIM = 512
TILES_A_SLIDE = 250
SLIDES_A_PATIENT = 2
CLASSES = 40
BLOCK = 100_000


def vectors_of(n_rows: int, dim: int = DIM, seed: int = 0) -> Iterator[NDArray[np.float32]]:
    """Unit vectors `[BLOCK, dim]` at a time: class and patient and slide and tile, in falling size."""
    rng = np.random.default_rng(seed)
    axes = rng.normal(size=(64, dim)).astype(np.float32) / np.sqrt(dim)
    classes = rng.normal(size=(CLASSES, 64)).astype(np.float32)
    common = rng.normal(size=dim).astype(np.float32) / np.sqrt(dim)
    for start in range(0, n_rows, BLOCK):
        rows = np.arange(start, min(start + BLOCK, n_rows))
        slides = rows // TILES_A_SLIDE
        shift = _drawn(slides, 64, seed + 1) * 0.35 + _drawn(slides // SLIDES_A_PATIENT, 64, seed + 2) * 0.5
        own = classes[labels_of(rows)] + shift + rng.normal(size=(len(rows), 64)).astype(np.float32) * 0.7
        noise = rng.normal(size=(len(rows), dim)).astype(np.float32) / np.sqrt(dim)
        whole = 4 * common + own @ axes + 2.0 * noise
        yield (whole / np.linalg.norm(whole, axis=1, keepdims=True)).astype(np.float32)


def labels_of(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Classes of tiles, of which a slide holds a few."""
    slides = rows // TILES_A_SLIDE
    return (slides * 7 + (rows * 2_654_435_761 % 97) % 4) % CLASSES


def _drawn(numbers: NDArray[np.int64], n: int, seed: int) -> NDArray[np.float32]:
    unique, places = np.unique(numbers, return_inverse=True)
    drawn = np.stack([np.random.default_rng((seed, int(one))).normal(size=n) for one in unique]).astype(np.float32)
    return drawn[places]


def rows_of(first: int, vectors: NDArray[np.float32]) -> pa.Table:
    """Rows of a table: tiles of slides of patients; `tenth` and `hundredth` are true for so many."""
    rows = np.arange(first, first + len(vectors))
    slides = rows // TILES_A_SLIDE
    own = {
        "id": [f"bench/slide{slide}#{row}" for slide, row in zip(slides.tolist(), rows.tolist(), strict=True)],
        "path": [f"slide{slide}.tif" for slide in slides.tolist()],
        "label": [f"class {label}" for label in labels_of(rows).tolist()],
        "group": [f"patient {slide // SLIDES_A_PATIENT}" for slide in slides.tolist()],
        "slide": [f"slide{slide}" for slide in slides.tolist()],
        "dataset": ["bench"] * len(rows),
        "box_x": rows % TILES_A_SLIDE * 256,
        "box_y": np.zeros(len(rows), dtype=np.int64),
        "box_width": np.full(len(rows), 256),
        "box_height": np.full(len(rows), 256),
        "mpp": np.full(len(rows), 0.5),
    }
    chance = chances(rows)
    columns = [
        pa.array(own[field.name], field.type) if field.name in own else pa.nulls(len(rows), field.type)
        for field in SCHEMA
    ]
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    parts = [*columns, pa.array(chance < 0.1), pa.array(chance < 0.01), flat]
    return pa.table(parts, schema=table_schema(vectors.shape[1]))


def table_schema(dim: int) -> pa.Schema:
    """The columns of the invented archive."""
    own = [pa.field("tenth", pa.bool_()), pa.field("hundredth", pa.bool_())]
    return schema_of(pa.schema([*SCHEMA, *own]), dim)


def chances(rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """A number from 0 to 1 for each row, the same wherever it is asked for."""
    return (rows * 2_654_435_761 % 1_000_003) / 1_000_003


def columns_of(n_rows: int) -> dict[str, NDArray[np.int64]]:
    """What filters ask for, as plain arrays."""
    rows = np.arange(n_rows)
    patient = rows // TILES_A_SLIDE // SLIDES_A_PATIENT
    return {"tenth": chances(rows) < 0.1, "hundredth": chances(rows) < 0.01, "patient": patient}


def write_tables(home: Path, tables: Iterable[pa.Table], dim: int = DIM, encoder: Encoder | None = None) -> None:
    """An index of invented embeddings, written as an import writes it, or as if `encoder` had made them."""
    home.mkdir(parents=True)
    store = LanceStore.create(home, table_schema(dim))
    n_rows = 0
    for table in tables:
        store.add(table)
        n_rows += len(table)
    name, loaded_from, has_text = "invented", f"{MARK}invented", False
    marks = Fingerprint("invented", "invented", Preprocessing(224, 0.5))
    if encoder is not None:
        name, loaded_from, has_text = encoder.card.name, loadable_name(encoder.card), encoder.card.has_text
        marks = encoder.fingerprint
    about = About(name, loaded_from, marks, dim, has_text, str(home), "", n_items=n_rows)
    about.write(home / FILE)
