"""Retrieval engine for histopathology. Research use only, never a diagnosis."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from histoseek.datasets import prepare
    from histoseek.encoders import load_encoder
    from histoseek.errors import HistoseekError
    from histoseek.evaluation import Report, evaluate
    from histoseek.index import Hit, Index
    from histoseek.items import Item, Manifest
    from histoseek.training import TrainConfig, train

__version__ = "0.1.0"

__all__ = [
    "HistoseekError",
    "Hit",
    "Index",
    "Item",
    "Manifest",
    "Report",
    "TrainConfig",
    "evaluate",
    "load_encoder",
    "prepare",
    "train",
]

_ROOMS = {
    "HistoseekError": "errors",
    "Hit": "index",
    "Index": "index",
    "Item": "items",
    "Manifest": "items",
    "Report": "evaluation",
    "TrainConfig": "training",
    "evaluate": "evaluation",
    "load_encoder": "encoders",
    "prepare": "datasets",
    "train": "training",
}


def __getattr__(name: str) -> Any:
    """Fetch a public name from its room when it is first used, so that the import itself stays light (PEP 562)."""
    if name not in _ROOMS:
        raise AttributeError(f"module 'histoseek' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"histoseek.{_ROOMS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
