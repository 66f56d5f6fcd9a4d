"""Annotations for drawn slides, so that their tiles are labelled by what was drawn there."""

from __future__ import annotations

import json
from pathlib import Path


def annotate(slides: Path) -> None:
    """Write a GeoJSON beside each slide, from what `write_slides` says it drew."""
    truth = json.loads((slides / "truth.json").read_text(encoding="utf-8"))
    for name, said in truth.items():
        features = [feature(region["kind"], *region["box"]) for region in said["regions"]]
        collection = {"type": "FeatureCollection", "features": features}
        (slides / name).with_suffix(".geojson").write_text(json.dumps(collection), encoding="utf-8")


def feature(kind: str, x: float, y: float, width: float, height: float) -> dict[str, object]:
    corners = [[x, y], [x + width, y], [x + width, y + height], [x, y + height], [x, y]]
    geometry = {"type": "Polygon", "coordinates": [corners]}
    return {"type": "Feature", "geometry": geometry, "properties": {"classification": {"name": kind}}}
