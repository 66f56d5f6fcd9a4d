"""Annotations drawn on slides: QuPath GeoJSON and Aperio ImageScope XML become labelled outlines of tissue."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from histoseek.errors import InputError, needs_extra

SUFFIXES = (".geojson", ".json", ".xml")
MOST_BYTES = 512 * 1024 * 1024
_BACH = {"nign": "Benign", "situ": "InSitu", "vasive": "Invasive"}
_RECTANGLE, _ELLIPSE = "1", "2"


@dataclass(frozen=True)
class Annotation:
    """An outline in level-0 pixels (a shapely polygon or multipolygon) with its label, None without one."""

    label: str | None
    shape: Any


def find_annotations(slide_path: Path, folder: Path | None) -> Path | None:
    """The annotation file of a slide: its stem with .geojson, .json or .xml, beside it or in `folder`."""
    home = slide_path.parent if folder is None else folder
    candidates = [home / f"{slide_path.stem}{suffix}" for suffix in SUFFIXES]
    return next((path for path in candidates if path.is_file() and _is_annotation(path)), None)


def explain_qpdata(slide_path: Path, folder: Path | None) -> str | None:
    """What to do about annotations that are only there as QuPath's own `.qpdata`; None when there are none."""
    home = slide_path.parent if folder is None else folder
    found = home / f"{slide_path.stem}.qpdata"
    if not found.is_file() or find_annotations(slide_path, folder) is not None:
        return None
    return (
        f"{found.name} is QuPath's binary format and is not read; in QuPath run the script "
        f"exportObjectsToGeoJson(PathIO.readHierarchy(new File('{found.name}')).getAnnotationObjects(), "
        f"'{slide_path.stem}.geojson', 'FEATURE_COLLECTION') and put the file beside it"
    )


