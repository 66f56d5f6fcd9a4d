"""The fast copy: one version of a Lance table as a memory-mapped matrix and an Arrow file.

It is derived and disposable: reading it needs neither LanceDB nor a scan, and a newer table version makes it stale.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoseek.errors import DamagedError
from histoseek.items.files import flush_to_disk, written_whole
from histoseek.stores.exact import nearest
from histoseek.stores.store import VECTOR, Neighbours

MAX_BYTES = 8 * 1024**3
"""Larger archives get no fast copy."""

_PREFIX = "fast-"


class FastCopy:
    """Rows of one table version, read through the page cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.version = int(folder.name.removeprefix(_PREFIX))
        try:
            about = json.loads((folder / "fast.json").read_text(encoding="utf-8"))
            self._matrix = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
            with pa.memory_map(str(folder / "items.arrow")) as stream:
                self.items: pa.Table = pa.ipc.open_file(stream).read_all()
            shape = (self.items.num_rows, int(about["dim"]))
        except (OSError, ValueError, KeyError, TypeError, EOFError, pa.ArrowException) as error:
            raise DamagedError(f"the fast copy {folder} is damaged; delete that folder, it is made anew") from error
        if self._matrix.shape != shape or self._matrix.dtype != np.float32:
            raise DamagedError(f"the fast copy {folder} is damaged; delete that folder, it is made anew")

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Unit vectors of some rows, `[N, D]`."""
        return np.asarray(self._matrix[rows])

    def nearest(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None) -> Neighbours:
        """The `k` rows of highest cosine, exactly; see `histoseek.stores.exact.nearest`."""
        return nearest(queries, np.asarray(self._matrix), k, allowed)


def fast_folder(home: Path, version: int) -> Path:
    """Where the fast copy of a table version lies."""
    return home / f"{_PREFIX}{version}"


def write_fast(home: Path, version: int, table: pa.Table) -> FastCopy:
    """Write the fast copy of `table` (item columns and `vector`) and drop those of older versions."""
    target = fast_folder(home, version)
    draft = Path(tempfile.mkdtemp(dir=home, prefix=".fast-"))
    try:
        column = table[VECTOR].combine_chunks()
        dim = column.type.list_size
        matrix = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim).astype(np.float32, copy=False)
        np.save(draft / "vectors.npy", matrix)
        items = table.drop_columns([VECTOR]).combine_chunks()
        with pa.OSFile(str(draft / "items.arrow"), "wb") as sink, pa.ipc.new_file(sink, items.schema) as writer:
            writer.write_table(items)
        with written_whole(draft / "fast.json") as about:
            about.write_text(json.dumps({"dim": dim}), encoding="utf-8")
        for file in draft.iterdir():
            flush_to_disk(file)
        _move(draft, target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    for old in home.glob(f"{_PREFIX}*"):
        if old != target:
            shutil.rmtree(old, ignore_errors=True)
    return FastCopy(target)


def _move(draft: Path, target: Path) -> None:
    draft.chmod(0o755)
    try:
        draft.rename(target)
    except OSError:  # another reader made the same copy meanwhile, or a damaged one lies there
        if not (target / "fast.json").is_file():
            shutil.rmtree(target)
            draft.rename(target)
