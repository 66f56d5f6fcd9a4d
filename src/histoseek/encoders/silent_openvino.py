"""OpenVINO, imported without the usage statistics that it would send over the network."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


def import_openvino() -> Any:
    """Import OpenVINO with its telemetry package hidden, which otherwise reports to Google Analytics at import."""
    if "openvino" not in sys.modules:
        with telemetry_hidden():
            import openvino  # noqa: F401  (it stays in sys.modules, with the stub that it brings for this case)
    return sys.modules["openvino"]


@contextmanager
def telemetry_hidden() -> Iterator[None]:
    """Hide the telemetry package of OpenVINO and its tools from what is imported inside."""
    hidden: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    before = hidden.get("openvino_telemetry")
    hidden["openvino_telemetry"] = None
    try:
        yield
    finally:
        if before is None:
            del sys.modules["openvino_telemetry"]
        else:
            sys.modules["openvino_telemetry"] = before
