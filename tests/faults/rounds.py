"""Adding and removing over and over: the folder must not grow."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from histoseek.index import Index, Removal
from tests.conftest import TinyEncoder, write_archive
from tests.faults.journal import row_marks


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def add_and_remove(n_rounds: int, folder: Path) -> tuple[list[int], Index]:
    """The folder's bytes when it was built and compacted, after every round, and after a last compaction."""
    pictures = folder / "pictures"
    pictures.mkdir()
    manifest = write_archive(pictures)
    index = Index.build(manifest, TinyEncoder(), folder / "x.index")
    before = _marks(index)
    index.compact()
    sizes = [size_of(index.path)]
    for nth in range(n_rounds):
        patient = f"p{nth % 9}"
        assert len(index.remove(Removal(patients=[patient]))) == 4
        assert index.add(manifest.where(f"group = '{patient}'")).n_new == 4
        sizes.append(size_of(index.path))
    index.compact()
    sizes.append(size_of(index.path))
    assert _marks(index) == before
    return sizes, index


def _marks(index: Index) -> dict[str, str]:
    items = index.rows.items
    vectors = index.rows.checked(np.arange(items.num_rows))
    return row_marks(items["id"].to_pylist(), items["label"].to_pylist(), vectors)
