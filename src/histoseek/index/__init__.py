"""The archive: build, open, search."""

from histoseek.index.hits import Hit, Hits, Vote
from histoseek.index.index import Index
from histoseek.index.query import MINUS, Example, RuleOptions, Rules

__all__ = ["MINUS", "Example", "Hit", "Hits", "Index", "RuleOptions", "Rules", "Vote"]
