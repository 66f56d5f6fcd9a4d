"""The report as one HTML page that needs nothing else."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoseek.figures import plots, strips
from histoseek.figures.pictures import SYNTHETIC
from histoseek.figures.wording import number, text_rows, words_of

if TYPE_CHECKING:
    from histoseek.evaluation.report import Report, Score

FAMILIES = ("Acc", "P", "mAP", "mMV", "nDCG")
MATRIX_LABELS = 30
"""With more labels than this the page lists the most frequent confusions in place of the matrix."""
_HEADLINE = ("mAP@10", "P@10", "mMV@5", "Acc@1", "kNN accuracy")
_NAME = re.compile(r"^(.+)@(\d+)$")
_MEANINGS = {
    "Acc": "a relevant hit among the first k",
    "P": "part of the first k hits that is relevant",
    "mAP": "mean average precision over the first k",
    "mMV": "the majority of the first k hits has the query's label",
    "nDCG": "relevant hits count more the earlier they come",
}


def report_page(report: Report, root: Path | None, query_root: Path | None = None) -> str:
    """Draw the report as one self-contained HTML page: no scripts, nothing loaded from elsewhere.

    `root` is the folder that the hits' paths start from, without which the page has no picture strips; `query_root`
    that of the queries, where it is another one.
    """
    import jinja2

    thumbnails = strips.Thumbnails(root)
    asked = thumbnails if query_root is None else strips.Thumbnails(query_root)
    best, worst, figure = _strips(report, asked, thumbnails)
    text, text_columns, text_classes = text_rows(report.text)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("histoseek.figures"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    said = " ".join(str(value) for value in report.protocol.values()).lower()
    return environment.get_template("report.html.j2").render(
        cards=_cards(report),
        table=_table(report),
        meanings=[(family, _MEANINGS[family]) for family in FAMILIES],
        panels=_panels(report),
        classes=_classes(report),
        matrix=_matrix(report.confusion),
        strips=(("Best queries", best), ("Worst queries", worst)),
        strips_by=figure,
        has_root=root is not None,
        map=_map(report),
        protocol=words_of(report.protocol),
        provenance=words_of(report.provenance),
        text=text,
        text_columns=text_columns,
        text_classes=text_classes,
        synthetic=SYNTHETIC if thumbnails.synthetic or asked.synthetic or "phantom" in said else "",
        n_queries=report.per_query.num_rows,
        plot=plots,
    )


def _shown(score: Score | None) -> dict[str, Any]:
    if score is None or not math.isfinite(score.value):
        return {"value": "–", "interval": ""}
    ends = f"{number(score.low)}–{number(score.high)}" if number(score.low) != "–" != number(score.high) else ""
    return {"value": number(score.value), "interval": ends}


def _cards(report: Report) -> list[dict[str, Any]]:
    names = [name for name in _HEADLINE if name in report.macro or name in report.scores][:4]
    return [
        {"name": name, "macro": _shown(report.macro.get(name)), "micro": _shown(report.scores.get(name))}
        for name in names
    ]


def _ks(report: Report) -> list[int]:
    found = {int(match[2]) for name in [*report.scores, *report.macro] if (match := _NAME.match(name))}
    return sorted(k for k in found if k > 0)


def _table(report: Report) -> dict[str, Any]:
    """The figures over k: a row a metric and mean, a column a k; metrics without a k stand apart."""
    ks = _ks(report)
    named = [(f"{family}@k", [f"{family}@{k}" for k in ks]) for family in FAMILIES]
    rows = [
        {"name": name, "mean": mean, "cells": [_shown(part.get(column)) for column in columns]}
        for name, columns in named
        for mean, part in (("classes", report.macro), ("queries", report.scores))
        if any(column in part for column in columns)
    ]
    known = {column for _, columns in named for column in columns}
    single = [name for name in dict.fromkeys([*report.scores, *report.macro]) if name not in known]
    singles = [
        {"name": name, "macro": _shown(report.macro.get(name)), "micro": _shown(report.scores.get(name))}
        for name in single
    ]
    return {"ks": ks, "rows": rows, "singles": singles}


def _panels(report: Report) -> list[plots.Panel]:
    parts: dict[str, Mapping[str, plots.Figure]] = {"over classes": report.macro, "over queries": report.scores}
    made = [plots.panel(family, _ks(report), parts) for family in ("P", "Acc", "mAP")]
    return [panel for panel in made if panel is not None]


def _classes(report: Report) -> dict[str, Any]:
    """A column for each metric of the classes, the long list of k cut to 1, 5 and 10."""
    names = list(dict.fromkeys(name for values in report.per_class.values() for name in values))
    kept = [name for name in names if not (match := _NAME.match(name)) or match[2] in ("1", "5", "10")]
    columns = (kept or names)[:12]

    def cell(value: Any) -> str:
        return str(value) if isinstance(value, int) else number(value)

    rows = [(label, [cell(values.get(name)) for name in columns]) for label, values in report.per_class.items()]
    return {"columns": columns, "rows": rows}


def _matrix(confusion: Mapping[str, Any]) -> dict[str, Any] | None:
    """The votes, each row shaded by its own sum."""
    labels = [str(label) for label in confusion.get("labels", ())]
    counts = confusion.get("counts", ())
    if not labels or len(counts) < len(labels):
        return None
    rows = []
    for label, row in zip(labels, counts, strict=False):
        total = sum(row)
        shares = [count / total if total else 0.0 for count in row]
        cells = [
            {"count": count, "share": round(share, 3), "percent": f"{100 * share:.0f}"}
            for count, share in zip(row, shares, strict=True)
        ]
        rows.append({"label": label, "total": total, "cells": cells})
    pairs = [
        (count, labels[true], labels[voted])
        for true, row in enumerate(counts[: len(labels)])
        for voted, count in enumerate(row[: len(labels)])
        if true != voted and count
    ]
    worst = sorted(pairs, key=lambda pair: (-pair[0], pair[1:]))[:20]
    whole = len(labels) <= MATRIX_LABELS
    return {"k": confusion.get("k", "k"), "labels": labels, "rows": rows if whole else [], "worst": worst}


def _strips(
    report: Report, asked: strips.Thumbnails, thumbnails: strips.Thumbnails
) -> tuple[list[strips.Strip], list[strips.Strip], str]:
    table = report.per_query
    names = [name for name in table.column_names if name.startswith("AP@")]
    if not names or "id" not in table.column_names or not table.num_rows:
        return [], [], ""
    figure = "AP@10" if "AP@10" in names else names[-1]
    figures, ids = table.column(figure).to_pylist(), [str(one) for one in table.column("id").to_pylist()]
    boxes = dict(zip(ids, table.column("box").to_pylist(), strict=True)) if "box" in table.column_names else {}
    chosen = table.select([name for name in strips.COLUMNS if name in table.column_names])

    def drawn(rows: list[int]) -> list[strips.Strip]:
        return [
            strips.strip_of(found, number(figures[row]), asked, thumbnails, boxes)
            for row, found in zip(rows, chosen.take(rows).to_pylist(), strict=True)
        ]

    best, worst = strips.extremes(figures, ids)
    return drawn(best) if best else [], drawn(worst) if worst else [], figure


def _map(report: Report) -> plots.MapPlot | None:
    table = report.per_query
    if not {"map_x", "map_y", "label", "id"} <= set(table.column_names):
        return None
    xs, ys, labels, ids = (table.column(name).to_pylist() for name in ("map_x", "map_y", "label", "id"))
    return plots.map_plot(xs, ys, labels, [str(one) for one in ids])
