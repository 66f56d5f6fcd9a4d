"""How item columns are kept in Milvus: one field a column, with an unknown value as a code of its own.

Milvus servers before 2.5 know no NULL, and Milvus compares, quotes and rounds numbers in ways of its own. So every
column is text or a whole number whose order is that of the values:

- text becomes `=` and the text; unknown is the empty text. The id, which is always known, stays as it is.
- whole numbers, truth values, dates and times are their number; unknown is −2^63.
- real numbers are their bits as a whole number that is ordered as they are; unknown is −2^63, not-a-number 2^63 − 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histoseek.errors import InputError

UNKNOWN = -(2**63)
NOT_A_NUMBER = 2**63 - 1
ID = "id"
MAX_COLUMNS = 62
"""A Milvus collection holds 64 fields at most, as it comes; the id and the vector are two of them."""

MAX_TEXT_BYTES = 65_535


@dataclass(frozen=True)
class Column:
    """One item column and the Milvus field that holds it."""

    column: pa.Field
    field: str

    @property
    def is_text(self) -> bool:
        """Whether the field holds text, else whole numbers."""
        kind = self.column.type
        return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))

    @property
    def is_real(self) -> bool:
        """Whether the values are real numbers."""
        return bool(pa.types.is_floating(self.column.type))

    @property
    def is_id(self) -> bool:
        """Whether this is the id."""
        return self.field == ID

    def encode(self, values: pa.ChunkedArray) -> list[Any]:
        """Values as their codes.

        Raises:
            InputError: a value that Milvus cannot hold.
        """
        if self.is_text:
            return self._encode_text(values)
        if self.is_real:
            known = values.is_valid().to_numpy()
            codes = real_codes(values.cast(pa.float64()).fill_null(0.0).to_numpy())
            return np.where(known, codes, UNKNOWN).tolist()  # type: ignore[no-any-return]
        try:
            whole = values.cast(_whole(self.column.type)).cast(pa.int64())
        except pa.ArrowInvalid as error:
            raise self._too_large() from error
        if pc.any(pc.equal(whole, UNKNOWN)).as_py():
            raise self._too_large()
        return whole.fill_null(UNKNOWN).to_pylist()  # type: ignore[no-any-return]

    def decode(self, codes: Sequence[Any]) -> pa.Array:
        """Codes as the values they stand for."""
        kind = self.column.type
        if self.is_id:
            return pa.array(codes, kind)
        if self.is_text:
            return pa.array([code[1:] if code else None for code in codes], kind)
        numbers = np.array(codes, dtype=np.int64)
        if self.is_real:
            return pa.array(real_values(numbers), pa.float64(), mask=numbers == UNKNOWN).cast(kind)
        return pa.array(numbers, mask=numbers == UNKNOWN).cast(_whole(kind)).cast(kind)

    def _encode_text(self, values: pa.ChunkedArray) -> list[str]:
        text = values.cast(pa.string())
        longest = pc.max(pc.binary_length(text)).as_py() or 0
        if longest >= MAX_TEXT_BYTES:
            raise InputError(
                f"column {self.column.name!r} holds a text of {longest} bytes, and Milvus holds less than "
                f"{MAX_TEXT_BYTES}; shorten it"
            )
        if self.is_id:
            if text.null_count or pc.any(pc.equal(text, "")).as_py():
                raise InputError("an item has no id; give every item one")
            return text.to_pylist()  # type: ignore[no-any-return]
        return pc.binary_join_element_wise("=", text, "").fill_null("").to_pylist()  # type: ignore[no-any-return]

    def _too_large(self) -> InputError:
        return InputError(
            f"column {self.column.name!r} holds a number outside −(2^63 − 1) to 2^63 − 1, which Milvus cannot hold"
        )


def columns_of(schema: pa.Schema) -> list[Column]:
    """The fields for item columns; names of columns may be anything, names of fields are plain.

    Raises:
        InputError: no id, too many columns, or a type that cannot be kept.
    """
    if ID not in schema.names:
        raise InputError(f"the items have no column {ID!r}; its columns are: {', '.join(schema.names)}")
    if len(schema) - 1 > MAX_COLUMNS:
        raise InputError(
            f"the items have {len(schema)} columns, and a Milvus collection holds {MAX_COLUMNS} beside the id; "
            "leave some of your own columns out"
        )
    columns = [Column(field, ID if field.name == ID else f"c{at}") for at, field in enumerate(schema)]
    for one in columns:
        kind = one.column.type
        dated = pa.types.is_temporal(kind) and not pa.types.is_interval(kind)
        number = pa.types.is_integer(kind) or pa.types.is_boolean(kind) or dated
        if not (one.is_text or one.is_real or number):
            raise InputError(f"column {one.column.name!r} holds {kind}; Milvus keeps text, numbers, booleans and dates")
    return columns


def real_codes(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Whole numbers that are ordered as real numbers are; −0 counts as 0."""
    bits = (values + 0.0).view(np.int64)
    codes = np.where(bits >= 0, bits, bits ^ np.int64(NOT_A_NUMBER))
    return np.where(np.isnan(values), np.int64(NOT_A_NUMBER), codes)


def real_values(codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """The real numbers behind their codes."""
    bits = np.where(codes >= 0, codes, codes ^ np.int64(NOT_A_NUMBER))
    return np.where(codes == NOT_A_NUMBER, np.nan, bits.view(np.float64))


def quoted(text: str) -> str:
    """A text as Milvus reads it in an expression; both the server and Milvus Lite know these escapes."""
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(plain, escaped)
    return f'"{text}"'


def _whole(kind: pa.DataType) -> pa.DataType:
    """The whole numbers that Arrow itself keeps dates and times as."""
    if pa.types.is_temporal(kind):
        return pa.int32() if kind.bit_width == 32 else pa.int64()
    return pa.int64() if pa.types.is_boolean(kind) else kind
