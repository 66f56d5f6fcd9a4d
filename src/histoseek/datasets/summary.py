"""The summary: what was prepared, counted beside what was published, for a person to read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from histoseek.datasets.dataset import Published, Scan
from histoseek.items import Manifest, Skipped
from histoseek.items.audit import Audit

ALL = "all"
UNKNOWN = "(none)"
MAX_ROWS = 30
"""Labels shown; the rest becomes one line."""

PART_ORDER = ("train", "val", "test", "unlabelled")
Counts = dict[str, dict[str, int]]


@dataclass(frozen=True)
class Summary:
    """Counts per part (split, else fold) and label, groups per part, and everything worth a line.

    `counts` is part → label → number and `groups` part → number of groups, both with a part "all".
    """

    title: str
    by: str | None
    counts: Counts
    groups: dict[str, int]
    group_source: str
    agreement: tuple[str, ...]
    notes: tuple[str, ...]
    audit: Audit
    skipped: tuple[Skipped, ...]

    def lines(self) -> list[str]:
        """The summary as text, one line an element."""
        total, labels = sum(self.counts[ALL].values()), len(set(self.counts[ALL]) - {UNKNOWN})
        head = f"{self.title}: {total} items, {labels} labels, {self.groups[ALL]} groups ({self.group_source})"
        return [head, *self._table(), *self.agreement, *self.notes, *self.audit.lines(), *self._skipped_lines()]

    def _table(self) -> Iterator[str]:
        parts = list(self.counts)
        labels = sorted(self.counts[ALL], key=lambda label: (label == UNKNOWN, label))
        shown = labels[:MAX_ROWS]
        width = max(len(label) for label in [*shown, "groups", "label"])
        yield _line("label", parts, width, parts)
        for label in shown:
            yield _line(label, [str(self.counts[part].get(label, 0)) for part in parts], width, parts)
        if len(labels) > len(shown):
            yield f"… and {len(labels) - len(shown)} more labels"
        yield _line(ALL, [str(sum(self.counts[part].values())) for part in parts], width, parts)
        yield _line("groups", [str(self.groups[part]) for part in parts], width, parts)

    def _skipped_lines(self) -> Iterator[str]:
        if self.skipped:
            first = self.skipped[0]
            yield f"! {len(self.skipped)} files were skipped (skipped.csv); the first, {first.id}: {first.reason}"


def summarise(title: str, manifest: Manifest, scan: Scan, skipped: tuple[Skipped, ...]) -> Summary:
    """Count a manifest and compare it with the published counts of its scan."""
    columns = manifest.table.select(["label", "split", "fold", "group", "group_source"]).to_pydict()
    by = next((name for name in ("split", "fold") if any(value is not None for value in columns[name])), None)
    sources = Counter(columns["group_source"])
    return Summary(
        title=title,
        by=by,
        counts=_counts(columns, by),
        groups=_groups(columns, by),
        group_source=", ".join(sorted(sources)),
        agreement=tuple(_agreement(columns, scan.published)) if scan.published else (),
        notes=tuple(scan.notes),
        audit=manifest.audit(),
        skipped=skipped,
    )


def _counts(columns: dict[str, list[str | None]], by: str | None) -> Counts:
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    for part, label in zip(_parts(columns, by), columns["label"], strict=True):
        for name in {part, ALL}:
            counted[name][UNKNOWN if label is None else label] += 1
    return {part: dict(counted[part]) for part in _ordered(counted)}


def _groups(columns: dict[str, list[str | None]], by: str | None) -> dict[str, int]:
    members: dict[str, set[str | None]] = defaultdict(set)
    for part, group in zip(_parts(columns, by), columns["group"], strict=True):
        for name in {part, ALL}:
            members[name].add(group)
    return {part: len(members[part]) for part in _ordered(members)}


def _parts(columns: dict[str, list[str | None]], by: str | None) -> list[str]:
    if by is None:
        return [ALL] * len(columns["label"])
    return [UNKNOWN if value is None else str(value) for value in columns[by]]


def _ordered(parts: dict[str, object] | dict[str, Counter[str]] | dict[str, set[str | None]]) -> list[str]:
    def rank(part: str) -> tuple[int, str]:
        return (PART_ORDER.index(part) if part in PART_ORDER else len(PART_ORDER), part)

    return [*sorted(set(parts) - {ALL}, key=rank), ALL]


def _agreement(columns: dict[str, list[str | None]], published: Published) -> Iterator[str]:
    """One line that all agrees, or one for every number that does not."""
    differences = [*_differing_counts(columns, published), *_differing_groups(columns, published)]
    if differences:
        yield from differences
    else:
        total = sum(sum(labels.values()) for labels in published.counts.values())
        yield f"all counts agree with the published ones: {total} {published.noun} ({published.source})"


def _differing_counts(columns: dict[str, list[str | None]], published: Published) -> Iterator[str]:
    found = _counts(columns, published.by)
    for part, labels in published.counts.items():
        here = found.get(part, {})
        yield from _difference(part, sum(here.get(label, 0) for label in labels), sum(labels.values()), published)
        for label, number in labels.items():
            if len(labels) > 1 and here:
                yield from _difference(f"{part}, {label}", here.get(label, 0), number, published)


def _differing_groups(columns: dict[str, list[str | None]], published: Published) -> Iterator[str]:
    sources = set(columns["group_source"])
    stated = published.groups.get(next(iter(sources)) or "", {}) if len(sources) == 1 else {}
    found = _groups(columns, published.by)
    for part, number in stated.items():
        if found.get(part, 0) != number:
            noun = f"{next(iter(sources))}s"
            yield f"{part}: {found.get(part, 0)} {noun}, published {number} ({published.source})"


def _difference(what: str, found: int, stated: int, published: Published) -> Iterator[str]:
    if found != stated:
        gap = f"{stated - found} fewer" if found < stated else f"{found - stated} more"
        yield f"{what}: {found} {published.noun}, published {stated} ({published.source}): {gap}"


def _line(name: str, cells: list[str], width: int, parts: list[str]) -> str:
    columns = [cell.rjust(max(6, len(part))) for cell, part in zip(cells, parts, strict=True)]
    return f"{name.ljust(width)}  {'  '.join(columns)}"
