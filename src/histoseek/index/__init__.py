"""The archive: build, open, search."""

from histoseek.index.adding import Added
from histoseek.index.heat import HeatMap, heat_of, heat_of_file
from histoseek.index.hits import Hit, Hits, Vote
from histoseek.index.index import Index
from histoseek.index.query import MINUS, Example, RuleOptions, Rules
from histoseek.index.ray_build import RayWork
from histoseek.index.region import Region, parse_region, picture_of_region, region_of
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
