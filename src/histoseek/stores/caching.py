"""Where derived files go: into the folder itself, or into the user's cache where it is remote or not to be written."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from histoseek.items.files import user_cache
from histoseek.stores.places import is_remote


def cache_home(home: str | Path) -> Path:
    """The folder for what is derived from `home`: itself, or one in the user's cache."""
    if not is_remote(home) and os.access(home, os.W_OK):
        return Path(home)
    whole = str(home).rstrip("/") if is_remote(home) else str(Path(home).resolve())
    return user_cache() / hashlib.sha256(whole.encode()).hexdigest()[:16]
