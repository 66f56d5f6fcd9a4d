"""The map: every item of an archive as a point in the plane, near those that look alike."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histoseek.errors import InputError, needs_extra
from histoseek.items import sha256_of, written_whole
from histoseek.stores.caching import cache_home
from histoseek.stores.sums import facts_sum

if TYPE_CHECKING:
    from histoseek.index.index import Index

FORMAT = 1
POINTS, ABOUT = "map.npy", "map.json"
SAMPLE = 10_000
"""Items that t-SNE arranges: its time grows faster than their number, and a screen tells no more of them apart."""

OF_ALL = "t-SNE of all items"
OF_SAMPLE = f"t-SNE of {SAMPLE:,} items; the others lie among their nearest neighbours in these"

DIRECTIONS = 50
"""Principal directions that are looked at; what is left over is mostly noise to t-SNE (van der Maaten 2008)."""

PERPLEXITY, STEPS, SEED = 30.0, 500, 20_240
NEIGHBOURS = 5
REACH = 0.1
"""Neighbours further than this from the nearest one have no say: a point between two islands would lie in the sea."""

ROWS_AT_ONCE = 4096

Points = NDArray[np.float32]
Vectors = Callable[[NDArray[np.int64]], NDArray[np.float32]]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Layout:
    """Points `[N, 2]` of the rows of one version of an archive, within −1 and 1; `key` tells that version."""

    points: Points
    key: str
    method: str


def layout_key(index: Index) -> str:
    """What tells the rows that an index shows now from those of other versions and other archives.

    Raises:
        InputError: it is a server's copy, which gives no rows.
    """
    return hashlib.sha256(repr((FORMAT, index.view.state, len(index.rows.items))).encode()).hexdigest()[:32]


def has_layout(index: Index) -> bool:
    """Whether there is a map of the rows that an index shows now."""
    return _about_of(index) is not None


def read_layout(index: Index) -> Layout | None:
    """The map of the rows that an index shows now; None where there is none, or only a damaged one."""
    about = _about_of(index)
    if about is None:
        return None
    path = _home(index) / POINTS
    try:
        if sha256_of(path) != about["sha256"]:
            return None
        points = np.load(path, allow_pickle=False)
    except (OSError, ValueError):
        return None
    if points.shape != (len(index.rows.items), 2) or points.dtype != np.float32:
        return None
    return Layout(points, str(about["key"]), str(about["method"]))


def make_layout(index: Index, progress: Progress | None = None) -> Layout:
    """The map of the rows that an index shows now; where there is none it is made and kept, whole or not at all.

    It is derived and disposable: it lies beside the index, or in the cache where that is read-only. The same archive
    gets the same map on every machine of one kind. `progress` is called with items placed and in all.

    Raises:
        InputError: the archive is empty, or a server's copy.
        MissingExtraError: the extra `web` is not installed.
    """
    found = read_layout(index)
    if found is not None:
        return found
    key, rows = layout_key(index), index.rows
    n_rows = rows.items.num_rows
    if not n_rows:
        raise InputError(f"{index.address} holds no items, so there is nothing to draw a map of")
    points = lay_out(rows.checked, n_rows, progress)
    home = _home(index)
    with written_whole(home / POINTS) as draft, draft.open("wb") as stream:
        np.save(stream, points, allow_pickle=False)
    method = OF_ALL if n_rows <= SAMPLE else OF_SAMPLE
    about = {"format": FORMAT, "key": key, "method": method, "sha256": sha256_of(home / POINTS)}
    with written_whole(home / ABOUT) as draft:  # last: it makes the points count
        draft.write_text(json.dumps({**about, "checksum": facts_sum(about)}, indent=1), encoding="utf-8")
    return Layout(points, key, method)


def lay_out(vectors: Vectors, n_rows: int, progress: Progress | None = None) -> Points:
    """Points `[N, 2]` within −1 and 1 for N unit vectors, of which `vectors` gives those of some rows.

    Raises:
        MissingExtraError: the extra `web` is not installed.
    """
    tell = progress or (lambda done, total: None)
    tell(0, n_rows)
    rng = np.random.default_rng(SEED)
    sample = np.sort(rng.choice(n_rows, min(n_rows, SAMPLE), replace=False))
    chosen = vectors(sample).astype(np.float64)
    middle = chosen.mean(axis=0)
    directions = _principal(chosen - middle)
    near = ((chosen - middle) @ directions).astype(np.float32)
    places = _framed(_arranged(near))
    tell(len(sample), n_rows)
    points = np.empty((n_rows, 2), dtype=np.float32)
    points[sample] = places
    others = np.setdiff1d(np.arange(n_rows), sample, assume_unique=True)
    for start in range(0, len(others), ROWS_AT_ONCE):
        rows = others[start : start + ROWS_AT_ONCE]
        points[rows] = _placed(((vectors(rows) - middle) @ directions).astype(np.float32), near, places)
        tell(len(sample) + start + len(rows), n_rows)
    return points


def _home(index: Index) -> Path:
    return cache_home(index.path)


def _about_of(index: Index) -> dict[str, Any] | None:
    try:
        about: dict[str, Any] = json.loads((_home(index) / ABOUT).read_text(encoding="utf-8"))
        is_whole = about.pop("checksum") == facts_sum(about)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return about if is_whole and about.get("key") == layout_key(index) else None


def _principal(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """The principal directions `[D, d]` of centred vectors `[n, D]`, each with its largest number positive."""
    _, found = np.linalg.eigh(centred.T @ centred)
    directions: NDArray[np.float64] = found[:, ::-1][:, :DIRECTIONS]
    largest = directions[np.abs(directions).argmax(axis=0), np.arange(directions.shape[1])]
    return directions * np.where(largest < 0, -1, 1)


def _arranged(near: Points) -> Points:
    """Places `[n, 2]` for vectors `[n, d]` by t-SNE, begun from their first two principal directions."""
    start = np.zeros((len(near), 2), dtype=np.float32)
    start[:, : min(2, near.shape[1])] = near[:, :2]
    spread = float(start[:, 0].std())
    if len(near) < 8 or spread < 1e-6:  # nothing to arrange: a handful, or all alike
        return start
    with needs_extra("web"):
        from sklearn.manifold import TSNE
        from threadpoolctl import threadpool_limits
    tsne = TSNE(
        perplexity=min(PERPLEXITY, (len(near) - 1) / 3),
        init=start / spread * 1e-4,
        max_iter=STEPS,
        random_state=SEED,
        n_jobs=1,
    )
    with threadpool_limits(1):  # sums in one order, whatever the number of cores; and the server keeps the others
        return np.asarray(tsne.fit_transform(near), dtype=np.float32)


def _framed(places: Points) -> Points:
    """The same, moved and scaled to lie within −1 and 1."""
    low, high = places.min(axis=0), places.max(axis=0)
    half = max(float((high - low).max()) / 2, 1e-12)
    return np.asarray((places - (low + high) / 2) / half, dtype=np.float32)


def _placed(vectors: Points, near: Points, places: Points) -> Points:
    """Places `[n, 2]` for vectors `[n, d]`: between those of their nearest neighbours in the sample, by closeness."""
    k = min(NEIGHBOURS, len(near))
    far = (near**2).sum(axis=1) - 2 * (vectors @ near.T)  # without what is the same for all neighbours
    rows = np.argpartition(far, k - 1, axis=1)[:, :k]
    rows = np.take_along_axis(rows, np.take_along_axis(far, rows, axis=1).argsort(axis=1, kind="stable"), axis=1)
    distance = ((vectors[:, None] - near[rows]) ** 2).sum(axis=2)
    theirs = places[rows]
    weight = 1 / (distance + 1e-9)
    weight[np.linalg.norm(theirs - theirs[:, :1], axis=2) > REACH] = 0
    weight[:, 0] = np.maximum(weight[:, 0], 1e-9)
    mean = (theirs * weight[..., None]).sum(axis=1) / weight.sum(axis=1)[:, None]
    return np.asarray(mean, dtype=np.float32)
