"""Figures: contact sheets, heat maps and the HTML report, drawn from results only."""

from histoseek.figures.heat import draw_heat, write_overlay
from histoseek.figures.page import report_page
from histoseek.figures.sheet import draw_sheet

__all__ = ["draw_heat", "draw_sheet", "report_page", "write_overlay"]
