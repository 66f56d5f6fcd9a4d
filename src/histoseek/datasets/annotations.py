"""Annotations of slides: QuPath's GeoJSON and Aperio ImageScope's XML, and the labels that they give to tiles."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from histoseek.errors import InputError, needs_extra
from histoseek.imaging import origin_of

with needs_extra("slides"):
    import shapely
    from defusedxml import ElementTree

MAX_BYTES = 256 * 1024 * 1024
"""Larger files are refused: parsed, they take about ten times their size in memory."""

MAX_DEPTH = 8
"""Lists and collections inside one another that a GeoJSON file may have."""

_HEAD_BYTES = 65_536
_GEOJSON_HEAD = re.compile(rb'"type"\s*:\s*"(Feature|FeatureCollection|Polygon|MultiPolygon|GeometryCollection)"')
_APERIO_HEAD = re.compile(rb"\s*(?:<\?xml[^>]*\?>\s*)?(?:<!--.*?-->\s*)*<Annotations[\s/>]", re.DOTALL)
_GEOMETRIES = ("Polygon", "MultiPolygon", "GeometryCollection", "Point", "MultiPoint", "LineString", "MultiLineString")
_BACH = {"nign": "Benign", "situ": "InSitu", "vasive": "Invasive"}
_MALFORMED = (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, shapely.errors.ShapelyError)
"""What coordinates of the wrong kind, number or size raise."""

_RECTANGLE, _ELLIPSE = "1", "2"
_ELLIPSE_POINTS = 128


@dataclass(frozen=True)
class Annotation:
    """An area somebody drew on a slide: its label, and its shape (a polygon or several) in level-0 pixels."""

    label: str | None
    shape: Any
    name: str = ""


@dataclass(frozen=True)
class Naming:
    """How far a slide's name alone tells which annotation file is its own.

    `parent` is the slide's folder inside the dataset; no other slide of the dataset, or of that folder, has its stem
    where it `is_alone`, or `is_alone_in_folder`.
    """

    parent: str = ""
    is_alone: bool = True
    is_alone_in_folder: bool = True


ALONE = Naming()


def find_annotations(slide_path: Path, folder: Path | None, naming: Naming = ALONE) -> Path | None:
    """The annotation file of a slide, in `folder` or else beside it; None when there is none.

    It has the slide's name, with or without its suffix, and ends in .geojson, .json (if it is GeoJSON) or .xml (if it
    is Aperio's).
    """
    for place in _named_like(slide_path, folder, (".geojson", ".json", ".xml"), naming):
        if place.suffix == ".geojson" or _looks_right(place):
            return place
    return None


def explain_qpdata(slide_path: Path, folder: Path | None, naming: Naming = ALONE) -> str | None:
    """What to do when a slide has only a .qpdata file, which is QuPath's own; None when there is none, or no need."""
    if find_annotations(slide_path, folder, naming) is not None:
        return None
    found = next(_named_like(slide_path, folder, (".qpdata",), naming), None)
    if found is None:
        return None
    source, target = (str(path.as_posix()).replace("'", r"\'") for path in (found, found.with_suffix(".geojson")))
    return (
        f"{found} holds annotations in QuPath's binary format, which cannot be read here; run this line in QuPath's "
        f"script editor, which writes them as GeoJSON, and prepare again: exportObjectsToGeoJson("
        f"qupath.lib.io.PathIO.readHierarchy(new File('{source}')).getAnnotationObjects(), '{target}', "
        "'FEATURE_COLLECTION')"
    )


def read_annotations(path: Path, spelling: Literal["as-written", "bach"] = "as-written") -> list[Annotation]:
    """Read the areas of a QuPath GeoJSON or Aperio ImageScope XML file, in the order of the file.

    Points and lines are passed over, and outlines that cross themselves are repaired. A label is QuPath's
    classification, else the object's name; in Aperio's files the region's attribute (as in BACH A01), else its text
    (A02–A10), else the name of its layer. `spelling` "bach" makes Benign, InSitu and Invasive of that set's several
    ways to write them.

    Raises:
        InputError: no such file, or it is neither, is broken, or is larger than `MAX_BYTES`.
    """
    content = _content(path)
    read = _read_aperio(content, path) if path.suffix.lower() == ".xml" else _read_geojson(content, path)
    return read if spelling == "as-written" else [replace(one, label=_bach_label(one.label)) for one in read]


