"""What one version of an archive holds, worked out once: ids, slides and columns."""

from __future__ import annotations

import threading
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from histoseek.web.columns import Showing, columns_of
from histoseek.web.hiding import is_of_patient
from histoseek.web.lookup import Lookup
from histoseek.web.pseudonyms import Pseudonyms
from histoseek.web.schemas import ColumnOut


class Catalogue:
    """The items of one version by their opaque ids, its files, slides and columns; each made when first asked."""

    def __init__(self, table: pa.Table, pseudonyms: Pseudonyms, showing: Showing) -> None:
        self._table = table
        self._showing = showing
        self._pseudonyms = pseudonyms
        self._lock = threading.Lock()

    @property
    def items(self) -> Lookup:
        """Rows of items by id."""
        with self._lock:  # of two requests one waits instead of doing the same
            return self._items

    @property
    def paths(self) -> Lookup:
        """Paths of files by the ids of slides."""
        with self._lock:
            return self._paths

    @cached_property
    def _items(self) -> Lookup:
        return Lookup("item", self._table["id"], self._pseudonyms)

    @cached_property
    def _paths(self) -> Lookup:
        return Lookup("slide", pc.unique(self._table["path"]), self._pseudonyms)

    @cached_property
    def slides(self) -> list[tuple[str, str | None, float | None, int]]:
        """The files that items are boxes in: path, name of the slide, µm per pixel, and number of items."""
        boxed = self._table.select(["path", "slide", "mpp"]).filter(pc.is_valid(self._table["box_x"]))
        told = [("slide", "min"), ("mpp", "min"), ("path", "count")]
        rows = boxed.group_by("path").aggregate(told).to_pylist()
        return [(row["path"], row["slide_min"], row["mpp_min"], row["path_count"]) for row in rows]

    @cached_property
    def labels(self) -> dict[str, list[str]]:
        """The labels of the items of every file, in alphabetical order."""
        items = self._table.select(["path", "label"])
        known = items.filter(pc.is_valid(items["label"]))
        found: dict[str, list[str]] = {}
        for row in known.group_by(["path", "label"]).aggregate([]).sort_by("label").to_pylist():
            found.setdefault(row["path"], []).append(row["label"])
        return found

    @cached_property
    def columns(self) -> list[ColumnOut]:
        """The columns that may be shown and filtered by."""
        return columns_of(self._table, self._showing)

    @cached_property
    def kinds(self) -> dict[str, str]:
        """Their names, and what kind of values they hold."""
        return {column.name: column.kind for column in self.columns}

    @cached_property
    def n_patients(self) -> int:
        """How many patients are known, or cases where those stand for patients."""
        return int(pc.count_distinct(self._table["group"].filter(is_of_patient(self._table))).as_py())

    @cached_property
    def n_slides(self) -> int:
        """How many slides, as far as items name them."""
        return int(pc.count_distinct(self._table["slide"]).as_py())
