"""Hits in place: neighbouring tiles of a slide as one region, and the files in which QuPath opens them."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histoseek.errors import InputError, needs_extra
from histoseek.items import Box, written_whole

if TYPE_CHECKING:
    from histoseek.index.hits import Hit

GAP = 0.5
"""Tiles that lie less than this part of their side apart count as neighbours."""

UNLABELLED = "Histoseek hit"
_COLOURS = ((0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (213, 94, 0), (240, 228, 66))
"""Okabe and Ito's palette, which colour-blind people tell apart; labels take its colours in alphabetical order."""


@dataclass(frozen=True)
class HitRegion:
    """Hits of a slide that touch each other.

    `shape` is their outline (a shapely shape in level-0 pixels) and `box` what encloses it; `score` is that of the best
    hit; `label` the most frequent one, None without labels; `area_mm2` None when the scale is unknown.
    """

    slide: str
    path: str
    box: Box
    shape: Any
    hits: tuple[Hit, ...]
    score: float
    mean_score: float
    label: str | None
    area_mm2: float | None


def merge_hits(hits: Iterable[Hit]) -> list[HitRegion]:
    """Merge hits that touch, overlap or lie within half a tile of each other on one slide; best region first.

    Raises:
        MissingExtraError: the extra `slides` is not installed.
    """
    by_slide: dict[str, list[Hit]] = {}
    for hit in hits:
        if hit.item.box is not None:
            by_slide.setdefault(hit.item.path, []).append(hit)
    regions = [_region(part) for found in by_slide.values() for part in _touching(found)]
    return sorted(regions, key=lambda region: (-region.score, region.path, region.box))


def write_geojson(hits: Sequence[Hit], folder: str | Path) -> list[Path]:
    """Write hits for QuPath, one GeoJSON file a slide: each region an annotation, each tile a detection inside it.

    The file of `a.svs` is `a.hits.geojson`. Coordinates are level-0 pixels, polygons are laid out as in RFC 7946, and
    an object's id is a UUID made of its slide and place, the same in every export.

    Raises:
        InputError: no hit lies on a slide.
    """
    by_slide: dict[str, list[HitRegion]] = {}
    for region in merge_hits(hits):
        by_slide.setdefault(region.path, []).append(region)
    if not by_slide:
        raise InputError(
            "none of the hits lies on a slide, so there is nothing to show in QuPath; write them with --csv"
        )
    names = _file_names(list(by_slide))
    labels = sorted({hit.item.label or UNLABELLED for found in by_slide.values() for one in found for hit in one.hits})
    colours = {label: _COLOURS[at % len(_COLOURS)] for at, label in enumerate(labels)}
    written = []
    for path, regions in sorted(by_slide.items()):
        features = [feature for region in regions for feature in features_of(region, colours)]
        target = Path(folder) / names[path]
        with written_whole(target) as draft:
            draft.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")
        written.append(target)
    return written


def _file_names(paths: Sequence[str]) -> dict[str, str]:
    """A file name for each slide: its own, and where several have it (in any case), a mark of its folder behind.

    `.hits` keeps them apart from annotations that somebody drew, which have the slide's name alone.
    """
    stems = Counter(Path(path).stem.casefold() for path in paths)
    marks = {path: "" if stems[Path(path).stem.casefold()] == 1 else f"-{_uuid(path)[:8]}" for path in paths}
    return {path: f"{Path(path).stem}{marks[path]}.hits.geojson" for path in paths}


def _touching(hits: list[Hit]) -> list[list[Hit]]:
    """Divide the hits of one slide into groups of neighbours."""
    with needs_extra("slides"):
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components
    boxes = np.array([hit.item.box for hit in hits], dtype=np.float64)
    gap = GAP * boxes[:, 2:].min(axis=1)
    near = [_near(boxes, at, gap) for at in range(len(boxes))]
    rows = np.repeat(np.arange(len(boxes)), [len(found) for found in near])
    links = coo_array((np.ones(len(rows)), (rows, np.concatenate(near))), shape=(len(boxes),) * 2)
    n_parts, part_of = connected_components(links, directed=False)
    return [[hits[at] for at in np.flatnonzero(part_of == part)] for part in range(n_parts)]


