"""Measuring retrieval honestly: protocols, intervals, comparison."""

from histoseek.evaluate.compare import METRICS, Comparison, compare, named_reports
from histoseek.evaluate.evaluate import evaluate
from histoseek.evaluate.report import Report, Score
from histoseek.evaluate.settings import ProtocolName, SettingOptions, Settings

__all__ = [
    "METRICS",
    "Comparison",
    "ProtocolName",
    "Report",
    "Score",
    "SettingOptions",
    "Settings",
    "compare",
    "evaluate",
    "named_reports",
]
