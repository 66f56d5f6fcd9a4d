"""Pixels or words → unit vectors; one file per family, nothing heavy loaded before it is asked for."""

from histoseek.encoders.encoder import Encoder, EncoderCard, Fingerprint, Precision, Preprocessing, Settings
from histoseek.encoders.export import Exported, export_encoder
from histoseek.encoders.known import known_encoders
from histoseek.encoders.loading import describe, load_encoder

__all__ = [
    "Encoder",
    "EncoderCard",
    "Exported",
    "Fingerprint",
    "Precision",
    "Preprocessing",
    "Settings",
    "describe",
    "export_encoder",
    "known_encoders",
    "load_encoder",
]
