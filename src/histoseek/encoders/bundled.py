"""Encoders that ship with Histoseek: their folders lie beside this file, under `weights`."""

from __future__ import annotations

from pathlib import Path

from histoseek.encoders.encoder import EncoderCard
from histoseek.encoders.encoder_json import read_description

BUNDLED = {"mini": Path(__file__).parent / "weights" / "mini"}

DEFAULT = "mini"
"""The encoder that is taken where none is named."""


def bundled_cards() -> list[EncoderCard]:
    """Their cards."""
    return [read_description(folder).card for folder in BUNDLED.values()]