def placed(annotations: Sequence[Annotation], path: Path, slide_path: Path) -> list[Annotation]:
    """Annotations of a file `path` where they lie on their slide.

    QuPath counts from the corner of what was scanned, where a slide states that (MIRAX, for one); we count, as
    OpenSlide does, from the corner of the whole.
    """
    corner = np.array(origin_of(slide_path) if path.suffix.lower() in (".geojson", ".json") else (0, 0))
    if not corner.any():
        return list(annotations)
    return [replace(one, shape=shapely.transform(one.shape, lambda points: points + corner)) for one in annotations]


def read_polygon(path: Path, slide_path: Path) -> Any:
    """One shape (a polygon or several) in level-0 pixels of a slide: all areas of an annotation file together.

    Raises:
        InputError: as `read_annotations`, or the file holds no area.
    """
    shapes = [one.shape for one in placed(read_annotations(path), path, slide_path)]
    if not shapes:
        raise InputError(f"{path} holds no polygon with an area; draw one in QuPath and export it as GeoJSON")
    return shapely.union_all(shapes)


def label_tiles(boxes: NDArray[np.int64], annotations: Sequence[Annotation], cover: float) -> list[str | None]:
    """The label of each tile of `boxes` `[T, 4]` (x, y, width, height in level-0 pixels), None without one.

    A tile takes the label whose annotations together cover the largest part of it, if that part is at least `cover` of
    the tile's area. Between equals, the label that comes first among the annotations wins.

    Raises:
        InputError: `cover` is not above 0 and at most 1.
    """
    if not 0 < cover <= 1:
        raise InputError(f"the part of a tile that an annotation must cover is above 0 and at most 1, not {cover}")
    named = [one for one in annotations if one.label is not None]
    if not len(boxes) or not named:
        return [None] * len(boxes)
    labels = list(dict.fromkeys(one.label for one in named))
    number = {label: at for at, label in enumerate(labels)}
    of_shape = np.array([number[one.label] for one in named])
    x, y, width, height = np.asarray(boxes, dtype=float).T
    tiles = shapely.box(x, y, x + width, y + height)
    tile, label, area = _covered(tiles, np.array([one.shape for one in named], dtype=object), of_shape)
    share = np.round(area / (width * height)[tile], 9)  # rounded, so that equals are equal
    order = np.lexsort((label, -share, tile))
    first = order[np.unique(tile[order], return_index=True)[1]]
    chosen: list[str | None] = [None] * len(boxes)
    for at in first[share[first] >= round(cover, 9)]:
        chosen[tile[at]] = labels[label[at]]
    return chosen


def touched_tiles(boxes: NDArray[np.int64], annotations: Sequence[Annotation]) -> NDArray[np.bool_]:
    """Which tiles of `boxes` `[T, 4]` share any area with an annotation, labelled or not, `[T]`."""
    x, y, width, height = np.asarray(boxes, dtype=float).T
    tiles = shapely.box(x, y, x + width, y + height)
    touched = np.zeros(len(boxes), dtype=bool)
    if annotations and len(boxes):
        shape, tile = shapely.STRtree(tiles).query([one.shape for one in annotations], predicate="intersects")
        shapes = np.array([one.shape for one in annotations], dtype=object)
        touched[tile[~shapely.touches(tiles[tile], shapes[shape])]] = True
    return touched


def _bach_label(label: str | None) -> str | None:
    """By a part of the word: the files hold several spellings and slips."""
    low = (label or "").lower()
    return next((name for part, name in _BACH.items() if part in low), label)


