"""The atlas as a manifest and as an index, and the filters that every measurement shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from split import held_out

import histoseek as hs
from histoseek.encoders.encoder import Encoder

ORGANS = (
    *("colon", "stomach", "small intestine", "pancreas", "liver"),
    *("brain", "soft tissue", "skin", "gallbladder", "adrenal gland"),
)
"""The organs with three or more H&E cases."""


def one_of(column: str, values: Iterable[str]) -> str:
    """A filter that keeps the rows with one of these values."""
    quoted = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    return f"{column} IN ({quoted})"


def both(*conditions: str) -> str:
    """A filter that keeps the rows that fulfil all of these."""
    return " AND ".join(f"({condition})" for condition in conditions)


TEN_ORGANS = one_of("label", ORGANS)
HELD_OUT = one_of('"group"', held_out())


def scale(name: str) -> str:
    """A filter for the tiles of one scale, "20x" or "5x"."""
    return f"scale = '{name}'"


def atlas(data: Path, limit: int | None = None) -> hs.Manifest:
    """The H&E tiles of the atlas, organs as labels and cases as groups; at most `limit` of a case and scale."""
    every = hs.prepare("csv", data / "atlas" / "tiles.csv", columns="label=organ,group=case").where(stain="H&E")
    if limit is None:
        return every
    seen: Counter[tuple[str, object]] = Counter()
    kept = []
    for item in every:
        key = (item.group, item.extra["scale"])
        seen[key] += 1
        if seen[key] <= limit:
            kept.append(item)
    return hs.Manifest.from_items(kept, every.root, every.facts)


def opened(manifest: hs.Manifest, encoder: Encoder, folder: Path) -> hs.Index:
    """The index of a manifest under `folder`, built (or finished) unless it stands there already."""
    home = folder / f"{encoder.fingerprint.digest}_{manifest.digest[:8]}.index"
    if (home / "index.json").is_file():
        return hs.Index.open(home, encoder)
    return hs.Index.build(manifest, encoder, home, resume=home.exists())
