"""The summary: what was prepared, counted beside what was published, for a person to read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from histoseek.datasets.dataset import Published, Scan
from histoseek.items import Item, Manifest, Skipped, table_of
from histoseek.items.audit import Audit

ALL = "all"
UNKNOWN = "(none)"
MAX_ROWS = 30
"""Labels shown; the rest becomes one line."""

MAX_DIFFERENCES = 8
"""Lines about numbers that differ from the published ones; beyond, labels become one line."""

COUNTED = ["label", "split", "fold", "group", "group_source"]
PART_ORDER = ("train", "val", "test", "unlabelled")
N_ROWS = "rows"
Counts = dict[str, dict[str, int]]
Columns = dict[str, list[Any]]


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
    published: Published | None = None

    def lines(self) -> list[str]:
        """The summary as text, one line an element."""
        total, labels = sum(self.counts[ALL].values()), len(set(self.counts[ALL]) - {UNKNOWN})
        head = f"{self.title}: {total} items, {labels} labels, {self.groups[ALL]} groups ({self.group_source})"
        return [head, *self._table(), *self.agreement, *self.notes, *self.audit.lines(), *self._skipped_lines()]

    def _table(self) -> Iterator[str]:
        parts = list(self.counts)
        labels = sorted(self.counts[ALL], key=lambda label: (label == UNKNOWN, label))
        stated = {part: _stated(self.published, self.by, part) for part in parts}
        rows = [["label", *parts]]
        for label in labels[:MAX_ROWS]:
            rows.append([label, *(_cell(self.counts[part].get(label, 0), stated[part].get(label)) for part in parts)])
        totals = {part: sum(stated[part].values()) for part in parts if set(self.counts[part]) <= set(stated[part])}
        rows.append([ALL, *(_cell(sum(self.counts[part].values()), totals.get(part)) for part in parts)])
        groups = _stated_groups(self.published, {self.group_source}) if stated[ALL] else {}
        rows.append(["groups", *(_cell(self.groups[part], groups.get(part)) for part in parts)])
        widths = [max(6 if i else 0, *(len(row[i]) for row in rows)) for i in range(len(rows[0]))]
        lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
        yield from lines[:-2]
        if len(labels) > MAX_ROWS:
            yield f"… and {len(labels) - MAX_ROWS} more labels"
        yield from lines[-2:]
        if any("/" in cell for row in rows[1:] for cell in row[1:]):
            yield "(found/published)"

    def _skipped_lines(self) -> Iterator[str]:
        if self.skipped:
            first = self.skipped[0]
            yield f"! {len(self.skipped)} files were skipped (skipped.csv); the first, {first.id}: {first.reason}"


def summarise(
    title: str, manifest: Manifest, scan: Scan, skipped: tuple[Skipped, ...], slides: Sequence[Item] = ()
) -> Summary:
    """Count a manifest and compare it with the published counts of its scan.

    Where `slides` were cut into tiles, they are what is compared: nobody publishes tiles.
    """
    columns = _kinds(manifest.table)
    compared = _kinds(table_of(slides)) if slides else columns
    by = next((name for name in ("split", "fold") if any(value is not None for value in columns[name])), None)
    sources = set(columns["group_source"])
    return Summary(
        title=title,
        by=by,
        counts=_counts(columns, by),
        groups=_groups(columns, by),
        group_source=", ".join(sorted(sources)),
        agreement=tuple(_agreement(compared, scan.published)) if scan.published else (),
        notes=tuple(scan.notes),
        audit=manifest.audit(),
        skipped=skipped,
        published=None if slides else scan.published,
    )


def _kinds(table: pa.Table) -> Columns:
    """Each combination of what is counted, as columns, and how many rows have it: far fewer than there are rows."""
    found = table.select(COUNTED).group_by(COUNTED, use_threads=False).aggregate([([], "count_all")])
    columns: Columns = found.rename_columns({"count_all": N_ROWS}).to_pydict()
    return columns


def _counts(columns: Columns, by: str | None) -> Counts:
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    for part, label, n_rows in zip(_parts(columns, by), columns["label"], columns[N_ROWS], strict=True):
        for name in {part, ALL}:
            counted[name][UNKNOWN if label is None else label] += n_rows
    return {part: dict(counted[part]) for part in _ordered(counted)}


def _groups(columns: Columns, by: str | None) -> dict[str, int]:
    members: dict[str, set[str | None]] = defaultdict(set)
    for part, group in zip(_parts(columns, by), columns["group"], strict=True):
        for name in {part, ALL}:
            members[name].add(group)
    return {part: len(members[part]) for part in _ordered(members)}


def _parts(columns: Columns, by: str | None) -> list[str]:
    if by is None:
        return [ALL] * len(columns["label"])
    return [UNKNOWN if value is None else str(value) for value in columns[by]]


def _ordered(parts: dict[str, object] | dict[str, Counter[str]] | dict[str, set[str | None]]) -> list[str]:
    def rank(part: str) -> tuple[int, str]:
        return (PART_ORDER.index(part) if part in PART_ORDER else len(PART_ORDER), part)

    return [*sorted(set(parts) - {ALL}, key=rank), ALL]


def _stated(published: Published | None, by: str | None, part: str) -> dict[str, int]:
    """Published numbers of a part by label, {} where none were published; all is the sum of the parts."""
    if published is None or (published.by != by and part != ALL):
        return {}
    if part in published.counts or part != ALL:
        return dict(published.counts.get(part, {}))
    total: Counter[str] = Counter()
    for labels in published.counts.values():
        total.update(labels)
    return dict(total)


def _stated_groups(published: Published | None, sources: set[str]) -> dict[str, int]:
    """Published numbers of groups by part, {} where groups stand for something else or for several things."""
    if published is None or len(sources) != 1:
        return {}
    return dict(published.groups.get(next(iter(sources)), {}))


def _agreement(columns: Columns, published: Published) -> Iterator[str]:
    """One line that all agrees, or one for every number that does not; and whether groups were compared."""
    sources = {source or "" for source in columns["group_source"]}
    totals, labels = _differing_counts(columns, published)
    groups = list(_differing_groups(columns, published, sources))
    unknown = ""
    if len(sources) > 1 or (published.groups and not _stated_groups(published, sources)):
        unknown = f"groups were not compared: here they are {', '.join(sorted(sources))}"
    if len(totals) + len(labels) + len(groups) > MAX_DIFFERENCES and labels:
        labels = [f"and {len(labels)} labels differ"]
    if differences := [*totals, *labels, *groups]:
        yield from differences
        yield from filter(None, [unknown])
    else:
        total = sum(sum(numbers.values()) for numbers in published.counts.values())
        line = f"all counts agree with the published ones: {total} {published.noun} ({published.source})"
        yield f"{line}; {unknown}" if unknown else line


def _differing_counts(columns: Columns, published: Published) -> tuple[list[str], list[str]]:
    """Lines on the totals of parts, and on single labels."""
    found = _counts(columns, published.by)
    in_total: list[str] = []
    in_label: list[str] = []
    for part, labels in published.counts.items():
        here = found.get(part, {})
        in_total += _difference(part, sum(here.get(label, 0) for label in labels), sum(labels.values()), published)
        for label, number in labels.items():
            if len(labels) > 1 and here:
                in_label += _difference(f"{part}, {label}", here.get(label, 0), number, published)
    return in_total, in_label


def _differing_groups(columns: Columns, published: Published, sources: set[str]) -> Iterator[str]:
    found = _groups(columns, published.by)
    for part, number in _stated_groups(published, sources).items():
        if found.get(part, 0) != number:
            noun = f"{next(iter(sources))}s"
            yield f"{part}: {found.get(part, 0)} {noun}, published {number} ({published.source})"


def _difference(what: str, found: int, stated: int, published: Published) -> Iterator[str]:
    if found != stated:
        gap = f"{stated - found} fewer" if found < stated else f"{found - stated} more"
        yield f"{what}: {found} {published.noun}, published {stated} ({published.source}): {gap}"


def _cell(found: int, stated: int | None) -> str:
    return str(found) if stated is None else f"{found}/{stated}"
