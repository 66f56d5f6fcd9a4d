"""Where a figure comes from: versions, code state, machine, command."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from histoseek.encoders.encoder import Fingerprint


def provenance_of(fingerprint: Fingerprint) -> dict[str, Any]:
    """All that someone needs to make a figure again."""
    return {
        "fingerprint": fingerprint.digest,
        "weights sha256": fingerprint.weights_sha256,
        "histoseek": version("histoseek"),
        "code": _code_state(),
        "numpy": version("numpy"),
        "pillow": version("pillow"),
        "openvino": version("openvino"),
        "lancedb": version("lancedb"),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]) if sys.argv else "",
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _code_state() -> str:
    """The commit of a source checkout, with a mark for changes; "release" for an installed package."""
    here = Path(__file__).resolve().parents[3]
    git = shutil.which("git")
    if git is None or not (here / ".git").exists():
        return "release"
    asked = [git, "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=20)  # noqa: S603
    except (subprocess.SubprocessError, OSError):
        return "unknown"
    return answer.stdout.strip()
