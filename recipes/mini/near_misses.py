"""Near misses: contact sheets of good and bad queries on held-out cases, and who is taken for whom.

    python recipes/mini/near_misses.py real/mini/indexes/XXXX.index --out real/near_misses

INDEX is one that measure.py built. Ten words (five best, five worst by P@10) search the labelled held-out tiles at 20x;
ten held-out tiles (likewise, each of another case) search the ten organs with three or more cases at 20x, their own
case shut out. `near_misses.md` says in words what the sheets show. The pictures are real tissue: never commit them.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas import HELD_OUT, TEN_ORGANS, both, scale
from retrieval import asked_by_words, value_of

import histoseek as hs
from histoseek.index import Hits
from histoseek.items import Item, written_whole

WORDS_GALLERY = both(HELD_OUT, scale("20x"), "label IS NOT NULL")
IMAGE_GALLERY = both(TEN_ORGANS, scale("20x"))
EACH = 5


@dataclass(frozen=True)
class Query:
    """A query for a `label`: its `name` for people, its `case` ("" for words), P@10, and the `labels` of its hits."""

    label: str
    name: str
    case: str
    precision: float
    labels: Sequence[str]
    draw: Callable[[Path], Any]

    @property
    def order(self) -> str:
        """Breaks ties without anyone choosing."""
        return hashlib.sha256(self.name.encode()).hexdigest()


def main() -> None:
    """Write the sheets and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("--out", type=Path, default=Path("real/near_misses"))
    asked = parser.parse_args()
    index = hs.Index.open(asked.index)
    lines = [f"# Near misses of {index.about.encoder}", ""]
    texts = word_queries(index) if index.about.has_text else []
    images = image_queries(index)
    for kind, queries in (("text", texts), ("image", images)):
        lines += [f"## {kind} queries", ""]
        lines += shown(kind, queries, asked.out) if queries else ["This encoder reads no words.", ""]
    lines += confusion("Organs by their held-out tiles", images)
    lines += confusion("Words by the tiles they find", texts) if texts else []
    with written_whole(asked.out / "near_misses.md") as draft:
        draft.write_text("\n".join(lines), encoding="utf-8")
    print(f"wrote {asked.out / 'near_misses.md'} and the sheets beside it; they show real tissue, never commit them")


def word_queries(index: hs.Index) -> list[Query]:
    """Every organ and every diagnosis of the held-out cases, asked in words."""
    queries = []
    for column in ("label", "diagnosis"):
        for name, (precision, _, hits) in asked_by_words(index, WORDS_GALLERY, column).items():
            labels = [str(value_of(hit.item, column)) for hit in hits]
            queries.append(Query(name, name, "", precision, labels, _sheet_of_words(hits, name)))
    return queries


def _sheet_of_words(hits: Hits, name: str) -> Callable[[Path], Any]:
    # They were asked for by the mean of several prompts; the sheet should name the words.
    worded = Hits(hits.hits, hits.root, {"examples": [{"kind": "text", "value": name, "weight": 1.0}]})
    return lambda path: worded.sheet(path)


def image_queries(index: hs.Index) -> list[Query]:
    """Every held-out tile of the ten organs, asked for its organ."""
    report = hs.evaluate(index, both(IMAGE_GALLERY, HELD_OUT), gallery=IMAGE_GALLERY, protocol="leave-group-out")
    items = {item.id: item for item in index.manifest.where(both(IMAGE_GALLERY, HELD_OUT))}
    queries = []
    for row in report.per_query.select(["id", "label", "group", "P@10", "hit_labels"]).to_pylist():
        item = items[row["id"]]
        name = f"{row['label']} ({item.extra['diagnosis']}; {Path(item.path).stem})"
        queries.append(
            Query(row["label"], name, row["group"], row["P@10"], row["hit_labels"][:10], _sheet_of_item(index, item))
        )
    return queries


def _sheet_of_item(index: hs.Index, item: Item) -> Callable[[Path], Any]:
    return lambda path: index.search(item=item.id, k=10, where=IMAGE_GALLERY).sheet(path, query=item)


def picked(queries: list[Query], *, best: bool) -> list[Query]:
    """The best or the worst few, no two of one case; equals in the order of a digest."""
    ordered = sorted(queries, key=lambda query: (-query.precision if best else query.precision, query.order))
    kept: list[Query] = []
    for query in ordered:
        if not query.case or query.case not in {one.case for one in kept}:
            kept.append(query)
    return kept[:EACH]


def shown(kind: str, queries: list[Query], out: Path) -> list[str]:
    """Draw the sheets, and say in a table what each query found."""
    lines = ["| sheet | query | P@10 | found |", "|---|---|---|---|"]
    for quality in ("best", "worst"):
        for nth, query in enumerate(picked(queries, best=quality == "best"), 1):
            slug = re.sub(r"\W+", "_", query.name)[:60].strip("_")
            file = out / f"{kind}_{quality}_{nth}_{slug}.png"
            out.mkdir(parents=True, exist_ok=True)
            query.draw(file)
            lines.append(f"| {file.name} | {query.name} | {query.precision:.1f} | {counted(query.labels)} |")
    return [*lines, ""]


def counted(labels: Sequence[str]) -> str:
    """Labels with how often they occur, the most frequent first."""
    return ", ".join(f"{label} {count}" for label, count in Counter(labels).most_common(5))


def confusion(title: str, queries: list[Query]) -> list[str]:
    """For each label asked for, the share of each label among the first ten hits."""
    found: dict[str, Counter[str]] = {}
    for query in queries:
        found.setdefault(query.label, Counter()).update(query.labels)
    lines = [f"## {title}", "", "| asked for | itself | taken for |", "|---|---|---|"]
    for name, counts in sorted(found.items()):
        total = counts.total() or 1
        others = [(label, count) for label, count in counts.most_common() if label != name][:5]
        taken = ", ".join(f"{label} {count / total:.0%}" for label, count in others)
        lines.append(f"| {name} | {counts[name] / total:.0%} | {taken} |")
    return [*lines, ""]


if __name__ == "__main__":
    main()
