"""Where whole-slide files say how large their pixels are, and which of those statements to believe."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from histoseek.items import MPP_RANGE

_COMMENT = re.compile(r"\bMPP\s*=\s*([0-9.]+)", re.IGNORECASE)
_UM_PER_UNIT = {"centimeter": 10_000.0, "inch": 25_400.0}


def mpp_of_properties(properties: Mapping[str, str]) -> float | None:
    """µm per pixel at level 0, from the first property that gives a possible value; None without one.

    The order is the one that TRIDENT reads OpenSlide's properties in: the reader's own key, then those of vendors, then
    the TIFF resolution. Values outside 0.05–20 are placeholders (72 dpi is 353 µm per pixel) and are passed over.
    """
    low, high = MPP_RANGE
    return next((round(mpp, 6) for mpp in _stated(properties) if low <= mpp <= high), None)


def _stated(properties: Mapping[str, str]) -> Iterator[float]:
    for key in ("openslide.mpp-x", "openslide.mirax.MPP", "aperio.MPP"):
        yield _number(properties.get(key))
    hamamatsu = _number(properties.get("hamamatsu.XResolution"))
    yield hamamatsu
    yield 10_000 / hamamatsu if hamamatsu > 0 else 0.0  # some files say pixels per centimetre there
    comment = _COMMENT.search(properties.get("openslide.comment", ""))
    yield _number(comment[1] if comment else None)
    across = _number(properties.get("tiff.XResolution"))
    unit = _UM_PER_UNIT.get(properties.get("tiff.ResolutionUnit", "").lower(), 0.0)
    yield unit / across if across > 0 else 0.0


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0
