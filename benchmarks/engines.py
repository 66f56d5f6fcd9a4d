"""The engines that `search.py` compares: each builds, opens, and answers the same questions."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import archives

K = 11  # the question itself is among the hits of engines that cannot leave it out


def measure(engine: str, place: Path) -> dict[str, Any]:
    """Build, open and ask one engine; times in seconds and milliseconds, memory in MB after the questions."""
    questions = np.load(place / "questions.npz")
    columns = np.load(place / "columns.npz")
    matrix = np.load(place / "vectors.npy", mmap_mode="r")
    built = dict.fromkeys(("write", "index", "open"), 0.0)
    ask, ask_many, kinds = OPENERS[engine](place, matrix, columns, built)
    found: dict[str, Any] = dict(built)
    asked = questions["asked"]
    vectors = np.array(matrix[asked])
    many = np.array(matrix[np.sort(np.random.default_rng(2).choice(len(matrix), 1000, replace=False))])
    del matrix  # its mapped pages are not the engine's memory
    for kind in kinds:
        ask(int(asked[0]), vectors[0], kind)
        times, hits = [], 0
        for number, (row, vector) in enumerate(zip(asked.tolist(), vectors, strict=True)):
            since = time.perf_counter()
            answer = ask(row, vector, kind)
            times.append(time.perf_counter() - since)
            hits += len(np.intersect1d(answer[answer != row][:10], questions[kind][number]))
        found[kind] = {
            "p50": float(np.median(times) * 1e3),
            "p95": float(np.percentile(times, 95) * 1e3),
            "recall": hits / (10 * len(asked)),
        }
    ask_many(many[:10])
    since = time.perf_counter()
    ask_many(many)
    found["batch"] = 1000 / (time.perf_counter() - since)
    status = Path("/proc/self/status").read_text() if Path("/proc/self/status").exists() else ""
    memory = {
        line.split(":")[0]: int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("Rss")
    }
    return found | {"anonymous": memory.get("RssAnon", 0), "resident": sum(memory.values())}


def timed(built: dict[str, float], name: str, work: Callable[[], Any]) -> Any:
    """Run some work and note how long it took."""
    since = time.perf_counter()
    done = work()
    built[name] += time.perf_counter() - since
    return done


def ours(place: Path, matrix: Any, columns: Any, built: dict[str, float]) -> Any:
    from histoseek.index import Example, Index

    home = place / "x.index"
    script = Path(__file__).parent / "search.py"  # in a process of its own, whose memory would count as that of search
    told = subprocess.run([sys.executable, script, "--build", place], capture_output=True, text=True, check=True)
    built["write"], built["index"] = map(float, told.stdout.split()[-2:])
    index = timed(built, "open", lambda: _opened(Index, home))

    def ask(row: int, vector: NDArray[np.float32], kind: str) -> NDArray[np.int64]:
        if kind == "patient":
            hits = index.search(item=f"bench/slide{row // archives.TILES_A_SLIDE}#{row}", k=10)
        else:
            where = None if kind == "plain" else kind
            hits = index.search([Example("vector", vector)], k=K, where=where)
        return np.array([int(hit.item.id.rpartition("#")[2]) for hit in hits])

    return ask, lambda many: index.search_many(many, k=10), ("plain", "tenth", "hundredth", "patient")


def _opened(index: Any, home: Path) -> Any:
    opened = index.open(home)
    _ = opened.rows.codes
    return opened


def build_ours(place: Path) -> None:
    """Write the table and make fast copy and codes; prints both times."""
    from histoseek.index import Index
    from histoseek.index.upkeep import make_quick

    built = {"write": 0.0, "index": 0.0}
    home = place / "x.index"
    matrix = np.load(place / "vectors.npy", mmap_mode="r")
    blocks = ((start, matrix[start : start + archives.BLOCK]) for start in range(0, len(matrix), archives.BLOCK))
    tables = [archives.rows_of(start, np.ascontiguousarray(block)) for start, block in blocks]
    timed(built, "write", lambda: archives.write_tables(home, tables))
    timed(built, "index", lambda: make_quick(Index.open(home)))
    print(built["write"], built["index"])


def lancedb(place: Path, matrix: Any, columns: Any, built: dict[str, float]) -> Any:
    import lancedb
    import pyarrow as pa

    def write() -> Any:
        table = None
        for start in range(0, len(matrix), archives.BLOCK):
            part = slice(start, start + archives.BLOCK)
            block = np.ascontiguousarray(matrix[part])
            rows = pa.table(
                {
                    "row": np.arange(start, start + len(block)),
                    **{name: columns[name][part] for name in ("tenth", "hundredth", "patient")},
                    "vector": pa.FixedSizeListArray.from_arrays(pa.array(block.ravel()), block.shape[1]),
                }
            )
            table = database.create_table("t", rows) if table is None else (table.add(rows), table)[1]
        return table

    database = lancedb.connect(str(place / "lancedb"))
    table = timed(built, "write", write)
    settings = {"num_partitions": max(1, len(matrix) // 1000), "num_bits": 1, "max_iterations": 10, "sample_rate": 64}
    timed(built, "index", lambda: table.create_index(metric="cosine", index_type="IVF_RQ", **settings))
    table = timed(built, "open", lambda: lancedb.connect(str(place / "lancedb")).open_table("t"))

    def ask(row: int, vector: NDArray[np.float32], kind: str) -> NDArray[np.int64]:
        query = table.search(vector).nprobes(60).refine_factor(10).select(["row"]).limit(K)
        where = {"plain": None, "patient": f"patient != {columns['patient'][row]}"}.get(kind, f"{kind} = true")
        query = query if where is None else query.where(where, prefilter=True)
        return query.to_arrow()["row"].to_numpy()

    def ask_many(many: NDArray[np.float32]) -> None:
        table.search(list(many)).nprobes(60).refine_factor(10).select(["row"]).limit(10).to_arrow()

    return ask, ask_many, ("plain", "tenth", "hundredth", "patient")


def faiss_engine(spec: str) -> Callable[..., Any]:
    def opener(place: Path, matrix: Any, columns: Any, built: dict[str, float]) -> Any:
        import faiss

        index = faiss.index_factory(matrix.shape[1], spec, faiss.METRIC_INNER_PRODUCT)
        sample = np.sort(np.random.default_rng(0).choice(len(matrix), min(len(matrix), 65_536), replace=False))

        def build() -> None:
            index.train(np.ascontiguousarray(matrix[sample]))
            for start in range(0, len(matrix), archives.BLOCK):
                index.add(np.ascontiguousarray(matrix[start : start + archives.BLOCK]))

        timed(built, "index", build)
        if spec.startswith("IVF"):
            index.nprobe = 32
        if spec.startswith("HNSW"):
            index.hnsw.efSearch = 128

        def ask(row: int, vector: NDArray[np.float32], kind: str) -> NDArray[np.int64]:
            return index.search(vector[None], K)[1][0]

        return ask, lambda many: index.search(many, 10), ("plain",)

    return opener


def hnswlib_engine(place: Path, matrix: Any, columns: Any, built: dict[str, float]) -> Any:
    import hnswlib

    index = hnswlib.Index("ip", matrix.shape[1])
    index.init_index(len(matrix), M=16, ef_construction=100, random_seed=0)
    timed(built, "index", lambda: index.add_items(np.ascontiguousarray(matrix)))
    index.set_ef(128)

    def ask(row: int, vector: NDArray[np.float32], kind: str) -> NDArray[np.int64]:
        return index.knn_query(vector, K)[0][0].astype(np.int64)

    return ask, lambda many: index.knn_query(many, 10), ("plain",)


OPENERS: dict[str, Callable[..., Any]] = {
    "ours": ours,
    "lancedb": lancedb,
    "faiss-flat": faiss_engine("Flat"),
    "faiss-ivf": faiss_engine("IVF1024,Flat"),
    "faiss-hnsw": faiss_engine("HNSW16,Flat"),
    "hnswlib": hnswlib_engine,
}
