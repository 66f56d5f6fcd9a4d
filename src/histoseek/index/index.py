"""The index: an archive on disk that answers what looks like a picture, a text, or an item it holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoseek.encoders import load_encoder
from histoseek.encoders.encoder import Encoder
from histoseek.encoders.loading import load_again
from histoseek.errors import EncoderError, InputError
from histoseek.index.about import check_fingerprint, read_about
from histoseek.index.asking import embed_example, items_in_query, query_vector, scale_of_region
from histoseek.index.declared import MARK
from histoseek.index.hits import Hits, ranked
from histoseek.index.origins import rows_of_file
from histoseek.index.query import Example, RuleOptions, Rules, asked_of
from histoseek.index.region import Region
from histoseek.index.selecting import select_many, select_rows
from histoseek.index.view import View
from histoseek.items import Manifest
from histoseek.items.files import local_path
from histoseek.stores import VECTOR, Rows, TableStore, open_store, rows_at
from histoseek.stores.caching import cache_home
from histoseek.stores.places import is_remote, is_served

if TYPE_CHECKING:  # what a search of a folder does not use is imported by the methods that do
    from histoseek.imaging import OpenReaders
    from histoseek.index.adding import Added
    from histoseek.index.filling import Progress
    from histoseek.index.pushing import Pushed
    from histoseek.index.query import Picture
    from histoseek.index.ray_build import RayWork
    from histoseek.index.removing import Removal
    from histoseek.index.served import Served
    from histoseek.index.verifying import Verified
    from histoseek.index.whole_search import WholeHits, WholeOptions
    from histoseek.index.wholes import Level
    from histoseek.stores.milvus import MilvusStore


class Index:
    """An archive opened for searching.

    The encoder that made it is loaded when a query needs it; another one is refused. Search sees the version that
    was newest when it began: what another process adds or removes counts from then on.
    """

    def __init__(self, path: str | Path, encoder: Encoder | None = None, root: str | Path | None = None) -> None:
        self._served: Served | None = None
        self.address = str(path)
        if is_served(path):
            from histoseek.index.served import open_served

            self.path = Path(path)
            self._served, self.about = open_served(str(path))
        else:
            self.path = cache_home(path) if is_remote(path) else local_path(path)  # where derived files go
            self.about = read_about(self.address)
        self.root = Path(self.about.root if root is None else root).resolve()
        self._encoder = encoder
        self._view: View | None = None
        self.readers: OpenReaders | None = None  # which keep slides open for the regions of many questions
        if encoder is not None:
            check_fingerprint(self.about, encoder)

    @classmethod
    def open(cls, path: str | Path, encoder: Encoder | None = None, root: str | Path | None = None) -> Index:
        """Open an index folder; `root` says where its images lie now, if they moved.

        Raises:
            InputError: there is no finished index at `path`.
            FingerprintError: `encoder` is not the one that made it.
        """
        return cls(path, encoder, root)

    @classmethod
    def build(
        cls,
        manifest: Manifest,
        encoder: Encoder | str,
        out: str | Path,
        *,
        resume: bool = False,
        progress: Progress | None = None,
        ray: RayWork | None = None,
    ) -> Index:
        """Embed a manifest's items into a new index folder, or one on object storage (`s3://bucket/x.index`).

        Images that cannot be read are left out and listed in `skipped.csv`. What is embedded is kept through Ctrl-C
        and kill; `resume` goes on there. `progress` is called with items done and in all. With `ray` a cluster embeds.

        Raises:
            InputError: `out` is in use, or no image could be read.
            FingerprintError: resuming with another encoder.
            ClusterError: the Ray cluster cannot be reached, or lost the same work again and again.
        """
        from histoseek.index.build import build_index
        from histoseek.index.upkeep import make_quick

        chosen = load_encoder(encoder) if isinstance(encoder, str) else encoder
        build_index(manifest, chosen, out, resume=resume, progress=progress, ray=ray)
        built = cls(out, chosen)
        make_quick(built)
        return built

    def add(self, manifest: Manifest, progress: Progress | None = None) -> Added:
        """Embed the items of a manifest that are new or whose pixels changed; others are left as they are.

        An item is known by its id, its pixels by the digest of its file, its box and its scale. Repeating it changes
        nothing. What is embedded is kept through Ctrl-C and kill. `progress` is called with items done and in all.

        Raises:
            InputError: the images lie outside of the index's root, or a column holds another type.
            FingerprintError: the encoder of the index is no longer the same.
        """
        from histoseek.index.adding import add_items
        from histoseek.index.upkeep import keep_in_order

        added = add_items(self, manifest, progress)
        if self._served is None:
            keep_in_order(self)
        return added

    def remove(self, removal: Removal, *, dry_run: bool = False) -> list[str]:
        """Take items out of every answer at once, and return their ids; `compact` takes them from the disk.

        Raises:
            InputError: nothing is named, or something that the index does not hold.
        """
        from histoseek.index.removing import remove_items
        from histoseek.index.upkeep import keep_in_order

        removed = remove_items(self, removal, dry_run=dry_run)
        if not dry_run and self._served is None:
            keep_in_order(self)
        return removed

    def compact(self) -> bool:
        """Delete from the disk what was removed, and older versions; make search quick. False if all is so already."""
        from histoseek.index.upkeep import compact_index

        return compact_index(self)

    def push(self, address: str, progress: Progress | None = None) -> Pushed:
        """Fill a collection on a Milvus server (`milvus://host:port/name`) with this index, or bring it up to date.

        It goes on where an earlier push of the same version stopped. The collection counts as ready when its answers to
        1 000 stored vectors agree with the exact ones. `progress` is called with items sent and in all.

        Raises:
            InputError: the collection holds another archive, or the server cannot be reached.
            StorageError: the server finds too few of the nearest items.
        """
        from histoseek.index.pushing import push_index

        return push_index(self, address, progress)

    def verify(self, progress: Progress | None = None) -> Verified:
        """Read every byte and hold it against its checksum; damage is told, never raised."""
        from histoseek.index.verifying import verify_index

        return verify_index(self, progress)

    def search(
        self,
        examples: Sequence[Example] = (),
        *,
        image: Picture | None = None,
        text: str | None = None,
        item: str | None = None,
        region: Region | str | None = None,
        mpp: float | None = None,
        **rules: Unpack[RuleOptions],
    ) -> Hits:
        """Find the items nearest to an image, a text, an item, a region of a slide, or several `examples` together.

        `image` is a path, a Pillow image or an array `[H, W, 3]`; `region` a `Region` or text like
        `slide.svs:x,y,w,h`; `mpp` the scale of either (None: from the file, else unknown). Several examples are
        weighed and added as unit vectors. The rules are those of `Rules`.

        Raises:
            InputError: nothing asked, no such item, or a wrong filter.
            EncoderError: words asked of an image-only encoder.
            ImageError: the query image cannot be read.
        """
        asked = list(examples)
        given: tuple[tuple[Any, Any], ...] = (("image", image), ("text", text), ("item", item), ("region", region))
        asked += [Example(kind, value, mpp=mpp) for kind, value in given if value is not None]
        if not asked:
            raise InputError("nothing is asked: give an image, a text, the id of an item, or a region of a slide")
        Rules(**rules)  # a wrong one is told before anything is embedded
        self.refresh()
        return self.answer(self.vector_of(asked), asked, **rules)

    def answer(self, vector: NDArray[np.float32], examples: Sequence[Example], **rules: Unpack[RuleOptions]) -> Hits:
        """Find the items nearest to a unit vector `[D]`; the rules treat `examples` as what it was made of."""
        kept = Rules(**rules)
        found, scores = self._find(vector, kept, items_in_query(self, examples, kept.exclude_group))
        return Hits(ranked(found.to_pylist(), scores), self.root, asked_of(examples, kept))

    def search_many(
        self, vectors: NDArray[np.float32], items: Sequence[str] | None = None, **rules: Unpack[RuleOptions]
    ) -> list[Hits]:
        """Find the items nearest to each of many vectors `[Q, D]`, quicker than one search after the other.

        `items` are the ids of what the vectors belong to, where they are the archive's own: neither they nor, unless
        `exclude_group` is False, their groups are found.

        Raises:
            InputError: vectors of another shape, not as many items, or a wrong filter.
        """
        kept = Rules(**rules)
        self.refresh()
        if not len(vectors):
            return []
        view = self.view
        queries = np.stack([self.embed(Example("vector", vector)) for vector in vectors])
        if items is not None and len(items) != len(queries):
            raise InputError(f"{len(queries)} vectors cannot belong to {len(items)} items")
        named = None if items is None else self._held(items, view).tolist()
        found = select_many(view, queries, kept, view.allowed(kept.where, kept.only), named)
        columns = rows_at(view.rows.items, np.concatenate([rows for rows, _ in found])).to_pylist()
        answers, at = [], 0
        for rows, scores in found:
            part = columns[at : at + len(rows)]
            at += len(rows)
            answers.append(Hits(ranked(part, scores), self.root, asked_of([Example("vector", [])], kept)))
        return answers

    def search_wholes(self, name: str, level: Level = "slide", **rules: Unpack[WholeOptions]) -> WholeHits:
        """Find the slides (or, at level "case", the patients) most like one of the archive, never its own patient.

        Raises:
            InputError: the archive holds no such slide or case.
            MissingExtraError: the extra `slides` is not installed.
        """
        from histoseek.index.whole_search import WholeRules, search_wholes

        return search_wholes(self, name, level, WholeRules(**rules))

    @property
    def encoder(self) -> Encoder:
        """The encoder that made this index, loaded when first needed."""
        if self._encoder is None:
            if self.about.loaded_from.startswith(MARK):
                raise EncoderError(
                    f"the vectors of this index were made elsewhere by {self.about.encoder!r}, which cannot embed "
                    "queries here; ask with --item, --slide, --case or with a vector"
                )
            encoder = load_again(self.about.loaded_from, self.about.fingerprint)
            check_fingerprint(self.about, encoder)
            self._encoder = encoder
        return self._encoder

    @property
    def server(self) -> MilvusStore | None:
        """The server's copy that this is opened on, if it is one."""
        return None if self._served is None else self._served.store

    @cached_property
    def store(self) -> TableStore:
        """The table that holds the archive; raises `InputError` where that is a server's copy."""
        if self._served is not None:
            raise InputError(
                f"{self.address} is a server's copy, for searching, adding and removing; do this with the index folder "
                "that it was pushed from"
            )
        return open_store(self.address)

    @property
    def view(self) -> View:
        """The version that is searched, with what is remembered about it."""
        view = self._view
        if view is None:
            state = self.store.state  # before the rows: a commit in between is seen by the next refresh
            view = self._view = View(self.store.rows(), state)
        return view

    @property
    def rows(self) -> Rows:
        """The items and vectors of the version that is searched."""
        return self.view.rows

    @property
    def manifest(self) -> Manifest:
        """The items of the index as a manifest."""
        return Manifest(self.rows.items, self.root, self.about.facts)

    def __len__(self) -> int:
        if self._served is not None:
            return self._served.store.count()
        return int(self.rows.items.num_rows)

    def refresh(self) -> None:
        """See what was written since the index was opened; costs next to nothing when nothing was."""
        view = self._view
        if self._served is None and view is not None and view.state != self.store.state:
            self.forget_rows()
            self.about = read_about(self.address)
            if self._encoder is not None:
                check_fingerprint(self.about, self._encoder)

    def forget_rows(self) -> None:
        """Read the rows anew when they are next needed."""
        self._view = None

    def allowed(self, where: str | None) -> NDArray[np.bool_] | None:
        """Which rows fulfil a filter, `[N]`; None means all."""
        return self.view.allowed(where)

    def rows_of(self, ids: Iterable[str]) -> NDArray[np.int64]:
        """Row numbers of items by id; −1 for one that the index does not hold."""
        return self.view.rows_of(ids)

    def vector_of(self, examples: Sequence[Example]) -> NDArray[np.float32]:
        """The unit vector `[D]` of a query: its examples, weighed and added.

        Raises:
            InputError: they cancel each other out.
        """
        return query_vector(self, examples)

    def embed(self, example: Example) -> NDArray[np.float32]:
        """The unit vector `[D]` of one example, its weight left aside."""
        return embed_example(self, example)

    def scale_of_region(self, example: Example) -> float | None:
        """µm per pixel of a region's slide, as the query or else the archive states it; None leaves it to the file."""
        return scale_of_region(self, example)

    def stored_vector(self, name: str) -> NDArray[np.float32]:
        """The unit vector `[D]` of an item; raises `InputError` when there is none of that id."""
        if self._served is not None:
            return np.asarray(self._served.named([name])[VECTOR][0].as_py(), dtype=np.float32)
        view = self.view
        vector: NDArray[np.float32] = view.rows.checked(self._held([name], view))[0]
        return vector

    def items_named(self, names: Sequence[str]) -> pa.Table:
        """Columns of some items; raises `InputError` for one that the archive does not hold."""
        if self._served is not None:
            return self._served.named(names).drop_columns([VECTOR])
        view = self.view
        return rows_at(view.rows.items, self._held(names, view))

    def items_there(self, names: Sequence[str]) -> pa.Table:
        """Columns of those items that the archive holds."""
        if self._served is not None:
            return self._served.store.get(names).drop_columns([VECTOR])
        view = self.view
        rows = view.rows_of(names)
        return view.rows.items.take(pa.array(rows[rows >= 0]))

    def items_there_now(self, names: Sequence[str]) -> list[str]:
        """The ids of those items that the newest version holds."""
        self.refresh()
        found: list[str] = self.items_there(names)["id"].to_pylist()
        return found

    @property
    def columns(self) -> pa.Schema:
        """The columns of the items."""
        return self._served.store.schema if self._served is not None else self.rows.items.schema

    def items_of_file(self, file: Path) -> pa.Table:
        """Columns of the items that are cut from a file or from a copy of it."""
        if self._served is not None:
            return self._served.of_file(self.root, file)
        items = self.rows.items
        return items.take(pa.array(rows_of_file(items, self.root, file), pa.int64()))

    def _held(self, names: Sequence[str], view: View) -> NDArray[np.int64]:
        """Row numbers of items; raises `InputError` for one that the archive does not hold."""
        rows = view.rows_of(names)
        if (rows < 0).any():
            name = names[int((rows < 0).argmax())]
            close = view.names_like(name)
            hint = f"; did you mean {', '.join(close)}?" if close else "; histoseek info shows how ids look"
            raise InputError(f"the index {self.address} has no item {name!r}{hint}")
        return rows

    def _find(
        self, vector: NDArray[np.float32], rules: Rules, named: pa.Table | None
    ) -> tuple[pa.Table, NDArray[np.float32]]:
        if self._served is not None:
            return self._served.find(vector, rules, named)
        view = self.view
        own = np.zeros(0, dtype=np.int64) if named is None else view.rows_of(named["id"].to_pylist())
        allowed = view.allowed(rules.where, rules.only)
        rows, scores = select_rows(view, vector, rules, allowed, own[own >= 0].tolist())
        return rows_at(view.rows.items, rows), scores
