"""The archive: build, open, search."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from histoseek.index.hits import Hit, Hits, Vote
from histoseek.index.index import Index
from histoseek.index.query import MINUS, Example, RuleOptions, Rules
from histoseek.index.region import Region, parse_region, picture_of_region, region_of

if TYPE_CHECKING:
    from histoseek.index.adding import Added
    from histoseek.index.heat import HeatMap, heat_of, heat_of_file
    from histoseek.index.ray_build import RayWork
    from histoseek.index.removing import Removal
    from histoseek.index.snapshot import restore_snapshot, write_snapshot
    from histoseek.index.verifying import Verified
    from histoseek.index.whole_search import Pair, WholeHit, WholeHits, WholeRules, open_bags
    from histoseek.index.wholes import Level, label_column, labels_of

__all__ = [
    "MINUS",
    "Added",
    "Example",
    "HeatMap",
    "Hit",
    "Hits",
    "Index",
    "Level",
    "Pair",
    "RayWork",
    "Region",
    "Removal",
    "RuleOptions",
    "Rules",
    "Verified",
    "Vote",
    "WholeHit",
    "WholeHits",
    "WholeRules",
    "heat_of",
    "heat_of_file",
    "label_column",
    "labels_of",
    "open_bags",
    "parse_region",
    "picture_of_region",
    "region_of",
    "restore_snapshot",
    "write_snapshot",
]

_FILES = {
    "adding": ("Added",),
    "heat": ("HeatMap", "heat_of", "heat_of_file"),
    "ray_build": ("RayWork",),
    "removing": ("Removal",),
    "snapshot": ("restore_snapshot", "write_snapshot"),
    "verifying": ("Verified",),
    "whole_search": ("Pair", "WholeHit", "WholeHits", "WholeRules", "open_bags"),
    "wholes": ("Level", "label_column", "labels_of"),
}
_LATER = {name: file for file, names in _FILES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Fetch what a search does not use when it is first used, so that a search begins quickly (PEP 562)."""
    if name not in _LATER:
        raise AttributeError(f"module 'histoseek.index' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"histoseek.index.{_LATER[name]}"), name)
    globals()[name] = value
    return value
