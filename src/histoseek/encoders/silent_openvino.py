"""OpenVINO, imported without the usage statistics that it would send over the network."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


def import_openvino() -> Any:
    """Import OpenVINO with its telemetry package hidden, which otherwise reports to Google Analytics at import."""
    if "openvino" not in sys.modules:
        hidden: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
        before = hidden.get("openvino_telemetry")
        hidden["openvino_telemetry"] = None
        try:
            import openvino  # noqa: F401  (it stays in sys.modules, with the stub that it brings for this case)
        finally:
            if before is None:
                del sys.modules["openvino_telemetry"]
            else:
                sys.modules["openvino_telemetry"] = before
    return sys.modules["openvino"]
