"""Hits: what a search found, best first."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from histoseek.errors import InputError
from histoseek.items import Item, Value, inside_root, item_of, written_whole

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

    from histoseek.index.regions import HitRegion


_BOX = ("box_x", "box_y", "box_width", "box_height")
SHEET_SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True, slots=True)
class Hit:
    """One item found: `rank` from 1, `score` the cosine with the query."""

    rank: int
    score: float
    item: Item


def ranked(rows: Iterable[Mapping[str, Any]], scores: Iterable[float]) -> tuple[Hit, ...]:
    """Hits from the columns of items and their scores, best first."""
    found = enumerate(zip(rows, scores, strict=True), 1)
    return tuple(Hit(rank, float(score), item_of(row)) for rank, (row, score) in found)


@dataclass(frozen=True)
class Vote:
    """How the hits vote on a label: per label the number of hits and of distinct groups.

    `label` has the most hits; between equals the one whose best hit ranks higher wins. It is None without labels.
    """

    label: str | None
    counts: Mapping[str, int]
    groups: Mapping[str, int]


@dataclass(frozen=True)
class Hits(Sequence[Hit]):
    """Hits in rank order, with the root that their paths start from and what was asked."""

    hits: tuple[Hit, ...]
    root: Path
    query: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.hits)

    @overload
    def __getitem__(self, at: int) -> Hit: ...

    @overload
    def __getitem__(self, at: slice) -> Hits: ...

    def __getitem__(self, at: int | slice) -> Hit | Hits:
        if isinstance(at, slice):
            return Hits(self.hits[at], self.root, self.query)
        return self.hits[at]

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def path_of(self, hit: Hit) -> Path:
        """Where the image of a hit lies; raises `InputError` when its path leads out of the root."""
        return inside_root(self.root, hit.item)

    def rows(self) -> list[dict[str, Any]]:
        """One plain dictionary a hit: rank, score and every column of its item."""
        return [_row(hit) for hit in self.hits]

    def vote(self) -> Vote:
        """Count labels among the hits; hits without a label have no voice."""
        labels = [hit.item.label for hit in self.hits if hit.item.label is not None]
        counts = Counter(labels)
        pairs = {(hit.item.label, hit.item.group) for hit in self.hits if hit.item.label is not None}
        groups = Counter(label for label, _ in pairs if label is not None)
        best = max(counts, key=lambda label: (counts[label], -labels.index(label)), default=None)
        return Vote(best, dict(counts.most_common()), dict(groups))

    def to_pandas(self) -> pd.DataFrame:
        """The rows as a pandas table; needs pandas, which a plain install leaves out."""
        import pandas

        return pandas.DataFrame(self.rows())

    def to_json(self, path: str | Path | None = None) -> str:
        """One JSON object with the query and the hits; written to `path` too when given."""
        text = json.dumps({"query": dict(self.query), "hits": self.rows()}, indent=1, ensure_ascii=False, default=str)
        return written(text, path)

    def to_csv(self, path: str | Path | None = None) -> str:
        """The rows as CSV with a header; written to `path` too when given."""
        rows = [_flat(row) for row in self.rows()]
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else ["rank", "score", "id"])
        writer.writeheader()
        writer.writerows(rows)
        return written(text.getvalue(), path)

    def regions(self) -> list[HitRegion]:
        """Hits on slides, neighbours merged; see `histoseek.index.regions.merge_hits`."""
        from histoseek.index.regions import merge_hits

        return merge_hits(self.hits)

    def to_geojson(self, folder: str | Path) -> list[Path]:
        """Write the hits for QuPath, one file a slide; see `histoseek.index.regions.write_geojson`."""
        from histoseek.index.regions import write_geojson

        return write_geojson(self.hits, folder)

    def sheet(
        self,
        path: str | Path | None = None,
        query: str | Path | Image.Image | Item | None = None,
        mpp: float | None = None,
    ) -> Image.Image:
        """Draw the hits as a contact sheet, the query first when given; saved to `path` too when given.

        A query picture has the scale `mpp`, unless None, else that of its file; an `Item` has its own box and scale.
        """
        from histoseek.figures.sheet import draw_sheet

        return drawn(lambda: draw_sheet(self, query, mpp), path)


def _row(hit: Hit) -> dict[str, Any]:
    item = hit.item
    row: dict[str, Any] = {"rank": hit.rank, "score": round(hit.score, 6)}
    for name in ("id", "label", "group", "slide", "case", "split", "fold", "path", "mpp", "width", "height", "dataset"):
        row[name] = getattr(item, name)
    row["box"] = list(item.box) if item.box else None
    return row | {"caption": item.caption} | {name: _finite(value) for name, value in item.extra.items()}


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """The box as four columns, named as in a manifest."""
    sides = dict(zip(_BOX, row["box"] or [None] * 4, strict=True))
    return {name: value for name, value in row.items() if name != "box"} | sides


def _finite(value: Value) -> Value:
    """JSON knows no NaN and no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def written(text: str, path: str | Path | None) -> str:
    """Give a text back, and write it to `path` too when given."""
    if path is not None:
        with written_whole(path) as draft:
            draft.write_text(text, encoding="utf-8")
    return text


def drawn(draw: Callable[[], Image.Image], path: str | Path | None) -> Image.Image:
    """Draw a picture, and save it to `path` too when given; raises `InputError` for a file that is no picture's."""
    if path is not None and Path(path).suffix.lower() not in SHEET_SUFFIXES:
        raise InputError(f"the sheet cannot be drawn into {path}; name a file that ends in .png or .jpg")
    picture = draw()
    if path is not None:
        with written_whole(path) as draft:
            picture.save(draft)
    return picture
