"""An index from the feature files of other programs: their vectors, the places of their tiles, a declared encoder."""

from __future__ import annotations

import platform
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoseek.encoders.encoder import unit_rows
from histoseek.errors import ImageError, InputError, StorageError
from histoseek.imaging import open_pixels
from histoseek.index.about import FILE, About
from histoseek.index.declared import Declared, Sample, declare
from histoseek.index.feature_files import FeatureFile, TileFacts, find_feature_files, open_features
from histoseek.index.feature_slides import DATASET, KnownSlides, known_slides
from histoseek.index.filling import scales_of
from histoseek.index.skipping import FILE as SKIPPED
from histoseek.index.skipping import write_list
from histoseek.items import MPP_RANGE, Box, Item, Skipped, table_of
from histoseek.items.files import flush_to_disk, local_path
from histoseek.stores import VECTOR, TableStore, create_store
from histoseek.stores.places import delete, is_remote, joined, list_names

ROWS_A_COMMIT = 32_768
N_SAMPLED = 4
"""Tiles that are embedded again to see whether an encoder made their vectors."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ImportSettings:
    """What a person adds to what feature files say.

    `slides` is the folder of the slides themselves, `patches` that of CLAM's patch files, `table` a CSV with a row a
    slide, and `group` a regular expression whose group `group`, else its first one, finds the patient in a slide's
    name. `tile_px` is the side of a tile in level-0 pixels and `mpp` the µm per pixel there, where files and slides do
    not say; `view_px` and `view_mpp` are size and scale of the pictures that the encoder was given.
    """

    slides: Path | None = None
    patches: Path | None = None
    table: Path | None = None
    group: str | None = None
    tile_px: int | None = None
    mpp: float | None = None
    view_px: int | None = None
    view_mpp: float | None = None

    def __post_init__(self) -> None:
        for option, number in (("--tile-px-level0", self.tile_px), ("--view-px", self.view_px)):
            if number is not None and number < 1:
                raise InputError(f"{option} is {number}; give a number of at least 1")
        low, high = MPP_RANGE
        for option, scale in (("--mpp", self.mpp), ("--view-mpp", self.view_mpp)):
            if scale is not None and not low <= scale <= high:
                raise InputError(f"{option} is {scale:g}; tissue is seen at {low:g} to {high:g} µm per pixel")
        for folder in (self.slides, self.patches):
            if folder is not None and not folder.is_dir():
                raise InputError(f"there is no folder {folder}")


@dataclass(frozen=True)
class Imported:
    """An imported index: what it says of itself, and what a person should know."""

    about: About
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Tiles:
    """The tiles of one slide: an item for the whole slide, and their boxes [N, 4] in level-0 pixels, cut to it."""

    item: Item
    side: int
    facts: TileFacts
    boxes: NDArray[np.int64]
    twice: NDArray[np.bool_]


def import_features(
    source: str | Path,
    encoder: str,
    out: str | Path,
    settings: ImportSettings | None = None,
    *,
    progress: Progress | None = None,
) -> Imported:
    """Make an index of a folder of TRIDENT's or CLAM's feature files; `encoder` names what made their vectors.

    `out` is a folder or an `s3://` address. The index is written whole or not at all, so there is nothing to resume.
    What cannot be used is left out and listed in `skipped.csv`. `progress` is called with files done and in all.

    Raises:
        InputError: `out` is in use, no file can be used, or something must be stated that no file says.
        MissingExtraError: the extra `slides` is not installed.
    """
    given = settings or ImportSettings()
    _check_free(out)
    files = find_feature_files(Path(source))
    known = known_slides(Path(source), files, given.slides, given.table, given.group)
    sample = _sample(files, known, given)
    declared = declare(encoder, sample, given.view_px, given.view_mpp)
    schema = known.table.schema.append(pa.field(VECTOR, pa.list_(pa.float32(), declared.dim)))
    with _new_store(out, schema) as (home, store):
        work = _Work(home, store, known, given, declared, (sample.patch_px, sample.target))
        for number, path in enumerate(files, start=1):
            work.take(path)
            if progress is not None:
                progress(number, len(files))
        about = work.finish()
    return Imported(about, (*known.notes, *declared.notes))


class _Work:
    """An index being filled, file by file."""

    def __init__(
        self,
        home: str,
        store: TableStore,
        known: KnownSlides,
        given: ImportSettings,
        declared: Declared,
        cut: tuple[object, object],
    ) -> None:
        self._home, self._store, self._known, self._given = home, store, known, given
        self._declared, self._cut, self._schema = declared, cut, store.schema
        self._waiting: list[pa.Table] = []
        self._skipped: list[Skipped] = []

    def take(self, path: Path) -> None:
        """Store the tiles of one file; what cannot be used is noted."""
        wrong: Counter[str] = Counter()
        try:
            with open_features(path, self._given.patches) as opened:
                tiles = _tiles_of(opened, self._known, self._given)
                self._check(opened.dim, tiles.facts)
                for start, block in opened.blocks():
                    self._waiting.append(self._rows(tiles, start, block, wrong))
                    if sum(map(len, self._waiting)) >= ROWS_A_COMMIT:
                        self._commit()
        except InputError as error:
            self._skipped.append(Skipped(f"{DATASET}/{path.stem}", str(error)))
        self._skipped += [
            Skipped(f"{DATASET}/{path.stem}", f"{n} of its tiles: {reason}") for reason, n in wrong.items()
        ]

    def finish(self) -> About:
        """Write what makes the folder an index.

        Raises:
            InputError: there is not one tile.
        """
        self._commit()
        write_list(self._home, self._skipped)
        held = self._store.rows().items
        if not held.num_rows:
            raise InputError(f"no tile can be used; the first reason: {self._skipped[0].reason}")
        declared = self._declared
        scales = scales_of(held["mpp"], declared.fingerprint.preprocessing.mpp)
        about = About(
            encoder=declared.name,
            loaded_from=declared.loaded_from,
            fingerprint=declared.fingerprint,
            dim=declared.dim,
            has_text=declared.has_text,
            root=str(self._known.root),
            manifest_digest="",
            facts={"dataset": DATASET, "title": "Imported features", "notes": [*self._known.notes, *declared.notes]},
            n_items=held.num_rows,
            n_skipped=len(self._skipped),
            scales=scales,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            versions={name: version(name) for name in ("histoseek", "lancedb", "numpy", "h5py")}
            | {"python": platform.python_version()},
        )
        about.write(joined(self._home, FILE))
        return about

    def _check(self, dim: int, facts: TileFacts) -> None:
        if dim != self._declared.dim:
            raise InputError(f"its vectors have {dim} numbers, and those of the first file {self._declared.dim}")
        if (facts.patch_px, facts.target) != self._cut:
            (px, target), (first_px, first_target) = (facts.patch_px, facts.target), self._cut
            raise InputError(
                f"its tiles are {px or '?'} px at {target or '?'}x, and those of the first file {first_px or '?'} px "
                f"at {first_target or '?'}x; import them as another index"
            )

    def _rows(self, tiles: _Tiles, start: int, block: NDArray[np.float32], wrong: Counter[str]) -> pa.Table:
        rows = slice(start, start + len(block))
        boxes = tiles.boxes[rows]
        with np.errstate(invalid="ignore", over="ignore"):
            largest = np.abs(block).max(axis=1)
        reasons = {
            "the vector holds values that are not finite": ~np.isfinite(largest),
            "the vector is zero": largest == 0,
            "the place lies outside the slide": (boxes[:, 2:] < 1).any(axis=1),
            "the place stands in the file already": tiles.twice[rows],
        }
        kept = np.ones(len(block), dtype=bool)
        for reason, mask in reasons.items():
            if n := int((mask & kept).sum()):
                wrong[reason] += n
            kept &= ~mask
        return self._table(tiles.item, boxes[kept], _units(block[kept]))

    def _table(self, slide: Item, boxes: NDArray[np.int64], vectors: NDArray[np.float32]) -> pa.Table:
        """Rows of the index: the slide's columns again and again, with each tile's own box and id."""
        row = table_of([slide])
        own = {"id": [_id(slide, box) for box in boxes.tolist()], "width": boxes[:, 2], "height": boxes[:, 3]}
        own |= {f"box_{name}": boxes[:, at] for at, name in enumerate(Box._fields)}
        columns = []
        for field in list(self._schema)[:-1]:
            if field.name in own:
                columns.append(pa.array(own[field.name], field.type))
            else:
                value = row[field.name][0].as_py() if field.name in row.schema.names else None
                columns.append(pa.repeat(pa.scalar(value, field.type), len(boxes)))
        stored = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        return pa.table([*columns, stored], schema=self._schema)

    def _commit(self) -> None:
        rows = pa.concat_tables(self._waiting) if self._waiting else None
        self._waiting = []
        if rows is not None and rows.num_rows:
            self._store.add(rows)


def _check_free(out: str | Path) -> None:
    is_file = not is_remote(out) and local_path(out).is_file()
    if is_file or list_names(out):
        raise InputError(f"{out} is there already; an import makes a new index: choose another --out")


def _new_store(out: str | Path, schema: pa.Schema) -> AbstractContextManager[tuple[str, TableStore]]:
    """A place to fill and its empty table; on an error or Ctrl-C nothing of it is left."""
    return _at_address(str(out), schema) if is_remote(out) else _in_draft(local_path(out), schema)


@contextmanager
def _in_draft(home: Path, schema: pa.Schema) -> Iterator[tuple[str, TableStore]]:
    draft = _draft_beside(home)
    try:
        yield str(draft), create_store(draft, schema)
        draft.chmod(0o755)
        draft.replace(home)
        flush_to_disk(home.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def _at_address(address: str, schema: pa.Schema) -> Iterator[tuple[str, TableStore]]:
    """As `_in_draft`; nothing can be renamed there, and it is the file written last that makes an index of it."""
    store = create_store(address, schema)
    done = False
    try:
        yield address, store
        done = True
    finally:
        if not done:
            with suppress(StorageError):  # what went wrong first is what the person should hear of
                store.drop()
                delete(joined(address, SKIPPED))


def _draft_beside(home: Path) -> Path:
    """A folder to fill, which takes the name `home` when it is whole."""
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=home.parent, prefix=f".{home.name}."))
    except OSError as error:
        raise InputError(f"cannot write {home}: {error.strerror}; choose another place with --out") from error


def _sample(files: Sequence[Path], known: KnownSlides, given: ImportSettings) -> Sample:
    """The first tiles of the first file that can be used."""
    first: InputError | None = None
    for path in files:
        try:
            with open_features(path, given.patches) as opened:
                tiles = _tiles_of(opened, known, given)
                vectors = next((block for _, block in opened.blocks()), None)
                if vectors is None:
                    raise InputError("it has no tiles")
        except InputError as error:
            first = first or InputError(f"none of {len(files)} files can be used; {path.name}: {error}")
            continue
        usable = (tiles.boxes[: len(vectors), 2:] == tiles.side).all(axis=1) & np.isfinite(vectors).all(axis=1)
        chosen = np.flatnonzero(usable & vectors.any(axis=1))[:N_SAMPLED]
        whole = tiles.item if known.has_file(tiles.item) else None
        items = [_tile(whole, tiles.boxes[row].tolist()) for row in chosen] if whole else []
        facts = tiles.facts
        rows = _units(vectors[chosen])
        return Sample(opened.dim, tiles.side, tiles.item.mpp, facts.patch_px, facts.target, items, rows, known.root)
    raise first or InputError("there are no feature files")


def _tiles_of(opened: FeatureFile, known: KnownSlides, given: ImportSettings) -> _Tiles:
    facts = opened.facts
    side = facts.side or given.tile_px
    if side is None:
        raise InputError(
            "nothing says how large its tiles are; state --tile-px-level0, or --patches with CLAM's patch files"
        )
    item, size = _with_scale(known.items[opened.name], known, facts, given.mpp)
    corners = opened.corners
    ends = corners + side
    if size is not None:
        ends = np.minimum(ends, np.array(size, dtype=np.int64))
    starts = np.maximum(corners, 0)
    boxes = np.concatenate([starts, ends - starts], axis=1)
    _, firsts = np.unique(corners, axis=0, return_index=True)
    twice = np.ones(len(corners), dtype=bool)
    twice[firsts] = False
    return _Tiles(item, side, facts, boxes, twice)


def _with_scale(
    item: Item, known: KnownSlides, facts: TileFacts, stated: float | None
) -> tuple[Item, tuple[int, int] | None]:
    """The slide with its scale, as stated, else by the table, else by the slide file, else nominal; and its size."""
    size, mpp, source = facts.size, item.mpp, item.mpp_source
    if stated is not None:
        mpp, source = stated, "user"
    if known.has_file(item):
        try:
            with closing(open_pixels(known.root / item.path)) as slide:
                size = slide.size
                if mpp is None and slide.mpp is not None:
                    mpp, source = slide.mpp, "file"
        except ImageError:  # its tiles stay searchable; only their pictures cannot be shown
            pass
    if mpp is None and facts.magnification:
        mpp, source = 10 / facts.magnification, "nominal"
    low, high = MPP_RANGE
    if mpp is not None and not low <= mpp <= high:
        mpp, source = None, None
    return replace(item, mpp=mpp, mpp_source=source), size


def _tile(slide: Item, box: Sequence[int]) -> Item:
    return replace(slide, id=_id(slide, box), box=Box(*box), width=box[2], height=box[3])


def _units(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows `[N, D]` at length one; each is scaled by its largest number first, so that no square overflows."""
    return unit_rows(rows / np.abs(rows).max(axis=1, keepdims=True))


def _id(slide: Item, box: Sequence[int]) -> str:
    return f"{slide.id}#{','.join(map(str, box))}"
