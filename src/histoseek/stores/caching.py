"""Where derived files of a folder go: into it, or into the user's cache where the folder cannot be written to."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def cache_home(home: Path) -> Path:
    """The folder for what is derived from `home`; `HISTOSEEK_CACHE` names another place than the user's cache."""
    if os.access(home, os.W_OK):
        return home
    base = os.environ.get("HISTOSEEK_CACHE") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    digest = hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:16]
    return Path(base) / "histoseek" / digest
