"""Measuring retrieval honestly: protocols, intervals, comparison."""

from histoseek.evaluation.calibrating import Calibration, Reliability, calibrate
from histoseek.evaluation.comparing import METRICS, Comparison, compare, named_reports
from histoseek.evaluation.evaluating import evaluate
from histoseek.evaluation.levels import LevelSettings, evaluate_level, write_levels
from histoseek.evaluation.report import Report, Score
from histoseek.evaluation.settings import ProtocolName, SettingOptions, Settings

__all__ = [
    "METRICS",
    "Calibration",
    "Comparison",
    "LevelSettings",
    "ProtocolName",
    "Reliability",
    "Report",
    "Score",
    "SettingOptions",
    "Settings",
    "calibrate",
    "compare",
    "evaluate",
    "evaluate_level",
    "named_reports",
    "write_levels",
]
