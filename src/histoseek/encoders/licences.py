"""What a model's licence is called and whether it forbids commercial use."""

from __future__ import annotations

import re
from pathlib import Path

NOT_STATED = "none stated: check the model page"

COMMERCIAL_USE = {
    "mit": True,
    "apache-2.0": True,
    "bsd-2-clause": True,
    "bsd-3-clause": True,
    "cc0-1.0": True,
    "cc-by-4.0": True,
    "cc-by-sa-4.0": True,
}

NAMES = {
    "mit": "MIT",
    "apache-2.0": "Apache-2.0",
    "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause",
    "cc0-1.0": "CC0 1.0",
}


def commercial_use(licence: str) -> bool | None:
    """Whether a licence, by its hub identifier or our name for it, allows commercial use; None: unclear."""
    identifier = licence.lower().replace(" ", "-")
    if identifier.startswith("cc-by-nc"):
        return False
    return COMMERCIAL_USE.get(identifier)


def licence_in_readme(folder: Path) -> str | None:
    """Licence that a model folder's `README.md` names in its front matter; None when it names none."""
    path = folder / "README.md"
    if not path.is_file():
        return None
    front_matter = re.match(r"---\s*\n(.*?)\n---", path.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    if front_matter is None:
        return None
    stated: dict[str, str] = dict(
        re.findall(r"^(license|license_name):[ \t]*['\"]?([^\s'\"#]+)", front_matter.group(1), re.MULTILINE)
    )
    licence = stated.get("license")
    if licence == "other":
        licence = stated.get("license_name")
    if licence is None:
        return None
    if licence.startswith("cc-"):
        return "CC " + licence[3:].upper().replace("-4.0", " 4.0").replace("-3.0", " 3.0")
    return NAMES.get(licence, licence)
