"""The report of an evaluation: figures with intervals, one row a query, and all that explains them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from histoseek.errors import DamagedError, InputError
from histoseek.items import Skipped, write_skipped, written_whole

FORMAT = 1


@dataclass(frozen=True)
class Score:
    """One figure with its interval: `value`, and the ends `low` and `high` of the bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Report:
    """What an evaluation found.

    `scores` maps a metric ("mAP@10") to its mean over queries, `macro` to its mean over classes, and `per_class`
    a label to its metrics. `protocol` holds what the figures depend on: gallery and query counts, unanswerable
    queries, exclusion, denominators, tie rule, encoder, precision, seed; `provenance` versions, git state and
    command. `confusion` is {"k", "labels", "counts" [true][voted]}. `text` holds the text → image figures, empty
    without a text tower. `per_query` has one row a query: `id`, `path`, `box`, `label`, `group`, `n_relevant`,
    `hit_ids`, `hit_paths`, `hit_boxes`, `hit_labels`, `hit_scores` (lists, best first), `map_x` and `map_y` (its place
    on the first two principal axes), `vote@k` and one column a metric.
    """

    scores: Mapping[str, Score]
    macro: Mapping[str, Score]
    per_class: Mapping[str, Mapping[str, float]]
    confusion: Mapping[str, Any]
    protocol: Mapping[str, Any]
    provenance: Mapping[str, Any]
    text: Mapping[str, Any]
    per_query: pa.Table
    skipped: tuple[Skipped, ...] = ()

    def write(self, folder: str | Path, root: str | Path | None = None, query_root: str | Path | None = None) -> None:
        """Write `per_query.parquet`, `report.html`, `skipped.csv` and, last, `scores.json` into `folder`.

        `root` is the folder that the hits' paths start from, without which the page has no picture strips;
        `query_root` that of the queries, where it is another one.
        """
        from histoseek.figures.page import report_page

        home = Path(folder)
        with written_whole(home / "per_query.parquet") as draft:
            pq.write_table(self.per_query, draft, compression="zstd")
        with written_whole(home / "report.html") as draft:
            draft.write_text(
                report_page(self, *(None if one is None else Path(one) for one in (root, query_root))), encoding="utf-8"
            )
        write_skipped(home / "skipped.csv", self.skipped)
        with written_whole(home / "scores.json") as draft:
            draft.write_text(json.dumps(self._json(), indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8")

    @classmethod
    def read(cls, folder: str | Path) -> Report:
        """Read a report back from its folder.

        Raises:
            InputError: the folder holds no report.
            DamagedError: the report is incomplete.
        """
        home = Path(folder)
        if not (home / "scores.json").is_file():
            raise InputError(f"{home} holds no report; make one with: histoseek evaluate INDEX --out {home}")
        try:
            kept = json.loads((home / "scores.json").read_text(encoding="utf-8"))
            table = pq.read_table(home / "per_query.parquet")
            scores, macro = ({name: Score(**s) for name, s in kept[part].items()} for part in ("scores", "macro"))
            rest = {name: kept[name] for name in ("per_class", "confusion", "protocol", "provenance", "text")}
            return cls(scores=scores, macro=macro, per_query=table, **rest)
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise DamagedError(f"the report {home} is damaged ({error}); evaluate again") from error

    def _json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "protocol": dict(self.protocol),
            "scores": {name: asdict(score) for name, score in self.scores.items()},
            "macro": {name: asdict(score) for name, score in self.macro.items()},
            "per_class": {label: dict(values) for label, values in self.per_class.items()},
            "confusion": dict(self.confusion),
            "text": dict(self.text),
            "provenance": dict(self.provenance),
        }