def _covered(
    tiles: NDArray[Any], shapes: NDArray[Any], of_shape: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """For each tile and label that meet: the tile, the label and the area, counted once where shapes overlap."""
    tree = shapely.STRtree(tiles)
    n_labels = int(of_shape.max()) + 1
    shape, tile = tree.query(shapes, predicate="covers")
    whole = np.unique(tile * n_labels + of_shape[shape])
    shape, tile = tree.query(shapes, predicate="intersects")
    meeting = tile * n_labels + of_shape[shape]
    rest = np.flatnonzero(~np.isin(meeting, whole))  # cutting is what costs, and most tiles lie inside
    rest = rest[np.argsort(meeting[rest], kind="stable")]
    pieces = shapely.intersection(tiles[tile[rest]], shapes[shape[rest]])
    partly, starts, counts = np.unique(meeting[rest], return_index=True, return_counts=True)
    area = np.add.reduceat(shapely.area(pieces), starts) if len(rest) else np.zeros(0)
    for at in np.flatnonzero(counts > 1):
        area[at] = shapely.area(shapely.union_all(pieces[starts[at] : starts[at] + counts[at]]))
    pairs = np.concatenate([whole, partly])
    return pairs // n_labels, pairs % n_labels, np.concatenate([shapely.area(tiles[whole // n_labels]), area])


def _named_like(slide_path: Path, folder: Path | None, suffixes: Sequence[str], naming: Naming) -> Iterator[Path]:
    """Files with a slide's name that exist; those in `folder` first, as somebody named it."""
    places: dict[Path, bool] = {}
    if folder is not None:
        places[folder / naming.parent] = naming.is_alone_in_folder
        places.setdefault(folder, naming.is_alone)
    places.setdefault(slide_path.parent, naming.is_alone_in_folder)
    for place, by_stem in places.items():
        for suffix in suffixes:
            for name in (slide_path.stem, slide_path.name) if by_stem else (slide_path.name,):
                if (place / f"{name}{suffix}").is_file():
                    yield place / f"{name}{suffix}"


def _looks_right(path: Path) -> bool:
    """Whether a .json is GeoJSON, or an .xml is Aperio's: both endings are used for much else."""
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES).replace(b"\0", b"")  # without zeros UTF-16 reads as ASCII
    except OSError:
        return False
    if path.suffix == ".json":
        return _GEOJSON_HEAD.search(head) is not None
    return _APERIO_HEAD.match(head.lstrip(b"\xef\xbb\xbf\xff\xfe")) is not None


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(
                f"{path} has {size / 1e6:.0f} MB, and annotation files of more than {MAX_BYTES / 1e6:.0f} MB are not "
                "read; export the annotations without cells and measurements"
            )
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"the annotations {path} cannot be read: {error.strerror}") from error


def _read_geojson(content: bytes, path: Path) -> list[Annotation]:
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no GeoJSON: {error}; export it from QuPath again") from error
    features = list(_features(data, path))
    read = []
    for number, feature in enumerate(features, 1):
        try:
            shape = _only_areas(_geometry_of(feature.get("geometry")))
        except _MALFORMED as error:
            raise InputError(f"{path}, feature {number}: its coordinates cannot be read ({error})") from error
        if shape is not None:
            read.append(_qupath_annotation(feature.get("properties"), shape))
    return read


def _features(data: Any, path: Path, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """The features of a collection, of a list, or the one; a bare geometry is a feature without properties."""
    kind = data.get("type") if isinstance(data, dict) else None
    if isinstance(data, list) and depth < MAX_DEPTH:
        for one in data:
            yield from _features(one, path, depth + 1)
    elif kind == "FeatureCollection" and isinstance(data.get("features"), list) and depth < MAX_DEPTH:
        yield from _features(data["features"], path, depth + 1)
    elif kind == "Feature":
        yield data
    elif kind in _GEOMETRIES:
        yield {"geometry": data}
    else:
        raise InputError(f"{path} is no GeoJSON with features; export it from QuPath as a FeatureCollection")


def _geometry_of(geometry: Any, depth: int = 0) -> list[Any]:
    """The polygons of a GeoJSON geometry; points and lines have none."""
    if geometry is None:
        return []
    kind = geometry["type"]
    if kind == "Polygon":
        return _polygon(geometry["coordinates"])
    if kind == "MultiPolygon":
        return [polygon for rings in geometry["coordinates"] for polygon in _polygon(rings)]
    if kind == "GeometryCollection" and depth < MAX_DEPTH:
        return [polygon for one in geometry["geometries"] for polygon in _geometry_of(one, depth + 1)]
    return []


def _polygon(rings: Sequence[Sequence[Sequence[float]]]) -> list[Any]:
    read = [[(float(point[0]), float(point[1])) for point in ring] for ring in rings]
    if not all(math.isfinite(number) for ring in read for point in ring for number in point):
        raise ValueError("not a number")
    drawn = [ring for ring in read if len(ring) >= 3]
    if not read or len(read[0]) < 3:
        return []
    return [shapely.Polygon(drawn[0], drawn[1:])]


def _only_areas(polygons: Sequence[Any]) -> Any:
    """One shape without self-crossings of what has an area; None when nothing has."""
    if not polygons:
        return None
    shape = polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)
    if not shape.is_valid:  # by its structure: where an outline crosses itself, nothing it went around is lost
        shape = shapely.make_valid(shape, method="structure", keep_collapsed=False)
    parts = shapely.get_parts(shapely.get_parts(shape))
    parts = parts[(shapely.get_type_id(parts) == shapely.GeometryType.POLYGON) & (shapely.area(parts) > 0)]
    if not len(parts):
        return None
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(list(parts))


