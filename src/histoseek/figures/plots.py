"""Geometry of the report's plots: numbers only; the template draws them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#8C8C8C")
"""Okabe and Ito's palette, told apart with every common colour vision; grey takes the place of its black."""
SHAPES = ("circle", "square", "up", "diamond", "down", "cross", "plus")
WIDTH, HEIGHT = 340, 250
LEFT, RIGHT, TOP, BOTTOM = 40, 12, 12, 38
MAP_SIZE = 620
MAP_POINTS = 4000
"""More points than this are thinned out evenly."""


class Figure(Protocol):
    """A value with its interval."""

    @property
    def value(self) -> float:
        """The value itself."""
        ...

    @property
    def low(self) -> float:
        """The lower end."""
        ...

    @property
    def high(self) -> float:
        """The upper end."""
        ...


@dataclass(frozen=True)
class Curve:
    """One line: its points, the polygon of its intervals, and what is said on pointing at a point."""

    name: str
    kind: str
    line: str
    band: str
    points: tuple[tuple[float, float, str], ...]


@dataclass(frozen=True)
class Panel:
    """One metric over k."""

    title: str
    curves: tuple[Curve, ...]
    ticks_x: tuple[tuple[float, str], ...]
    ticks_y: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Mark:
    """How one label is drawn on the map."""

    label: str
    colour: str
    shape: str
    count: int


@dataclass(frozen=True)
class MapPlot:
    """The embedding map: points are (x, y, number of the mark, id)."""

    width: float
    height: float
    marks: tuple[Mark, ...]
    points: tuple[tuple[float, float, int, str], ...]
    total: int


def panel(family: str, ks: Sequence[int], parts: Mapping[str, Mapping[str, Figure]]) -> Panel | None:
    """The curves of `family` ("P", "Acc", "mAP") over `ks`, one per part; None when fewer than two k are known."""
    known = [k for k in ks if any(_finite(scores.get(f"{family}@{k}")) for scores in parts.values())]
    if len(known) < 2:
        return None
    span = math.log(known[-1] / known[0])
    across = {k: round(LEFT + (WIDTH - LEFT - RIGHT) * (0.04 + 0.92 * math.log(k / known[0]) / span), 1) for k in known}
    curves = tuple(
        _curve(name, "ab"[at % 2], family, across, scores) for at, (name, scores) in enumerate(parts.items())
    )
    ticks_y = tuple((_down(step / 5), f"{step / 5:.1f}") for step in range(6))
    return Panel(f"{family}@k", curves, tuple((across[k], str(k)) for k in known), ticks_y)


def map_plot(xs: Sequence[Any], ys: Sequence[Any], labels: Sequence[Any], ids: Sequence[str]) -> MapPlot | None:
    """Places of the queries, both axes at one scale; None when there are none."""
    rows = [row for row in range(len(xs)) if _number(xs[row]) and _number(ys[row])]
    if not rows:
        return None
    named = ["no label" if labels[row] is None else str(labels[row]) for row in rows]
    order = sorted(set(named))
    left, right = min(xs[row] for row in rows), max(xs[row] for row in rows)
    low, high = min(ys[row] for row in rows), max(ys[row] for row in rows)
    scale = (MAP_SIZE - 32) / (max(right - left, (high - low)) or 1.0)
    width, height = MAP_SIZE, round(max(160.0, (high - low) * scale + 32), 1)
    off_x = (width - (right - left) * scale) / 2
    off_y = (height - (high - low) * scale) / 2
    number = {label: at for at, label in enumerate(order)}
    step = max(1, math.ceil(len(rows) / MAP_POINTS))
    points = tuple(
        (
            round(off_x + (xs[row] - left) * scale, 1),
            round(height - off_y - (ys[row] - low) * scale, 1),
            number[name],
            ids[row],
        )
        for row, name in list(zip(rows, named, strict=True))[::step]
    )
    marks = tuple(Mark(label, *mark(at), named.count(label)) for at, label in enumerate(order))
    return MapPlot(width, height, marks, points, len(rows))


def mark(at: int) -> tuple[str, str]:
    """Colour and shape of the label number `at`: no pair comes twice among the first 56."""
    return COLOURS[at % len(COLOURS)], SHAPES[(at + at // 56) % len(SHAPES)]


def _curve(name: str, kind: str, family: str, across: Mapping[int, float], scores: Mapping[str, Figure]) -> Curve:
    kept = [(x, k, score) for k, x in across.items() if (score := scores.get(f"{family}@{k}")) and _finite(score)]
    points = tuple(
        (x, _down(s.value), f"{name}, {family}@{k}: {s.value:.3f} ({s.low:.3f}–{s.high:.3f})") for x, k, s in kept
    )
    line = " ".join(f"{x},{y}" for x, y, _ in points)
    edge = [(x, _down(s.high)) for x, _, s in kept] + [(x, _down(s.low)) for x, _, s in reversed(kept)]
    return Curve(name, kind, line, " ".join(f"{x},{y}" for x, y in edge), points)


def _down(value: float) -> float:
    return round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - min(1.0, max(0.0, value))), 1)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _finite(score: Figure | None) -> bool:
    return score is not None and all(math.isfinite(v) for v in (score.value, score.low, score.high))
