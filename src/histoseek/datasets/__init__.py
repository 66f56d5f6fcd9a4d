"""Datasets: someone's folder, as it was downloaded, becomes a manifest."""

from histoseek.datasets.dataset import Dataset, Option, Published, Scan
from histoseek.datasets.known import dataset_names, find_dataset
from histoseek.datasets.preparing import Prepared, prepare, prepare_with_report, tile_options
from histoseek.datasets.summary import Summary
from histoseek.datasets.tiling import TileSettings

__all__ = [
    "Dataset",
    "Option",
    "Prepared",
    "Published",
    "Scan",
    "Summary",
    "TileSettings",
    "dataset_names",
    "find_dataset",
    "prepare",
    "prepare_with_report",
    "tile_options",
]
