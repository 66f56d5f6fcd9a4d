"""An index as the server shows it: items, slides and patients under opaque names, and questions answered."""

from __future__ import annotations

import base64
import copy
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histoseek.errors import HistoseekError
from histoseek.imaging import MAX_PIXELS, OpenReaders
from histoseek.index import Example, Hits, Index, Region, RuleOptions
from histoseek.index.layout import has_layout
from histoseek.items import Item, inside_root, item_of
from histoseek.items.filters import text_literal
from histoseek.web.audit import note_asked
from histoseek.web.budget import A_QUESTION, Budget, cost_of
from histoseek.web.catalogue import Catalogue
from histoseek.web.columns import Showing, check_columns, own_columns, where_of
from histoseek.web.problems import CannotAnswer, UnknownId, problem_of
from histoseek.web.pseudonyms import Pseudonyms, is_patient_known
from histoseek.web.regions import canvas_of, region_of, side_of
from histoseek.web.schemas import (
    ColumnOut,
    ExampleIn,
    ItemExample,
    PolygonIn,
    RectangleIn,
    RegionExample,
    SearchIn,
    TextExample,
    VectorExample,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from histoseek.evaluation import Calibration
    from histoseek.index.about import About
    from histoseek.index.view import View

SLIDES_OPEN = 6
"""Slides kept open; each may hold about 100 MB of decoded tiles."""


@dataclass(frozen=True)
class SlideEntry:
    """A file of the archive that can be looked at: `path` is where it lies, `source` the same as items name it."""

    id: str
    path: Path
    source: str
    name: str
    mpp: float | None
    n_items: int


@dataclass(frozen=True)
class Answer:
    """Hits with the unit vector `[D]` that found them, in `index`, the version of the archive that was searched.

    `is_comparable` says whether their scores are on the scale of one picture with another: those of words are not, nor
    are those of examples that push away, nor is that known of bare vectors. `file` is the digest of the upload among
    them.
    """

    asked: SearchIn
    hits: Hits
    vector: NDArray[np.float32]
    index: Index
    is_comparable: bool
    file: str | None = None

    @property
    def version(self) -> str:
        """The version of the archive that was searched."""
        return version_of(self.index)


@dataclass(frozen=True)
class Told:
    """What one version of an archive holds."""

    about: About
    version: str
    n_items: int
    n_slides: int
    n_patients: int
    columns: Sequence[ColumnOut]


class Archive:
    """An index as the server shows it: items, slides and patients under opaque names.

    Each request sees one version of the archive, whatever others write meanwhile. `encoding` is entered around each
    piece of work of the encoder, and keeps a bounded number of them waiting. `show_columns` are shown although they
    look as if they told who somebody is; `InputError` where there is none of that name.
    """

    def __init__(
        self,
        index: Index,
        secret: bytes,
        *,
        keep_names: bool = False,
        show_columns: Sequence[str] = (),
        encoding: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.index = index
        self.keep_names = keep_names
        self.calibration: Calibration | None = None
        self.readers = OpenReaders(SLIDES_OPEN, flat_pixels=MAX_PIXELS)
        self._names = Pseudonyms(secret, keep_names=keep_names)
        self._showing = Showing(keep_names, frozenset(show_columns))
        self._encoding = encoding
        self._lock = threading.Lock()
        self._seen: tuple[View, Catalogue] | None = None
        if show_columns:
            check_columns(index.rows.items, show_columns)

    def now(self) -> Index:
        """The archive as it is now, to be used for one request: what others write does not change it."""
        with self._lock:
            self.index.refresh()
            _ = self.index.view
            now = copy.copy(self.index)
        now.readers = self.readers
        return now

    @property
    def version(self) -> str:
        """The version of the archive now."""
        return version_of(self.now())

    def told(self) -> Told:
        """What the archive holds now."""
        index = self.now()
        seen = self._catalogue(index)
        return Told(index.about, version_of(index), len(index), seen.n_slides, seen.n_patients, seen.columns)

    @property
    def has_map(self) -> bool:
        """Whether there is a map of the archive as it is now."""
        return has_layout(self.now())

    def kinds_of(self, index: Index) -> dict[str, str]:
        """The columns that may be shown of a version, in order, and their kinds."""
        return self._catalogue(index).kinds

    def hidden_columns(self) -> list[str]:
        """The columns of the archive's own that are not shown now, in order."""
        index = self.now()
        shown = self.kinds_of(index)
        return [name for name in own_columns(index.rows.items) if name not in shown]

    def rows_of(self, index: Index, opaque: Sequence[str]) -> list[int | None]:
        """Row numbers of items by their ids in a version; None for an id that is not there."""
        items = self._catalogue(index).items
        return [items.row(one) for one in opaque]

    def item_id(self, item: Item) -> str:
        """The opaque id of an item, the same on every start."""
        return self._names.id_of("item", item.id)

    def item(self, opaque: str, index: Index | None = None) -> Item:
        """The item that goes by an id, in a version or else now; raises `UnknownId`."""
        index = self.now() if index is None else index
        row = self._catalogue(index).items.row(opaque)
        if row is None:
            raise UnknownId("item")
        return item_of(index.rows.items.slice(row, 1).to_pylist()[0])

    def _names_of(self, opaque: Sequence[str], index: Index) -> list[str]:
        """What the archive calls many items; quicker than one after the other."""
        rows = self.rows_of(index, opaque)
        if None in rows:
            raise UnknownId("item")
        names: list[str] = index.rows.items["id"].take(pa.array(rows, pa.int64())).to_pylist()
        return names

    def slide_id(self, path: str) -> str:
        """The opaque id of a slide, by the path that items name it by."""
        return self._names.id_of("slide", path)

    def slide(self, opaque: str, index: Index | None = None) -> SlideEntry:
        """The slide, or other file of the archive, that goes by an id, in a version or else now; raises `UnknownId`."""
        index = self.now() if index is None else index
        source = self._catalogue(index).paths.name(opaque)
        if source is None:
            raise UnknownId("slide")
        items = index.rows.items.select(["path", "slide", "mpp"])
        own = items.filter(pc.equal(items["path"], source))
        return self._entry(index, source, own["slide"][0].as_py(), own["mpp"][0].as_py(), own.num_rows)

    def file(self, opaque: str) -> Path:
        """Where the file of a slide lies; as `slide`, but without a look at all items."""
        index = self.now()
        source = self._catalogue(index).paths.name(opaque)
        if source is None:
            raise UnknownId("slide")
        return inside_root(index.root, Item(id=source, path=source))

    def slides(self) -> list[SlideEntry]:
        """The slides: those files that items are boxes in, and that are there."""
        index = self.now()
        entries = [self._entry(index, *told) for told in self._catalogue(index).slides]
        return sorted((entry for entry in entries if entry.path.exists()), key=lambda entry: entry.name)

    def labels(self) -> dict[str, list[str]]:
        """The labels of the items of every file now, by the path that items name it by."""
        return self._catalogue(self.now()).labels

    def slide_name(self, item: Item) -> str:
        """What the slide of an item is called; where no slide is known, its picture stands for it."""
        return self._names.slide(item.slide if item.slide is not None else item.path)

    def patient_name(self, item: Item) -> str | None:
        """What the patient of an item is called; None where none is known, so that the item stands for itself."""
        return self._names.patient(item.group) if is_patient_known(item) else None

    def examples(self, asked: Sequence[ExampleIn], index: Index | None = None) -> list[Example]:
        """Examples by opaque ids as examples of the index, in a version or else now.

        Raises:
            UnknownId: an item or a slide is not there.
            CannotAnswer: a region is too large.
        """
        index = self.now() if index is None else index
        return [self._example(one, index) for one in asked]

    def rules(self, asked: SearchIn, index: Index | None = None) -> RuleOptions:
        """The rules of a question, its filters as a condition, in a version or else now.

        Raises:
            CannotAnswer: a column is unknown.
            UnknownId: an item that is searched among is not there.
        """
        index = self.now() if index is None else index
        columns = self._catalogue(index).columns
        return {
            "only": None if asked.only is None else self._names_of(asked.only, index),
            "k": asked.k,
            "where": where_of(asked.filters, columns, keep_names=self.keep_names),
            "exclude_group": asked.exclude_group,
            "per_slide": asked.per_slide,
            "collapse": asked.collapse,
            "min_score": asked.min_score,
        }

    def search(self, asked: SearchIn) -> Hits:
        """The hits of a question; raises as `answer` does."""
        return self.answer(asked).hits

    def vector(self, asked: SearchIn, index: Index | None = None) -> NDArray[np.float32]:
        """The unit vector `[D]` of a question, in a version or else now; raises as `answer` does."""
        index = self.now() if index is None else index
        Budget().spend(cost_of(self, asked, index))
        vector = self._vector(index, self.examples(asked.examples, index))
        self._note(index, asked, vector)
        return vector

    def answer(
        self,
        asked: SearchIn,
        picture: Example | None = None,
        digest: str | None = None,
        budget: Budget | None = None,
    ) -> Answer:
        """Hits, vector and version of a question, and of an uploaded `picture` with it.

        `digest` is the SHA-256 of the upload's bytes: where the archive holds the very file, its patient is left out
        like that of an item. What the question costs the encoder is taken off the `budget` of its batch.

        Raises:
            Problem: what is asked is not there, or cannot be answered.
        """
        index = self.now()
        (budget or Budget()).spend(cost_of(self, asked, index))
        examples = [*self.examples(asked.examples, index), *([picture] if picture is not None else [])]
        rules = self.rules(asked, index)
        sent = [one.file for one in asked.examples if isinstance(one, VectorExample)]
        held = [group for one in {*sent, digest} - {None} for group in self._groups_of_file(index, str(one))]
        if held and asked.exclude_group:
            rules["where"] = _without_groups(rules.get("where"), held)
        vector = self._vector(index, examples)
        try:
            hits = index.answer(vector, examples if picture is None else examples[:-1], **rules)
        except HistoseekError as error:
            raise problem_of(error) from error
        self._note(index, asked, vector)
        note_asked(k=asked.k, shown=[self.item_id(hit.item) for hit in hits])
        is_known = any(one.kind != "vector" for one in examples) or any(sent)  # a bare vector may be of words
        is_comparable = is_known and all(one.kind != "text" and one.weight > 0 for one in examples)
        return Answer(asked, replace(hits, query={}), vector, index, is_comparable, digest)

    def _note(self, index: Index, asked: SearchIn, vector: NDArray[np.float32]) -> None:
        """Tell the audit log what was asked: ids of the server's own making and a digest, never words or pixels."""
        items = [one.item for one in asked.examples if isinstance(one, ItemExample)]
        slides = [one.region.slide for one in asked.examples if isinstance(one, RegionExample)]
        note_asked(ids=[*items, *slides], query=digest_of(vector), index=version_of(index))

    def _vector(self, index: Index, examples: Sequence[Example]) -> NDArray[np.float32]:
        if not examples:
            raise CannotAnswer("nothing is asked: give an item, a vector, words, or a region of a slide")
        needs_encoder = any(one.kind in ("text", "region", "image") for one in examples)
        try:
            with self._encoding() if needs_encoder else nullcontext():
                return index.vector_of(examples)
        except HistoseekError as error:
            raise problem_of(error) from error

    def _example(self, asked: ExampleIn, index: Index) -> Example:
        if asked.weight == 0:
            raise CannotAnswer("the weight of an example must be a number other than 0")
        if isinstance(asked, ItemExample):
            return Example("item", self.item(asked.item, index).id, asked.weight)
        if isinstance(asked, VectorExample):
            return Example("vector", asked.vector, asked.weight)
        if isinstance(asked, TextExample):
            return Example("text", asked.text, asked.weight)
        return Example("region", self.region(asked.region, index)[0], asked.weight)

    def region(self, asked: RectangleIn | PolygonIn, index: Index | None = None) -> tuple[Region, float | None]:
        """A part of a slide by the slide's opaque id in a version or else now, and the slide's µm per pixel.

        Raises:
            UnknownId: the slide is not there.
            CannotAnswer: the part does not lie on the slide, or is too large for one question.
            NotNow: the slide cannot be read now.
        """
        slide = self.slide(asked.slide, index)
        canvas = canvas_of(self.readers, slide.path)
        if slide.mpp is not None:
            canvas = replace(canvas, mpp=slide.mpp)
        region, area = region_of(asked, slide.path, canvas)
        view = self.index.about.fingerprint.preprocessing
        side = side_of(view, canvas.mpp)
        if area > A_QUESTION * side * side:
            raise CannotAnswer("the region is too large for one question; draw a smaller one")
        return region, canvas.mpp

    def _catalogue(self, index: Index) -> Catalogue:
        view = index.view
        with self._lock:
            if self._seen is None or self._seen[0] is not view:
                self._seen = (view, Catalogue(view.rows.items, self._names, self._showing))
            return self._seen[1]

    def _entry(self, index: Index, source: str, slide: str | None, mpp: float | None, n_items: int) -> SlideEntry:
        return SlideEntry(
            id=self.slide_id(source),
            path=inside_root(index.root, Item(id=source, path=source)),
            source=source,
            name=self._names.slide(slide if slide is not None else source),
            mpp=mpp,
            n_items=n_items,
        )

    def _groups_of_file(self, index: Index, digest: str) -> list[str]:
        items = index.rows.items
        own = items["group"].filter(pc.equal(items["sha256"], digest).fill_null(False))
        groups: list[str] = pc.unique(own).drop_null().to_pylist()
        return groups


def version_of(index: Index) -> str:
    """The version of an archive that a request saw."""
    return str(index.rows.version)


def digest_of(vector: NDArray[np.float32]) -> str:
    """The digest of a query's vector: 96 bits in 16 characters, of the form of all ids here."""
    return base64.urlsafe_b64encode(blake2b(vector.astype("<f4").tobytes(), digest_size=12).digest()).decode()


def _without_groups(where: str | None, groups: Sequence[str]) -> str | None:
    terms = [f'"group" != {text_literal(group)}' for group in groups]
    return " AND ".join([*([where] if where else []), *terms]) or None
