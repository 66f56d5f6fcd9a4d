"""OpenVINO, imported without the usage statistics that it would send over the network, and without its converter."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import ModuleType
from typing import Any

_CONVERTER, _TELEMETRY = "openvino.tools.ovc", "openvino_telemetry"


def import_openvino() -> Any:
    """Import OpenVINO with its telemetry package hidden, which otherwise reports to Google Analytics at import.

    Its converter, which alone uses that package, takes more than half of the import and is not used here: it is
    loaded when somebody else in this process calls `openvino.convert_model`.
    """
    if "openvino" not in sys.modules:
        with telemetry_hidden(), _hidden(_CONVERTER):
            import openvino
        openvino.convert_model = _convert_model
    return sys.modules["openvino"]


def telemetry_hidden() -> AbstractContextManager[None]:
    """Hide the telemetry package of OpenVINO and its tools from what is imported inside."""
    return _hidden(_TELEMETRY)


def _convert_model(*given: Any, **options: Any) -> Any:
    with telemetry_hidden():
        from openvino.tools.ovc import convert_model
    sys.modules["openvino"].convert_model = convert_model  # type: ignore[attr-defined]
    return convert_model(*given, **options)


@contextmanager
def _hidden(name: str) -> Iterator[None]:
    """Have a package look as if it was not installed; one that was imported before stays as it is."""
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    before = modules.get(name)
    modules[name] = None
    try:
        yield
    finally:
        if before is None:
            del modules[name]
        else:
            modules[name] = before