def _qupath_annotation(properties: Any, shape: Any) -> Annotation:
    known = properties if isinstance(properties, dict) else {}
    given = known.get("classification")
    if isinstance(given, dict):
        names = given.get("names")
        given = given.get("name") or (": ".join(map(str, names)) if isinstance(names, list) else None)
    name = _text(known.get("name")) or ""
    return Annotation(_text(given) or name or None, shape, name)


def _text(value: Any) -> str | None:
    """A text without blanks around it; None when nothing is left."""
    return (value.strip() or None) if isinstance(value, str) else None


def _read_aperio(content: bytes, path: Path) -> list[Annotation]:
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InputError(f"{path} is no XML that can be read: {error}; export it from ImageScope again") from error
    if root.tag != "Annotations":
        raise InputError(
            f"{path} is not Aperio ImageScope's: it starts with <{str(root.tag)[:40]}> instead of <Annotations>; "
            "convert it to GeoJSON with QuPath"
        )
    return [one for number, layer in enumerate(root.findall("Annotation"), 1) for one in _layer(layer, number, path)]


def _layer(layer: Any, number: int, path: Path) -> Iterable[Annotation]:
    """The regions of one layer; the negative ones are holes in the others."""
    drawn, holes = [], []
    for at, region in enumerate(layer.findall("Regions/Region"), 1):
        try:
            shape = _only_areas(_aperio_polygon(region))
        except _MALFORMED as error:
            raise InputError(f"{path}, annotation {number}, region {at}: its vertices cannot be read") from error
        if shape is None:
            continue
        if region.get("NegativeROA") == "1":
            holes.append(shape)
        else:
            drawn.append((region, shape))
    for region, shape in drawn:
        left = shape if not holes else _only_areas([shapely.difference(shape, shapely.union_all(holes))])
        if left is not None:
            yield Annotation(_aperio_label(region, layer), left, _text(layer.get("Name")) or "")


def _aperio_polygon(region: Any) -> list[Any]:
    points = [(float(vertex.get("X")), float(vertex.get("Y"))) for vertex in region.findall("Vertices/Vertex")]
    if not all(math.isfinite(number) for point in points for number in point):
        raise ValueError("not a number")
    kind = region.get("Type")
    if kind in (_RECTANGLE, _ELLIPSE) and 2 <= len(points) <= 4:
        left, top, right, bottom = shapely.MultiPoint(points).bounds
        if kind == _ELLIPSE:
            turn = np.linspace(0, 2 * math.pi, _ELLIPSE_POINTS, endpoint=False)
            across, down = (right - left) / 2 * np.cos(turn), (bottom - top) / 2 * np.sin(turn)
            return [shapely.Polygon(np.column_stack(((left + right) / 2 + across, (top + bottom) / 2 + down)))]
        if len(points) == 2:
            return [shapely.box(left, top, right, bottom)]
    return [shapely.Polygon(points)] if len(points) >= 3 else []


def _aperio_label(region: Any, layer: Any) -> str | None:
    attributes = [_text(one.get("Value")) for one in region.findall("Attributes/Attribute")]
    return next((one for one in attributes if one), None) or _text(region.get("Text")) or _text(layer.get("Name"))
