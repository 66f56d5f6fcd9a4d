"""Picture strips of the report: the best and the worst queries with what they found, as data: URIs."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from histoseek.figures.pictures import fitted, inside, measure
from histoseek.items import Box

THUMBNAIL = 112
"""Longer side of a thumbnail in pixels."""
EACH = 6
HITS = 8
COLUMNS = ("id", "path", "box", "label", "group", "hit_ids", "hit_paths", "hit_boxes", "hit_labels", "hit_scores")


@dataclass(frozen=True)
class Cell:
    """One picture of a strip; `uri` is empty when it cannot be shown, `right` None for the query itself."""

    uri: str
    label: str
    right: bool | None
    score: str = ""
    id: str = ""


@dataclass(frozen=True)
class Strip:
    """A query and its first hits."""

    query: Cell
    hits: tuple[Cell, ...]
    figure: str
    group: str


class Thumbnails:
    """Thumbnails under one root as data: URIs, each read once; notes whether one says that it is synthetic."""

    def __init__(self, root: Path | None) -> None:
        self._root = root
        self._kept: dict[tuple[str, Box | None], str] = {}
        self.synthetic = False

    def uri(self, path: str | None, box: Sequence[int] | None) -> str:
        """The picture as a data: URI, "" when there is none to show."""
        if self._root is None or not path:
            return ""
        key = (path, Box(*box) if box is not None and len(box) == 4 else None)
        if key not in self._kept:
            self._kept[key] = self._made(self._root, *key)
        return self._kept[key]

    def _made(self, root: Path, path: str, box: Box | None) -> str:
        source = inside(root, path)
        picture = measure(source, box) if source else None
        if picture is None or picture.trouble or min(picture.width, picture.height) < 1:
            return ""
        image = picture.read(fitted(picture.width, picture.height, THUMBNAIL))
        if image is None:
            return ""
        self.synthetic = self.synthetic or picture.synthetic
        file = io.BytesIO()
        image.save(file, "JPEG", quality=80)
        return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def extremes(figures: Sequence[Any], ids: Sequence[str], each: int = EACH) -> tuple[list[int], list[int]]:
    """Rows of the best and of the worst queries by their figure, then by id; no row is in both."""
    rows = [row for row, value in enumerate(figures) if value is not None and math.isfinite(value)]
    n_best = min(each, (len(rows) + 1) // 2)
    best = sorted(rows, key=lambda row: (-figures[row], ids[row]))[:n_best]
    rest = [row for row in rows if row not in set(best)]
    return best, sorted(rest, key=lambda row: (figures[row], ids[row]))[:each]


def strip_of(
    row: Mapping[str, Any], figure: str, asked: Thumbnails, thumbnails: Thumbnails, boxes: Mapping[str, Any]
) -> Strip:
    """The strip of one row of the per-query table: `asked` has the queries' pictures, `boxes` the hits' boxes."""
    label = row.get("label")
    query = Cell(asked.uri(row.get("path"), row.get("box")), _said(label), None, id=str(row.get("id", "")))
    paths, labels, scores = ((row.get(name) or [])[:HITS] for name in ("hit_paths", "hit_labels", "hit_scores"))
    ids, given = (row.get("hit_ids") or [])[:HITS], row.get("hit_boxes") or []
    cells = []
    for at, path in enumerate(paths):
        key = str(ids[at]) if at < len(ids) else ""
        box = given[at] if at < len(given) else boxes.get(key)
        found = labels[at] if at < len(labels) else None
        score = f"{scores[at]:.3f}" if at < len(scores) and scores[at] is not None else ""
        right = found is not None and found == label
        cells.append(Cell(thumbnails.uri(path, box), _said(found), right, score, key))
    return Strip(query, tuple(cells), figure, str(row.get("group") or ""))


def _said(label: Any) -> str:
    return "no label" if label is None else str(label)
