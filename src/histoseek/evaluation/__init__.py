"""Measuring retrieval honestly: protocols, intervals, comparison."""

from histoseek.evaluation.comparing import METRICS, Comparison, compare, named_reports
from histoseek.evaluation.evaluating import evaluate
from histoseek.evaluation.levels import LevelSettings, evaluate_level, write_levels
from histoseek.evaluation.report import Report, Score
from histoseek.evaluation.settings import ProtocolName, SettingOptions, Settings

__all__ = [
    "METRICS",
    "Comparison",
    "LevelSettings",
    "ProtocolName",
    "Report",
    "Score",
    "SettingOptions",
    "Settings",
    "compare",
    "evaluate",
    "evaluate_level",
    "named_reports",
    "write_levels",
]
