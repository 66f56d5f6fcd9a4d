"""Pixels at a place and a scale."""

from histoseek.imaging.deepzoom import DeepZoom, read_tile
from histoseek.imaging.flat import FORMATS, MAX_PIXELS, FlatImage, image_of, open_flat, read_size
from histoseek.imaging.grid import lay_tiles, share_of, tile_side
from histoseek.imaging.opening import (
    SLIDE_SUFFIXES,
    TIFF_SUFFIXES,
    OpenReaders,
    open_pixels,
    open_slide,
    origin_of,
)
from histoseek.imaging.preview import draw_preview
from histoseek.imaging.pyramid import Interpolation
from histoseek.imaging.quality import sharpness_of
from histoseek.imaging.tissue import Tissue, find_tissue
from histoseek.imaging.views import Reader, ViewPlan, plan_views, read_views, scale_of

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "SLIDE_SUFFIXES",
    "TIFF_SUFFIXES",
    "DeepZoom",
    "FlatImage",
    "Interpolation",
    "OpenReaders",
    "Reader",
    "Tissue",
    "ViewPlan",
    "draw_preview",
    "find_tissue",
    "image_of",
    "lay_tiles",
    "open_flat",
    "open_pixels",
    "open_slide",
    "origin_of",
    "plan_views",
    "read_size",
    "read_tile",
    "read_views",
    "scale_of",
    "share_of",
    "sharpness_of",
    "tile_side",
]