def _near(boxes: NDArray[np.float64], at: int, gap: NDArray[np.float64]) -> NDArray[np.int64]:
    x, y, width, height = boxes[at]
    reach = np.minimum(gap, gap[at])
    across = np.maximum(boxes[:, 0] - (x + width), x - (boxes[:, 0] + boxes[:, 2])) <= reach
    down = np.maximum(boxes[:, 1] - (y + height), y - (boxes[:, 1] + boxes[:, 3])) <= reach
    return np.flatnonzero(across & down)


def _region(hits: list[Hit]) -> HitRegion:
    import shapely

    boxes = np.array([hit.item.box for hit in hits], dtype=np.float64)
    x0, y0, x1, y1 = boxes[:, 0], boxes[:, 1], boxes[:, 0] + boxes[:, 2], boxes[:, 1] + boxes[:, 3]
    shape = shapely.union_all(shapely.box(x0, y0, x1, y1))
    left, top = int(x0.min()), int(y0.min())
    labels = Counter(hit.item.label for hit in hits if hit.item.label is not None)
    best = max(hits, key=lambda hit: hit.score)
    mpp = best.item.mpp
    return HitRegion(
        slide=best.item.slide or Path(best.item.path).stem,
        path=best.item.path,
        box=Box(left, top, int(x1.max()) - left, int(y1.max()) - top),
        shape=shape,
        hits=tuple(sorted(hits, key=lambda hit: hit.rank)),
        score=best.score,
        mean_score=float(np.mean([hit.score for hit in hits])),
        label=max(labels, key=lambda name: (labels[name], name == best.item.label)) if labels else None,
        area_mm2=None if mpp is None else float(shape.area) * mpp * mpp / 1e6,
    )


def features_of(region: HitRegion, colours: Mapping[str, tuple[int, int, int]]) -> list[dict[str, Any]]:
    """A region as GeoJSON features: its outline as an annotation, then each tile as a detection; colours by label."""
    import shapely

    numbers = {"Best score": region.score, "Mean score": region.mean_score, "Tiles": len(region.hits)}
    if region.area_mm2 is not None:
        numbers["Area mm2"] = region.area_mm2
    ranks = f"hits {', '.join(str(hit.rank) for hit in region.hits[:5])}{', …' if len(region.hits) > 5 else ''}"
    extra = region.hits[0].item.extra
    corner = (float(extra.get("origin_x") or 0), float(extra.get("origin_y") or 0))  # from which QuPath counts
    outline = shapely.orient_polygons(_moved(region.shape, corner))  # RFC 7946, 3.1.6: outer rings run counterclockwise
    features = [_feature(region.path, outline, "annotation", region.label, numbers)]
    features[0]["properties"]["name"] = ranks
    for hit in region.hits:
        x, y, width, height = hit.item.box or region.box
        numbers = {"Score": hit.score, "Rank": hit.rank}
        tile = _moved(shapely.box(x, y, x + width, y + height), corner)
        features.append(_feature(region.path, tile, "detection", hit.item.label, numbers))
    for feature in features:
        label = feature["properties"]["classification"]
        label["color"] = list(colours.get(label["name"], _COLOURS[0]))
    return features


def _moved(shape: Any, corner: tuple[float, float]) -> Any:
    import shapely

    return shape if corner == (0, 0) else shapely.transform(shape, lambda points: points - corner)


def _feature(path: str, shape: Any, kind: str, label: str | None, numbers: Mapping[str, float]) -> dict[str, Any]:
    import shapely

    geometry = shapely.geometry.mapping(shape)
    return {
        "type": "Feature",
        "id": _uuid(json.dumps([path, kind, geometry["coordinates"]])),
        "geometry": geometry,
        "properties": {
            "objectType": kind,
            "classification": {"name": label or UNLABELLED},
            "measurements": {name: round(float(value), 6) for name, value in numbers.items()},
        },
    }


def _uuid(text: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"histoseek:{text}"))
