"""The archive: build, open, search."""

from histoseek.index.hits import Hit, Hits, Vote
from histoseek.index.index import Index
from histoseek.index.query import MINUS, Example, RuleOptions, Rules
from histoseek.index.region import Region, parse_region

__all__ = ["MINUS", "Example", "Hit", "Hits", "Index", "Region", "RuleOptions", "Rules", "Vote", "parse_region"]
