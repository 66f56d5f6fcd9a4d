"""Options that name a file or a folder to write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer


def written(*names: str, help: str) -> Any:
    """Make an option for something on this machine; an address, of which `Path` would make a folder, is refused."""
    return typer.Option(*names, parser=_local_path, metavar="<path>", help=help)


def _local_path(given: str | Path) -> Path:
    from histoseek.items.files import local_path

    return local_path(given)
