"""Short codes of vectors, held in memory: they say which rows are worth an exact look when an archive is large.

Inverted lists of RaBitQ codes (Gao and Long, SIGMOD 2024), made by FAISS (Johnson, Douze and Jégou, 2017). They are
derived from a fast copy and disposable. How many lists are looked through is found by trial on the archive's own
vectors, each patient's own rows shut out, against the exact answer.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histoseek.errors import DamagedError, needs_extra
from histoseek.items.files import flush_to_disk, sha256_of, written_whole
from histoseek.stores.exact import nearest, rescored
from histoseek.stores.sums import facts_sum

WORTHWHILE = 50_000
"""Archives with fewer rows are searched exactly: that takes about 10 ms."""

WANTED_RECALL = 0.997
"""Recall@10 at which the tuning stops: above the .99 that is promised, since it is measured on a small sample."""

TRIED = 150
"""Stored vectors that the tuning asks."""

BITS = (1, 4)
"""Bits a dimension, the shortest first: 1 takes 64 MB for a million vectors of 512 numbers, 4 takes 256 MB."""

SPREADS = (0.5, 0.75, 1.0)

DEPTHS = (100, 200, 400)
"""Candidates that get an exact look for ten hits."""

_QUERY_BITS = 4
"""Bits a dimension that a query is rounded to: as good as 8 where close candidates get an exact look, and quicker."""

_SEED = 20_261_125


@dataclass(frozen=True)
class Tuned:
    """How codes are read: `bits` a dimension, `probes` of `lists`, and `depth` candidates for ten hits.

    Under a filter probes grow with the power `spread` of the share that it leaves. `recall` is recall@10 on stored
    vectors, each without its own group, and `recall_filtered` the same under a filter that leaves a tenth.
    """

    bits: int
    lists: int
    probes: int
    depth: int
    spread: float
    recall: float
    recall_filtered: float
    n_rows: int


class Codes:
    """Codes of one fast copy's rows."""

    def __init__(self, index: Any, tuned: Tuned) -> None:
        self._index = index
        self.tuned = tuned
        self.most = max(10, index.ntotal // 100)

    def near(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None
    ) -> list[NDArray[np.int64]]:
        """Rows worth an exact look for each query `[Q, D]`, at least `k` where so many are allowed, in no order."""
        if allowed is not None and allowed.ndim == 2:
            return [self.near(query[None], k, mask)[0] for query, mask in zip(queries, allowed, strict=True)]
        n_allowed = self._index.ntotal if allowed is None else int(np.count_nonzero(allowed))
        depth = min(n_allowed, self.tuned.depth * k // 10 + 10)
        if depth == n_allowed:
            rows = np.arange(depth) if allowed is None else np.flatnonzero(allowed)
            return [rows] * len(queries)
        found = self._search(queries, depth, self._probes(queries, n_allowed, allowed), allowed)
        short = (found < 0).any(axis=1)
        if short.any():  # the lists looked through hold too few allowed rows: look through all
            found[short] = self._search(queries[short], depth, self.tuned.lists, allowed)
        return [row[row >= 0] for row in found]

    def _probes(self, queries: NDArray[np.float32], n_allowed: int, allowed: NDArray[np.bool_] | None) -> int:
        """How many lists to look through: the tuned number, or under a filter so many that enough rows are allowed.

        What a filter leaves may lie far from the query, as another centre's slides do, so the lists are counted from
        the nearest on until they hold as many allowed rows as the tuned number of lists would.
        """
        lists, n_rows = self.tuned.lists, int(self._index.ntotal)
        if allowed is None:
            return self.tuned.probes
        wanted = self.tuned.probes * n_rows / lists * (n_allowed / n_rows) ** (1 - self.tuned.spread)
        few = allowed if 2 * n_allowed < n_rows else ~allowed  # the smaller part is counted
        held = np.bincount(self._list_of_row[few], minlength=lists)
        if few is not allowed:
            held = self._sizes - held
        _, order = self._index.quantizer.search(queries, lists)
        reached = np.cumsum(held[order], axis=1) >= min(wanted, n_allowed)
        return int(reached.argmax(axis=1).max()) + 1

    @cached_property
    def _sizes(self) -> NDArray[np.int64]:
        return np.bincount(self._list_of_row, minlength=self.tuned.lists)

    @cached_property
    def _list_of_row(self) -> NDArray[np.int32]:
        """The list that each row is in, `[N]`."""
        import faiss

        lists: Any = self._index.invlists
        numbers = np.zeros(self._index.ntotal, dtype=np.int32)
        for number in range(self._index.nlist):
            numbers[faiss.rev_swig_ptr(lists.get_ids(number), lists.list_size(number))] = number
        return numbers

    def _search(
        self, queries: NDArray[np.float32], depth: int, probes: int, allowed: NDArray[np.bool_] | None
    ) -> NDArray[np.int64]:
        import faiss

        bits = None if allowed is None else np.packbits(allowed, bitorder="little")
        bitmap: Any = faiss.IDSelectorBitmap
        selector = None if bits is None else bitmap(bits)  # both must live until the search has ended
        parameters: Any = faiss.IVFRaBitQSearchParameters
        chosen = parameters(nprobe=probes, qb=_QUERY_BITS, centered=False, sel=selector)
        _, found = self._index.search(queries, depth, params=chosen)
        rows = np.asarray(found, dtype=np.int64)
        if allowed is not None and not allowed[rows[rows >= 0]].all():
            raise AssertionError("FAISS found rows that were shut out; report this with its version")
        return rows


def write_codes(folder: Path, matrix: NDArray[np.float32], groups: NDArray[np.int32]) -> Tuned:
    """Make the codes of a matrix `[N, D]` of unit vectors and keep them in a fast copy's folder.

    `groups` `[N]` are numbers of what is never matched with itself.

    Raises:
        MissingExtraError: the extra `scale` is not installed.
    """
    with needs_extra("scale"):
        import faiss
    trials = _Trials(matrix, groups)
    for bits in BITS:  # longer codes where short ones do not tell close neighbours apart
        index = _built(matrix, bits)
        tuned = trials.tune(index, bits)
        if tuned.recall >= WANTED_RECALL:
            break
    with written_whole(folder / "codes.faiss") as draft:
        faiss.write_index(index, str(draft))
    about = {**asdict(tuned), "sha256": sha256_of(folder / "codes.faiss")}
    with written_whole(folder / "codes.json") as draft:
        draft.write_text(json.dumps({**about, "checksum": facts_sum(about)}, indent=1), encoding="utf-8")
    flush_to_disk(folder)
    return tuned


def read_codes(folder: Path) -> Codes | None:
    """Open the codes in a fast copy's folder; None when there are none or FAISS is not installed.

    Raises:
        DamagedError: the files are not what was written.
    """
    if not (folder / "codes.json").is_file():
        return None
    try:
        import faiss
    except ModuleNotFoundError:  # exact search gives the same answers, more slowly; `info` says so
        return None
    try:
        about = _about(folder)
        if about.pop("sha256") != sha256_of(folder / "codes.faiss"):
            raise ValueError("codes.faiss")
        return Codes(faiss.read_index(str(folder / "codes.faiss")), Tuned(**about))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise DamagedError(f"the fast copy {folder} is damaged; delete that folder, it is made anew") from error


def tuning_of(folder: Path) -> Tuned | None:
    """How the codes in a folder are read, without loading them."""
    try:
        about = _about(folder)
        about.pop("sha256")
        return Tuned(**about)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(f"the fast copy {folder} is damaged; delete that folder, it is made anew") from error


def _about(folder: Path) -> dict[str, Any]:
    about: dict[str, Any] = json.loads((folder / "codes.json").read_text(encoding="utf-8"))
    if about.pop("checksum") != facts_sum(about):
        raise ValueError("codes.json")
    return about


def _built(matrix: NDArray[np.float32], bits: int) -> Any:
    import faiss

    n_rows, dim = matrix.shape
    lists = int(min(max(1, n_rows // 40), max(16, 2 ** round(np.log2(max(1, n_rows / 2000))))))
    index: Any = faiss.index_factory(dim, f"IVF{lists},RaBitQ{bits}", faiss.METRIC_L2)
    index.cp.niter = 6
    index.cp.seed = 1234
    rng = np.random.default_rng(_SEED)
    sample = np.sort(rng.choice(n_rows, min(n_rows, 64 * lists), replace=False))
    index.train(np.ascontiguousarray(matrix[sample]))
    for start in range(0, n_rows, 131_072):
        index.add(np.ascontiguousarray(matrix[start : start + 131_072]))
    return index


class _Trials:
    """Questions with their exact answers, by which codes are tuned: stored vectors, each without its own group."""

    def __init__(self, matrix: NDArray[np.float32], groups: NDArray[np.int32]) -> None:
        rng = np.random.default_rng(_SEED + 1)
        n_tried = min(TRIED, len(matrix), max(32, 2**28 // len(matrix)))  # their masks stay below 512 MB
        asked = np.sort(rng.choice(len(matrix), n_tried, replace=False))
        self._matrix, self._queries = matrix, np.ascontiguousarray(matrix[asked])
        masks = groups[None] != groups[asked][:, None]
        if not masks.any():  # one group alone: nothing would be left to find
            masks[:] = True
        few = masks & (rng.random((1, len(matrix))) < 0.1)
        self._asked = [(mask, nearest(self._queries, matrix, 10, mask).rows) for mask in (masks, few)]

    def tune(self, index: Any, bits: int) -> Tuned:
        """The fewest candidates and probes that reach the wanted recall; all lists and the most where none does."""
        lists, n_rows = index.nlist, len(self._matrix)
        for depth in DEPTHS:
            whole = Tuned(bits, lists, lists, depth, 1.0, 0.0, 0.0, n_rows)
            reached = self._recall(Codes(index, whole), 0)
            if reached < WANTED_RECALL and depth < DEPTHS[-1]:
                continue
            probes = 4
            while probes < lists:
                trial = replace(whole, probes=probes)
                recall = self._recall(Codes(index, trial), 0)
                if recall >= WANTED_RECALL:
                    break
                probes += probes // 2
            else:
                trial, recall = whole, reached
            for spread in SPREADS:
                trial = replace(trial, spread=spread)
                filtered = self._recall(Codes(index, trial), 1)
                if filtered >= WANTED_RECALL:
                    break
            return replace(trial, recall=recall, recall_filtered=filtered)
        raise AssertionError("the last depth always returns")

    def _recall(self, codes: Codes, which: int) -> float:
        masks, truth = self._asked[which]
        near = codes.near(self._queries, 10, masks)
        found = rescored(self._queries, near, lambda rows: self._matrix[rows], 10).rows
        hits = sum(len(np.intersect1d(mine[mine >= 0], theirs)) for theirs, mine in zip(found, truth, strict=True))
        return float(hits / max(1, int((truth >= 0).sum())))
