"""The archive: build, open, search."""

from histoseek.index.heat import HeatMap, heat_of
from histoseek.index.hits import Hit, Hits, Vote
from histoseek.index.index import Index
from histoseek.index.query import MINUS, Example, RuleOptions, Rules
from histoseek.index.region import Region, parse_region, picture_of_region, region_of
from histoseek.index.whole_search import Pair, WholeHit, WholeHits, WholeRules, open_bags
from histoseek.index.wholes import Level, label_column, labels_of

__all__ = [
    "MINUS",
    "Example",
    "HeatMap",
    "Hit",
    "Hits",
    "Index",
    "Level",
    "Pair",
    "Region",
    "RuleOptions",
    "Rules",
    "Vote",
    "WholeHit",
    "WholeHits",
    "WholeRules",
    "heat_of",
    "label_column",
    "labels_of",
    "open_bags",
    "parse_region",
    "picture_of_region",
    "region_of",
]
