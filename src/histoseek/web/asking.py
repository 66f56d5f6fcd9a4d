"""Searching: by items, vectors, words and regions."""

from __future__ import annotations

import time

from fastapi import APIRouter

from histoseek.index import Hit
from histoseek.items import Item
from histoseek.web.archive import Answer, Archive, digest_of
from histoseek.web.columns import shown_value
from histoseek.web.schemas import BoxOut, HitOut, ItemOut, QueryOut, Question, SearchOut, SlideRef

SOURCES = ("expert", "dataset", "predicted")


def router(archive: Archive) -> APIRouter:
    """The routes of this file."""
    routes = APIRouter(tags=["search"])

    @routes.post("/search")
    def search(asked: Question) -> SearchOut:
        """Find what looks like some examples."""
        since = time.perf_counter()
        return answer_out(archive, archive.answer(asked), since)

    @routes.get("/items/{item_id}")
    def item(item_id: str) -> ItemOut:
        """One item."""
        return item_out(archive, archive.item(item_id))

    return routes


def answer_out(archive: Archive, answer: Answer, since: float) -> SearchOut:
    """An answer as it goes over the wire; `since` is when its work began."""
    hits = [hit_out(archive, hit) for hit in answer.hits]
    return SearchOut(
        index_version=answer.version,
        took_ms=round((time.perf_counter() - since) * 1000, 2),
        query=QueryOut(vector=answer.vector.tolist(), digest=digest_of(answer.vector)),
        hits=hits,
        vote=None,
        warnings=[],
        first_weak=None,
    )


def hit_out(archive: Archive, hit: Hit) -> HitOut:
    """A hit as it goes over the wire."""
    return HitOut(rank=hit.rank, score=hit.score, closeness=None, **vars(item_out(archive, hit.item)))


def item_out(archive: Archive, item: Item) -> ItemOut:
    """An item as it goes over the wire: of its columns those that may be shown."""
    box = item.box
    width, height = (box.width, box.height) if box else (item.width, item.height)
    shown = archive.column_names()
    values = {"dataset": item.dataset, "split": item.split, "fold": item.fold, **item.extra}
    source = item.extra.get("label_source")
    return ItemOut(
        id=archive.item_id(item),
        label=item.label,
        label_source=source if source in SOURCES else "dataset" if item.label is not None else None,  # type: ignore[arg-type]
        slide=SlideRef(id=archive.slide_id(item.path), name=archive.slide_name(item)),
        patient=archive.patient_name(item),
        box=BoxOut(x=box.x, y=box.y, width=box.width, height=box.height) if box else None,
        mpp=item.mpp,
        width_um=width * item.mpp if width and item.mpp else None,
        height_um=height * item.mpp if height and item.mpp else None,
        columns={
            name: shown_value(value, keep_names=archive.keep_names) for name, value in values.items() if name in shown
        },
    )
