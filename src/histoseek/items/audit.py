"""The audit: what in a manifest would make an evaluation dishonest or an index poor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from histoseek.items.digests import among, content_digests, repeated
from histoseek.items.spool import rows_of

N_EXAMPLES = 5
IMBALANCE = 10
"""A largest class this many times the smallest is worth a line."""

_SIDES = ("box_x", "box_y", "box_width", "box_height")


@dataclass(frozen=True)
class Finding:
    """One thing found: `level` "error" spoils an evaluation, "note" is good to know."""

    level: Literal["error", "note"]
    kind: str
    message: str
    n_items: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Audit:
    """All findings about a manifest, errors first."""

    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that spoil an evaluation."""
        return tuple(finding for finding in self.findings if finding.level == "error")

    def lines(self) -> list[str]:
        """One line a finding, for people."""
        marks = {"error": "!", "note": "-"}
        return [f"{marks[finding.level]} {finding.message}" for finding in self.findings]


def audit_table(table: pa.Table) -> Audit:
    """Run every check over a manifest's table."""
    known = _with_content(table)
    checks: tuple[tuple[Callable[[pa.Table], Iterator[Finding]], pa.Table], ...] = (
        (_groups_across_splits, table),
        (_content_across_splits, known),
        (_content_across_labels, known),
        (_content_across_groups, known),
        (_content_twice, known),
        (_missing_mpp, table),
        (_missing_label, table),
        (_unknown_groups, table),
        (_balance, table),
    )
    found = [finding for check, rows in checks for finding in check(rows)]
    return Audit(tuple(sorted(found, key=lambda finding: finding.level != "error")))


def _groups_across_splits(table: pa.Table) -> Iterator[Finding]:
    torn, n_items = _keys_with_several(table, "group", "split")
    if torn:
        yield Finding(
            "error",
            "group-across-splits",
            f"{len(torn)} groups are in more than one split ({_some(torn)}): queries would meet their own patient",
            n_items,
            tuple(torn[:N_EXAMPLES]),
        )


def _content_across_splits(known: pa.Table) -> Iterator[Finding]:
    yield from _same_content(known, "split", "are in more than one split: queries would find themselves", "error")


def _content_across_labels(known: pa.Table) -> Iterator[Finding]:
    yield from _same_content(known, "label", "carry different labels: one of them must be wrong", "error")


def _content_across_groups(known: pa.Table) -> Iterator[Finding]:
    yield from _same_content(
        known, "group", "belong to different groups: leaving a patient out would not leave them out", "error"
    )


def _same_content(known: pa.Table, column: str, why: str, level: Literal["error", "note"]) -> Iterator[Finding]:
    digests, n_items = _keys_with_several(known, "content", column)
    if digests:
        examples = known.filter(pc.field("content") == digests[0])["id"].to_pylist()[:N_EXAMPLES]
        yield Finding(
            level,
            f"content-across-{column}s",
            f"{len(digests)} identical images ({_some(examples)}) {why}",
            n_items,
            tuple(examples),
        )


def _content_twice(known: pa.Table) -> Iterator[Finding]:
    copies = known.num_rows - pc.count_distinct(known["content"]).as_py()
    if copies:
        yield Finding("note", "duplicates", f"{copies} images are copies of another one, byte for byte", copies)


def _missing_mpp(table: pa.Table) -> Iterator[Finding]:
    unknown = table["mpp"].null_count
    if unknown:
        yield Finding(
            "note",
            "missing-mpp",
            f"{unknown} of {table.num_rows} items have no known scale: each is fitted whole into the encoder's view; "
            "state it with --mpp",
            unknown,
        )


def _missing_label(table: pa.Table) -> Iterator[Finding]:
    unknown = table["label"].null_count
    if unknown:
        yield Finding(
            "note", "missing-label", f"{unknown} of {table.num_rows} items have no label: found, never judged", unknown
        )


def _unknown_groups(table: pa.Table) -> Iterator[Finding]:
    alone = pc.sum(pc.equal(table["group_source"], "image")).as_py() or 0
    if alone:
        yield Finding(
            "note",
            "unknown-group",
            f"{alone} of {table.num_rows} items have no patient, case or slide: each counts as a group of its own, "
            "and images of one patient may meet",
            alone,
        )


def _balance(table: pa.Table) -> Iterator[Finding]:
    counted = pc.value_counts(table["label"]).to_pylist()
    counts = {row["values"]: row["counts"] for row in counted if row["values"] is not None}
    if len(counts) < 2:
        return
    most, least = max(counts, key=lambda label: counts[label]), min(counts, key=lambda label: counts[label])
    if counts[most] >= IMBALANCE * counts[least]:
        yield Finding(
            "note",
            "imbalance",
            f"{most!r} has {counts[most]} items and {least!r} {counts[least]}: read the macro figures",
            table.num_rows,
        )


def _with_content(table: pa.Table) -> pa.Table:
    """Items whose content another one seems to have, and that content: the file's digest and the box inside it."""
    digests = content_digests(table)
    known = pc.is_valid(table["sha256"]).to_numpy()
    rows = np.flatnonzero(known & among(digests, repeated([digests[known]])))
    found = rows_of(table.select(["id", "label", "group", "split", "sha256", *_SIDES]), rows)
    box = [pc.coalesce(pc.cast(found[side], pa.string()), "") for side in _SIDES]
    content = pc.binary_join_element_wise(found["sha256"], *box, "|")
    return found.select(["id", "label", "group", "split"]).append_column("content", content)


def _keys_with_several(table: pa.Table, key: str, column: str) -> tuple[list[str], int]:
    """Values of `key` that stand beside more than one known value of `column`, and how many rows that touches."""
    if table[column].null_count == table.num_rows:
        return [], 0
    known = table.select([key, column]).filter(pc.field(column).is_valid())
    counted = known.group_by(key).aggregate([(column, "count_distinct"), (column, "count")])
    torn = counted.filter(pc.field(f"{column}_count_distinct") > 1).sort_by(key)
    return torn[key].to_pylist(), pc.sum(torn[f"{column}_count"]).as_py() or 0


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown}, …"
