"""The archive: build, open, search."""

from histoseek.index.heat import HeatMap, heat_of
from histoseek.index.hits import Hit, Hits, Vote
from histoseek.index.index import Index
from histoseek.index.query import MINUS, Example, RuleOptions, Rules
from histoseek.index.region import Region, parse_region, picture_of_region, region_of

__all__ = [
    "MINUS",
    "Example",
    "HeatMap",
    "Hit",
    "Hits",
    "Index",
    "Region",
    "RuleOptions",
    "Rules",
    "Vote",
    "heat_of",
    "parse_region",
    "picture_of_region",
    "region_of",
]
