"""Figures: contact sheets and the HTML report, drawn from results only."""

from histoseek.figures.page import report_page
from histoseek.figures.sheet import draw_sheet

__all__ = ["draw_sheet", "report_page"]
