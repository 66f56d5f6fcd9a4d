"""A question as a file, which the page saves and the command line asks again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from histoseek.errors import FingerprintError, InputError
from histoseek.web.schemas import SearchIn

if TYPE_CHECKING:
    from histoseek.index import Hits, Index

FORMAT = 1
MOST_BYTES = 16 * 1024**2
_ASKED: TypeAdapter[SearchIn] = TypeAdapter(SearchIn)


def session_text(asked: SearchIn, index: Index) -> str:
    """The question with what it was asked of: the version that was searched, and the fingerprint of its encoder."""
    about = {"format": FORMAT, "index_version": str(index.rows.version), "fingerprint": index.about.fingerprint.digest}
    return json.dumps({"histoseek_session": about, "asked": asked.model_dump(mode="json")}, indent=1)


def replay_session(index: Index, path: Path) -> Hits:
    """Ask the question of a file again.

    Raises:
        InputError: it is no such file, or speaks of items that this archive does not hold.
        FingerprintError: its vectors were made by another encoder.
    """
    from histoseek.web.archive import Archive
    from histoseek.web.columns import own_columns
    from histoseek.web.pseudonyms import secret_of

    own = own_columns(index.rows.items)  # whoever has the archive may filter by all of it
    archive = Archive(index, secret_of(index), keep_names=True, show_columns=own)
    return archive.search(read_session(path, index))


def read_session(path: Path, index: Index) -> SearchIn:
    """The question of a file; raises as `replay_session` does."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path} is too large for a session")
        kept: Any = json.loads(path.read_text(encoding="utf-8"))
        about = kept.get("histoseek_session", {})
        asked = _ASKED.validate_python(kept.get("asked", kept))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (ValidationError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is no session; save one in the page of histoseek serve, by its key e") from error
    made_by = about.get("fingerprint") if isinstance(about, dict) else None
    if made_by not in (None, index.about.fingerprint.digest):
        raise FingerprintError(
            f"{path} was saved on an archive of another encoder (fingerprint {made_by}), whose vectors say nothing here"
        )
    return asked
