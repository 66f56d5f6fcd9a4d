"""Errors a user may see: each message says what is wrong, where, and what to do about it."""

from __future__ import annotations


class HistoseekError(Exception):
    """Any failure that Histoseek foresees; `exit_code` is what the command line ends with."""

    exit_code = 2


class InputError(HistoseekError):
    """A wrong argument, table, folder or option."""


class ImageError(HistoseekError):
    """One image cannot be used; bulk work records it in `skipped.csv` and goes on."""


class EncoderError(HistoseekError):
    """An encoder cannot be loaded, or cannot do what was asked of it."""


class FingerprintError(EncoderError):
    """The encoder at hand is not the one that made the index."""


class DamagedError(HistoseekError):
    """Data that Histoseek wrote is incomplete or altered."""

    exit_code = 4


class Interrupted(HistoseekError):
    """The user stopped a long piece of work; what was committed is kept."""

    exit_code = 130