def read_annotations(path: str | Path, spelling: Literal["as-written", "bach"] = "as-written") -> list[Annotation]:
    """Read the areas of an annotation file in its order; points and lines have no area and are passed over.

    The label is QuPath's classification, else the object's name; in ImageScope's files the value of the region's first
    attribute (as in BACH A01), else the region's text (A02–A10), else the name of its layer. `spelling` "bach" makes
    Benign, InSitu and Invasive of that set's ways to write them. Outlines that cross themselves are repaired.

    Raises:
        InputError: the file is neither, or is broken.
        MissingExtraError: the extra `slides` is not installed.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(f"there is no annotation file {source}")
    if source.stat().st_size > MOST_BYTES:
        raise InputError(f"{source} is larger than {MOST_BYTES >> 20} MB; export fewer objects")
    try:
        pairs = _aperio(source) if source.suffix.lower() == ".xml" else _geojson(source)
        respelt = _bach_label if spelling == "bach" else _as_written
        return [Annotation(respelt(label), shape) for label, shape in pairs if shape is not None and not shape.is_empty]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(f"{source} is no GeoJSON or ImageScope annotation that can be read ({reason})") from error


def read_polygon(path: str | Path) -> Any:
    """The area that the outlines of a GeoJSON or ImageScope file cover together, as a shapely shape.

    Raises:
        InputError: the file cannot be read, or has no area.
    """
    with needs_extra("slides"):
        import shapely
    shapes = [annotation.shape for annotation in read_annotations(path)]
    if not shapes:
        raise InputError(f"{path} holds no polygon; export an area, not points or lines")
    return shapely.union_all(shapes)


def label_tiles(boxes: NDArray[np.int64], annotations: Sequence[Annotation], cover: float) -> list[str | None]:
    """Labels of tiles `[T, 4]` (x, y, width, height): the one whose outlines together cover most of the tile.

    A tile gets it if that part is at least `cover` of the tile; of equal parts the label that comes first in the
    file counts.
    """
    labels: list[str | None] = [None] * len(boxes)
    labelled = [one for one in annotations if one.label is not None]
    if not labelled or not len(boxes):
        return labels
    with needs_extra("slides"):
        import shapely
    x, y, width, height = np.asarray(boxes, dtype=float).T
    tiles = shapely.box(x, y, x + width, y + height)
    best = np.full(len(boxes), -1.0)
    for label in dict.fromkeys(one.label for one in labelled):
        shape = shapely.union_all([one.shape for one in labelled if one.label == label])
        parts = shapely.get_parts(shape)
        at, part = shapely.STRtree(tiles).query(parts, predicate="intersects")[::-1]
        shares = np.zeros(len(boxes))
        np.add.at(shares, at, shapely.area(shapely.intersection(tiles[at], parts[part])))
        shares /= width * height
        for tile in np.flatnonzero((shares >= cover - 1e-9) & (shares > best + 1e-9)):
            labels[tile] = label
        best = np.maximum(best, shares)
    return labels


def _as_written(label: str | None) -> str | None:
    return label or None


def _bach_label(label: str | None) -> str | None:
    """By a part of the word, as the files spell it in several ways and with slips."""
    low = (label or "").lower()
    return next((name for part, name in _BACH.items() if part in low), label or None)


def _is_annotation(path: Path) -> bool:
    """Whether a .json or .xml beside a slide is one of annotations: scanners leave others of the same name."""
    if path.suffix.lower() == ".geojson":
        return True
    with path.open("rb") as stream:
        head = stream.read(4096)
    mark = b"<Annotations" if path.suffix.lower() == ".xml" else b'"geometry"'
    return mark in head or (path.suffix.lower() == ".json" and b"FeatureCollection" in head)


def _geojson(source: Path) -> Iterator[tuple[str | None, Any]]:
    import shapely.geometry

    content = json.loads(source.read_text(encoding="utf-8-sig"))
    features = content.get("features", [content]) if isinstance(content, dict) else content
    for feature in features:
        geometry = feature.get("geometry", feature)
        if geometry is None or geometry["type"] not in ("Polygon", "MultiPolygon", "GeometryCollection"):
            continue
        yield _qupath_label(feature.get("properties") or {}), _repaired(shapely.geometry.shape(geometry))


def _qupath_label(properties: dict[str, Any]) -> str | None:
    kind = properties.get("classification")
    if isinstance(kind, dict):
        names = kind.get("names")
        kind = kind.get("name") or (": ".join(names) if isinstance(names, list) else None)
    label = kind if isinstance(kind, str) and kind.strip() else properties.get("name")
    return label.strip() if isinstance(label, str) else None


def _aperio(source: Path) -> Iterator[tuple[str | None, Any]]:
    with needs_extra("slides"):
        from defusedxml import ElementTree
    try:
        root = ElementTree.parse(source).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(str(error)) from error
    if root.tag != "Annotations":
        raise ValueError(f"its root is <{root.tag}>, not <Annotations>")
    for layer in root.iter("Annotation"):
        solid: list[tuple[str | None, Any]] = []
        holes: list[Any] = []
        for region in layer.iter("Region"):
            shape = _aperio_shape(region)
            if shape is None:
                continue
            if region.get("NegativeROA") == "1":
                holes.append(shape)
            else:
                solid.append((_aperio_label(region, layer), shape))
        for label, shape in solid:
            for hole in holes:
                shape = shape.difference(hole)
            yield label, shape


def _aperio_label(region: Any, layer: Any) -> str | None:
    values = [node.get("Value", "") for node in region.iter("Attribute")]
    stated = (*values, region.get("Text", ""), layer.get("Name", ""))
    return next((text.strip() for text in stated if text and text.strip()), None)


def _aperio_shape(region: Any) -> Any:
    import shapely
    from shapely import affinity

    points = [(float(vertex.get("X")), float(vertex.get("Y"))) for vertex in region.iter("Vertex")]
    if region.get("Type") in (_RECTANGLE, _ELLIPSE) and len(points) >= 2:
        x, y = (tuple(sorted((min(axis), max(axis)))) for axis in zip(*points, strict=True))
        if region.get("Type") == _RECTANGLE and len(points) == 2:
            return shapely.box(x[0], y[0], x[1], y[1])
        if region.get("Type") == _ELLIPSE:
            circle = shapely.Point((x[0] + x[1]) / 2, (y[0] + y[1]) / 2).buffer(1, quad_segs=32)
            return affinity.scale(circle, (x[1] - x[0]) / 2, (y[1] - y[0]) / 2)
    return _repaired(shapely.Polygon(points)) if len(points) >= 3 else None


def _repaired(shape: Any) -> Any:
    """The polygons of a shape, made valid; None when nothing of it has an area."""
    import shapely

    if not shape.is_valid:
        shape = shapely.make_valid(shape)
    parts = [part for part in shapely.get_parts(shape) if part.geom_type in ("Polygon", "MultiPolygon") and part.area]
    return shapely.union_all(parts) if parts else None
