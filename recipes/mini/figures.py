"""A measured figure, and the table that holds the figures of several encoders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One number: `what` was measured, the `name` of the metric, its interval where it has one, and how."""

    what: str
    name: str
    value: float
    protocol: str
    low: float | None = None
    high: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """What it shares with the same figure of another encoder."""
        return self.what, self.name

    @property
    def shown(self) -> str:
        """The number with its interval, as a table shows it."""
        number = f"{self.value:.0f}" if abs(self.value) >= 20 else f"{self.value:.3f}"
        return number if self.low is None else f"{number} [{self.low:.2f}, {self.high:.2f}]"


Columns = Mapping[str, list[Figure]]
"""The figures of each encoder, by its name."""


def markdown(columns: Columns, notes: list[str]) -> str:
    """One table, a column for each encoder, and below it the protocol of each row."""
    tables = {name: {figure.key: figure for figure in figures} for name, figures in columns.items()}
    keys = list(dict.fromkeys(figure.key for figures in columns.values() for figure in figures))
    protocols: dict[str, int] = {}
    lines = [
        f"| measured | figure | protocol | {' | '.join(columns)} |",
        f"|---|---|---{'|---' * len(columns)}|",
    ]
    for key in keys:
        found = [table.get(key) for table in tables.values()]
        protocol = next(figure.protocol for figure in found if figure is not None)
        number = protocols.setdefault(protocol, len(protocols) + 1)
        cells = " | ".join("–" if figure is None else figure.shown for figure in found)
        lines.append(f"| {key[0]} | {key[1]} | [{number}] | {cells} |")
    lines += ["", "Protocols:", "", *(f"{number}. {protocol}" for protocol, number in protocols.items())]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes), ""])


def ratios(columns: Columns, baselines: list[str], keys: list[tuple[str, str]]) -> Columns:
    """For each encoder that is no baseline, its figures divided by the best baseline's."""
    added: dict[str, list[Figure]] = {}
    for name, figures in columns.items():
        if name in baselines:
            continue
        mine = {figure.key: figure.value for figure in figures}
        added[name] = []
        for key in keys:
            theirs = [one.value for base in baselines for one in columns.get(base, []) if one.key == key]
            if key in mine and theirs and max(theirs) > 0:
                protocol = f"the same figure divided by the best of {', '.join(b for b in baselines if b in columns)}"
                added[name].append(
                    Figure(key[0], f"{key[1]}, ratio to the best baseline", mine[key] / max(theirs), protocol)
                )
    return added
