"""Searching by items, vectors, words and regions, and what the archive says of itself."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path

from histoseek.errors import HistoseekError
from histoseek.imaging.quality import why_blank
from histoseek.index import Hit, Index, picture_of_region
from histoseek.items import Item
from histoseek.web.archive import Answer, Archive, digest_of
from histoseek.web.bodies import QuestionBody, json_body
from histoseek.web.columns import shown_value
from histoseek.web.schemas import (
    ID,
    BoxOut,
    HitOut,
    IndexOut,
    ItemOut,
    QueryOut,
    Question,
    RegionExample,
    ReliabilityOut,
    SearchOut,
    SlideRef,
)
from histoseek.web.voting import is_as_measured, reliability_of, vote_of

SOURCES = {"annotation": "expert", "expert": "expert", "predicted": "predicted"}
"""What items say of where their label comes from, in the words of the API; all else was published with the dataset."""

USUAL_K = 25
"""Hits that the page asks for, for whose vote /index tells the reliability of labels."""

LOOKED_AT_PX = 256
"""Side of the picture of a region that is looked at for tissue."""


def router(archive: Archive) -> APIRouter:
    """The routes of this file."""
    routes = APIRouter(tags=["search"])

    @routes.get("/index")
    def index() -> IndexOut:
        """What the archive holds, and how it can be asked."""
        return index_out(archive)

    @routes.post("/search", openapi_extra=json_body(Question))
    def search(asked: QuestionBody) -> SearchOut:
        """Find what looks like some examples."""
        since = time.perf_counter()
        answer = archive.answer(asked)
        return answer_out(archive, answer, since, _blank_regions(archive, answer))

    @routes.get("/items/{item_id}")
    def item(item_id: Annotated[str, Path(pattern=ID)]) -> ItemOut:
        """One item."""
        index = archive.now()
        return item_out(archive, archive.item(item_id, index), index)

    return routes


def answer_out(archive: Archive, answer: Answer, since: float, warnings: Sequence[str] = ()) -> SearchOut:
    """An answer as it goes over the wire; `since` is when its work began."""
    calibration = archive.calibration if answer.is_comparable else None
    words = [calibration.word(hit.score) if calibration else None for hit in answer.hits]
    hits = [hit_out(archive, hit, answer.index, word) for hit, word in zip(answer.hits, words, strict=True)]
    weak = [hit.rank for hit in hits if hit.closeness == "weak"]
    told = list(warnings)
    if not hits:
        told.append("Nothing was found: the filters or the lowest score leave no item.")
    if weak and len(weak) == len(hits):
        told.append("Nothing in the archive is similar enough; what is shown are only the nearest items.")
    strong = [hit for hit, shown in zip(answer.hits, hits, strict=True) if shown.closeness != "weak"]
    return SearchOut(
        index_version=answer.version,
        took_ms=round((time.perf_counter() - since) * 1000, 2),
        query=QueryOut(vector=answer.vector.tolist(), digest=digest_of(answer.vector), file=answer.file),
        hits=hits,
        vote=vote_of(strong, len(hits), archive.calibration if is_as_measured(answer) else None, len(weak)),
        warnings=told,
        first_weak=min(weak, default=None),
    )


def hit_out(archive: Archive, hit: Hit, index: Index, closeness: Any = None) -> HitOut:
    """A hit as it goes over the wire."""
    return HitOut(rank=hit.rank, score=hit.score, closeness=closeness, **vars(item_out(archive, hit.item, index)))


def item_out(archive: Archive, item: Item, index: Index) -> ItemOut:
    """An item of a version as it goes over the wire: of its columns those that may be shown."""
    box = item.box
    width, height = (box.width, box.height) if box else (item.width, item.height)
    kinds = archive.kinds_of(index)
    values = {"dataset": item.dataset, "split": item.split, "fold": item.fold, **item.extra}
    return ItemOut(
        id=archive.item_id(item),
        label=item.label,
        label_source=_source_of(item),
        slide=SlideRef(id=archive.slide_id(item.path), name=archive.slide_name(item)),
        patient=archive.patient_name(item),
        box=BoxOut(x=box.x, y=box.y, width=box.width, height=box.height) if box else None,
        mpp=item.mpp,
        width_um=width * item.mpp if width and item.mpp else None,
        height_um=height * item.mpp if height and item.mpp else None,
        columns={
            name: shown_value(value, kinds[name], keep_names=archive.keep_names)
            for name, value in values.items()
            if name in kinds
        },
    )


def index_out(archive: Archive) -> IndexOut:
    """What the archive says of itself."""
    told = archive.told()
    about, facts = told.about, told.about.facts
    why_not = None
    if not about.has_text:
        why_not = "This archive was made by an encoder of pictures alone, which knows no words; ask with a picture."
    return IndexOut(
        name=str(facts.get("title") or facts.get("dataset") or "Archive"),
        version=told.version,
        n_items=told.n_items,
        n_slides=told.n_slides,
        n_patients=told.n_patients,
        encoder=about.encoder,
        fingerprint=about.fingerprint.digest,
        dim=about.dim,
        has_text=about.has_text,
        text_why_not=why_not,
        mpp=about.fingerprint.preprocessing.mpp,
        licence=str(facts["licence"]) if facts.get("licence") else None,
        columns=list(told.columns),
        search_recall=float(about.search["recall"]) if "recall" in about.search else None,
        reliability=_reliability(archive),
        floor=archive.calibration.floor if archive.calibration else None,
        has_map=archive.has_map,
    )


def _reliability(archive: Archive) -> list[ReliabilityOut] | None:
    if archive.calibration is None:
        return None
    return [
        ReliabilityOut(
            label=label,
            precision=one.precision,
            low=one.low,
            high=one.high,
            n_queries=one.n_queries,
            n_groups=one.n_groups,
        )
        for label, one in reliability_of(archive.calibration, USUAL_K).items()
    ]


def _source_of(item: Item) -> Any:
    """Where a label comes from: what the item says of it, else the dataset that it was published with."""
    stated = item.extra.get("label_source")
    if item.label is None:
        return None
    return SOURCES.get(str(stated), "dataset")


def _blank_regions(archive: Archive, answer: Answer) -> list[str]:
    """What to say of regions without tissue."""
    warnings = []
    for one in answer.asked.examples:
        if not isinstance(one, RegionExample) or one.weight < 0:
            continue
        with suppress(HistoseekError):  # the search itself has told what is wrong with the region
            picture, _ = picture_of_region(*archive.region(one.region, answer.index), LOOKED_AT_PX, archive.readers)
            blank = why_blank(np.asarray(picture))
            if blank is not None:
                warnings.append(f"This region looks blank: {blank}.")
    return warnings
