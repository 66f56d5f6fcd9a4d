"""From what is asked to a vector, and to the items of the archive that the question itself consists of."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoseek.encoders.encoder import unit_rows
from histoseek.errors import InputError, NoWordsError, QuestionError
from histoseek.imaging import MAX_PIXELS, SLIDE_SUFFIXES, image_of, open_pixels
from histoseek.index.declared import MARK
from histoseek.index.embedding import embed_box, embed_shape
from histoseek.index.origins import overlapping
from histoseek.index.query import Example
from histoseek.index.region import Region, open_region, region_of

if TYPE_CHECKING:
    from histoseek.index.index import Index

Vector = NDArray[np.float32]


def query_vector(index: Index, examples: Sequence[Example]) -> Vector:
    """The unit vector `[D]` of a query: its examples, weighed and added; `InputError` when they cancel each other."""
    known: dict[Any, Vector] = {}  # the same words, and the same region, are embedded once
    for one in examples:
        if _name_of(one) not in known:
            known[_name_of(one)] = embed_example(index, one)
    weighed = np.stack([one.weight * known[_name_of(one)] for one in examples])
    total = weighed.sum(axis=0, dtype=np.float64, keepdims=True)
    if np.linalg.norm(total) < 1e-6:
        raise QuestionError("the examples cancel each other out; change their weights")
    vector: Vector = unit_rows(total)[0]
    return vector


def _name_of(example: Example) -> Any:
    """What tells an example from others, its weight left aside."""
    is_plain = isinstance(example.value, (str, Path, Region))
    return (example.kind, example.value if is_plain else id(example.value), example.mpp)


def embed_example(index: Index, example: Example) -> Vector:
    """The unit vector `[D]` of one example, its weight left aside."""
    if example.kind == "item":
        return index.stored_vector(str(example.value))
    if example.kind == "text":
        return _embed_text(index, str(example.value))
    if example.kind == "vector":
        return _given_vector(example.value, index.about.dim)
    if example.kind == "region":
        return _embed_region(index, example)
    return _embed_picture(index, example)


def items_in_query(index: Index, examples: Sequence[Example], exclude_group: bool | None) -> pa.Table | None:
    """The items of the archive that the query consists of; None when it consists of none.

    A region stands for all of its slide, so that its patient is left out, or, where patients are not left out, for what
    it overlaps.
    """
    found = [index.items_named([str(one.value)]) for one in examples if one.kind == "item"]
    for one in examples:
        if one.kind == "image" and exclude_group and isinstance(one.value, (str, Path)):
            found.append(index.items_of_file(Path(one.value)))
        if one.kind == "region":
            own = index.items_of_file(region_of(one.value).slide)
            if exclude_group is False:
                with open_region(region_of(one.value), scale_of_region(index, one), index.readers) as placed:
                    own = overlapping(own, placed.box)
            found.append(own)
    named = pa.concat_tables(found) if found else None
    return named if named is not None and named.num_rows else None


def scale_of_region(index: Index, example: Example) -> float | None:
    """µm per pixel of a region's slide, as the query or else the archive states it; None leaves it to the file."""
    if example.mpp is not None:
        return example.mpp
    own = index.items_of_file(region_of(example.value).slide)
    known: float | None = own["mpp"][0].as_py() if own.num_rows else None
    return known


def _embed_text(index: Index, text: str) -> Vector:
    if not text.strip():
        raise QuestionError("the text to search for is empty")
    if not index.about.has_text and not index.about.loaded_from.startswith(MARK):
        raise NoWordsError(
            f"this index was made by {index.about.encoder!r}, which knows no words; index the images with a dual "
            "encoder to search by text, for example --encoder mini"
        )
    vector: Vector = index.encoder.embed_texts([text])[0]
    return vector


def _embed_picture(index: Index, example: Example) -> Vector:
    picture: Any = example.value
    if isinstance(picture, np.ndarray):
        picture = _image_from_array(picture)
    is_file = isinstance(picture, (str, Path))
    if is_file and Path(picture).suffix.lower() in SLIDE_SUFFIXES:
        raise _too_large(picture)
    with closing(open_pixels(picture) if is_file else image_of(picture, "the query image")) as image:
        if image.size[0] * image.size[1] > MAX_PIXELS:
            raise _too_large(picture)
        return embed_box(image, None, example.mpp if example.mpp is not None else image.mpp, index.encoder)


def _embed_region(index: Index, example: Example) -> Vector:
    with open_region(region_of(example.value), scale_of_region(index, example), index.readers) as placed:
        if placed.covered is None:
            return embed_box(placed.image, placed.box, placed.mpp, index.encoder)
        return embed_shape(placed.image, placed.box, placed.mpp, index.encoder, placed.covered)


def _given_vector(value: Any, dim: int) -> Vector:
    try:
        vector = np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise QuestionError(f"the vector must hold {dim} finite numbers, and it holds others") from error
    if vector.shape != (dim,) or not np.isfinite(vector).all() or not vector.any():
        raise QuestionError(f"the vector must hold {dim} finite numbers, not shape {vector.shape}")
    unit: Vector = unit_rows(vector[None])[0]
    return unit


def _too_large(picture: str | Path) -> InputError:
    return InputError(f"{picture} is a whole slide; ask with a part of it: --region {picture}:X,Y,WIDTH,HEIGHT")


def _image_from_array(pixels: NDArray[Any]) -> Any:
    from PIL import Image

    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise InputError(f"a query array must be uint8 [H, W, 3], not {pixels.dtype} {list(pixels.shape)}")
    return Image.fromarray(pixels)
