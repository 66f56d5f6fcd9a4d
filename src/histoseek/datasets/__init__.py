"""Datasets: someone's folder, as it was downloaded, becomes a manifest."""

from histoseek.datasets.dataset import Dataset, Option, Published, Scan
from histoseek.datasets.known import dataset_names, find_dataset
from histoseek.datasets.preparing import Prepared, prepare, prepare_with_report
from histoseek.datasets.summary import Summary

__all__ = [
    "Dataset",
    "Option",
    "Prepared",
    "Published",
    "Scan",
    "Summary",
    "dataset_names",
    "find_dataset",
    "prepare",
    "prepare_with_report",
]
