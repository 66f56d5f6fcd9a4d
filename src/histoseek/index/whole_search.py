"""Which slides, or which patients, resemble one of the archive."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from histoseek.errors import InputError
from histoseek.index.bagging import bags_of, kept_at
from histoseek.index.hits import drawn, written
from histoseek.index.matching import METHODS, Bags, Method, matched_pairs, similarities
from histoseek.index.representatives import Choice
from histoseek.index.wholes import Level, Whole, label_column, labels_of, wholes_of
from histoseek.items import Item, item_of

if TYPE_CHECKING:
    from PIL import Image

    from histoseek.index.index import Index

PREFILTER = 100
"""Wholes whose mean embeddings are nearest, at least so many and ten times k, are compared tile by tile."""

N_PAIRS = 3


class WholeOptions(TypedDict, total=False):
    """The fields of `WholeRules`, as keyword arguments of a search."""

    k: int
    method: Method
    representatives: Choice
    where: str | None
    exclude_group: bool
    label: str | None


@dataclass(frozen=True)
class WholeRules:
    """How wholes are compared.

    `k` hits at most; `method` and `representatives` as in `matching` and `representatives`; `where` keeps only tiles
    that fulfil a filter; `exclude_group` leaves out what shares a patient with the query; `label` is the column with
    the labels of wholes.
    """

    k: int = 10
    method: Method = "best-match"
    representatives: Choice = "mosaic"
    where: str | None = None
    exclude_group: bool = True
    label: str | None = None

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InputError(f"k must be at least 1, not {self.k}")
        if self.method not in METHODS:
            raise InputError(f"there is no method {self.method!r}; choose one of {', '.join(METHODS)}")
        if self.representatives not in ("mosaic", "diverse"):
            raise InputError(f"there are no representatives {self.representatives!r}; choose mosaic or diverse")


@dataclass(frozen=True)
class Pair:
    """Two tiles that look alike, one of the query and one of the hit, and their cosine."""

    query: Item
    hit: Item
    score: float


@dataclass(frozen=True)
class WholeHit:
    """A slide or case that was found, from rank 1, with the pairs of tiles that speak for it, the best first."""

    rank: int
    score: float
    name: str
    group: str
    label: str | None
    n_tiles: int
    n_representatives: int
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class WholeHits:
    """What a search for slides or cases found, best first; `query` says what was asked and how."""

    hits: tuple[WholeHit, ...]
    root: Path
    query: Mapping[str, Any]

    def rows(self) -> list[dict[str, Any]]:
        """One plain dictionary a hit."""
        return [_row(hit) for hit in self.hits]

    def votes(self, ks: tuple[int, ...] = (1, 3, 5)) -> dict[int, str | None]:
        """The most frequent label among the first k hits; of equal ones that whose best hit ranks higher."""
        found = {}
        for k in ks:
            labels = [hit.label for hit in self.hits[:k] if hit.label is not None]
            counts = Counter(labels)
            found[k] = max(counts, key=lambda label: (counts[label], -labels.index(label)), default=None)
        return found

    def to_json(self, path: str | Path | None = None) -> str:
        """One JSON object with the query and the hits; written to `path` too when given."""
        text = json.dumps({"query": dict(self.query), "hits": self.rows()}, indent=1, ensure_ascii=False, default=str)
        return written(text, path)

    def to_csv(self, path: str | Path | None = None) -> str:
        """One line a hit, without its pairs; written to `path` too when given."""
        rows = [{name: value for name, value in row.items() if name != "pairs"} for row in self.rows()]
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else ["rank", "score", "name"])
        writer.writeheader()
        writer.writerows(rows)
        return written(text.getvalue(), path)

    def sheet(self, path: str | Path | None = None) -> Image.Image:
        """Draw each hit's matched pairs of tiles, one hit a line; saved to `path` too when given."""
        from histoseek.figures.pairs import draw_pairs

        return drawn(lambda: draw_pairs(self), path)


def search_wholes(index: Index, name: str, level: Level, rules: WholeRules) -> WholeHits:
    """Find the slides or cases most like one of the archive, never of the same patient.

    Raises:
        InputError: the archive holds no such slide or case, or nothing is left to compare it with.
        MissingExtraError: the extra `slides` is not installed.
    """
    index.refresh()
    items = index.rows.items
    wholes, bags = open_bags(index, level, rules)
    at = _find(wholes, name, level)
    among = np.array([other for other, whole in enumerate(wholes) if _may_answer(whole, wholes[at], rules)], np.int64)
    nearest = _prefiltered(bags, at, among, max(PREFILTER, 10 * rules.k))
    scores = similarities(bags, at, rules.method, nearest) if len(nearest) else np.zeros(0)
    order = np.argsort(-scores, kind="stable")[: rules.k]
    labels, _ = labels_of(items, wholes, label_column(items, rules.label))
    hits = []
    for rank, place in enumerate(order, start=1):
        other = int(nearest[place])
        whole, n_tiles = wholes[other], len(wholes[other].rows)
        part = bags.of(other)
        pairs = _pairs(index, matched_pairs(bags, at, other, N_PAIRS))
        facts = (rank, float(scores[place]), whole.name, whole.group, labels[other])
        hits.append(WholeHit(*facts, n_tiles, part.stop - part.start, pairs))
    asked: dict[str, Any] = {"level": level, "name": wholes[at].name, "label": labels[at]}
    asked |= {"compared": len(nearest), **{key: value for key, value in vars(rules).items() if value is not None}}
    return WholeHits(tuple(hits), index.root, asked)


def open_bags(index: Index, level: Level, rules: WholeRules) -> tuple[list[Whole], Bags]:
    """The slides or cases of an archive and their representatives, kept in its folder unless a filter holds."""
    wholes = wholes_of(index.rows.items, level, index.allowed(rules.where))
    kept = None
    if rules.where is None:
        kept = kept_at(index.path, index.rows.version, level, rules.representatives)
    return wholes, bags_of(index.rows, wholes, level, rules.representatives, kept)


def _prefiltered(bags: Bags, query: int, among: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Those of nearest mean embeddings, in their own order."""
    if len(among) <= most:
        return among
    scores = similarities(bags, query, "mean", among)
    return np.sort(among[np.argsort(-scores, kind="stable")[:most]])


def _may_answer(whole: Whole, query: Whole, rules: WholeRules) -> bool:
    return whole.name != query.name and not (rules.exclude_group and whole.group == query.group)


def _find(wholes: list[Whole], name: str, level: Level) -> int:
    names = [whole.name for whole in wholes]
    if name in names:
        return names.index(name)
    close = get_close_matches(name, names, n=3, cutoff=0.4) or names[:3]
    raise InputError(f"the archive holds no {level} {name!r}; it holds {', '.join(close)}, …")


def _pairs(index: Index, found: list[tuple[int, int, float]]) -> tuple[Pair, ...]:
    rows = [row for pair in found for row in pair[:2]]
    tiles = [item_of(row) for row in index.rows.items.take(rows).to_pylist()]
    return tuple(Pair(tiles[2 * at], tiles[2 * at + 1], score) for at, (_, _, score) in enumerate(found))


def _row(hit: WholeHit) -> dict[str, Any]:
    pairs = [{"query": pair.query.id, "hit": pair.hit.id, "score": round(pair.score, 6)} for pair in hit.pairs]
    facts = {name: getattr(hit, name) for name in ("name", "label", "group", "n_tiles", "n_representatives")}
    return {"rank": hit.rank, "score": round(hit.score, 6), **facts, "pairs": pairs}
