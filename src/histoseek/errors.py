"""Errors a user may see: each message says what is wrong, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class HistoseekError(Exception):
    """Any failure that Histoseek foresees; `exit_code` is what the command line ends with."""

    exit_code = 2


class InputError(HistoseekError):
    """A wrong argument, table, folder or option."""


class QuestionError(InputError):
    """A question that cannot be answered; its message repeats only the question, so that whoever asked may read it."""


class ImageError(HistoseekError):
    """One image cannot be used; bulk work records it in `skipped.csv` and goes on."""


class TooManyPixelsError(ImageError):
    """An image has more pixels than are read, or takes more memory than there is for it."""


class EncoderError(HistoseekError):
    """An encoder cannot be loaded, or cannot do what was asked of it."""


class NoWordsError(EncoderError, QuestionError):
    """Words were asked of an encoder that knows pictures alone."""


class FingerprintError(EncoderError):
    """The encoder at hand is not the one that made the index."""


class DamagedError(HistoseekError):
    """Data that Histoseek wrote is incomplete or altered."""

    exit_code = 4


class StorageError(HistoseekError):
    """A folder cannot be written to or read from now: the disk is full, locked, or not writable."""


class ClusterError(HistoseekError):
    """A Ray cluster cannot be reached, or lost a piece of work more often than it is tried again."""


class MissingExtraError(HistoseekError):
    """A package is missing that an extra of the installation brings."""


class Interrupted(HistoseekError):
    """The user stopped a long piece of work; what was committed is kept."""

    exit_code = 130


@contextmanager
def needs_extra(name: str) -> Iterator[None]:
    """Turn the import error of a package that an extra brings into a sentence that names the extra.

    Raises:
        MissingExtraError: the package is missing.
    """
    try:
        yield
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        if package == "histoseek":
            raise
        raise MissingExtraError(
            f"this needs the {name} extra ({package or error} is missing): pip install 'histoseek[{name}]'"
        ) from error
