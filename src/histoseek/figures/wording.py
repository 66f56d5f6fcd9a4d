"""Words and numbers of the report, as a person reads them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_NAMES = {"k": "k", "mpp": "mpp (µm per pixel)", "sha256": "SHA-256", "ap_denominator": "AP divides by"}


def number(value: Any, places: int = 3) -> str:
    """A figure with `places` decimals, "–" when there is none."""
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return "–"
    return f"{value:.{places}f}"


def named(key: str) -> str:
    """A name in words: "n_queries" becomes "Number of queries"."""
    if key in _NAMES:
        return _NAMES[key]
    words = key.replace("_", " ").strip()
    words = f"number of {words[2:]}" if words.startswith("n ") else words
    return words if words[1:2].isupper() else words[:1].upper() + words[1:]


def said(value: Any) -> str:
    """A value in words."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f") if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else "–"
    if isinstance(value, Mapping):
        return ", ".join(f"{named(str(key))}: {said(one)}" for key, one in value.items()) or "–"
    if isinstance(value, (list, tuple)):
        return ", ".join(said(one) for one in value) or "none"
    return str(value)


def words_of(part: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A flat dictionary as (name, value) rows."""
    return [(named(str(key)), said(value)) for key, value in part.items()]


def text_rows(text: Mapping[str, Any]) -> tuple[list[tuple[str, str]], list[str], list[tuple[str, list[str]]]]:
    """The text → image figures: plain rows, then the columns and the rows of the table of classes."""
    classes = text.get("classes")
    plain: list[tuple[str, str]] = []
    for key, value in text.items():
        if key == "classes" and isinstance(classes, Mapping):
            continue
        if isinstance(value, Mapping) and {"value", "low", "high"} <= set(value):
            interval = f"{number(value['value'])} ({number(value['low'])}–{number(value['high'])})"
            plain.append((named(str(key)), interval))
        elif isinstance(value, Mapping):
            plain += [(f"{named(str(key))}, {named(str(name))}", said(one)) for name, one in value.items()]
        else:
            plain.append((named(str(key)), said(value)))
    by_class = {str(k): v for k, v in classes.items() if isinstance(v, Mapping)} if isinstance(classes, Mapping) else {}
    columns = list(dict.fromkeys(str(name) for values in by_class.values() for name in values))
    return plain, columns, [(label, [_cell(values.get(c)) for c in columns]) for label, values in by_class.items()]


def _cell(value: Any) -> str:
    return number(value) if isinstance(value, float) else said(value)
