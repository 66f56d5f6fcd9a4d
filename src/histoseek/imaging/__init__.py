"""Pixels at a place and a scale."""

from histoseek.imaging.flat import FORMATS, MAX_PIXELS, FlatImage, image_of, open_flat, read_size
from histoseek.imaging.views import Reader, ViewPlan, plan_views, read_views, scale_of

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "FlatImage",
    "Reader",
    "ViewPlan",
    "image_of",
    "open_flat",
    "plan_views",
    "read_size",
    "read_views",
    "scale_of",
]
