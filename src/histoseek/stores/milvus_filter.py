"""Filters as Milvus expressions: the conditions of `histoseek.items.filters`, with their NULL semantics.

Milvus knows true and false only. So a NOT is pushed down to the comparisons, and each comparison says when it is true
and when it is false; for an unknown value it is neither. How values are coded is told in `milvus_codes`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from histoseek.errors import InputError
from histoseek.items.filters import flatten, literal_of, parse_filter, parse_tree
from histoseek.stores.milvus_codes import NOT_A_NUMBER, UNKNOWN, Column, columns_of, quoted, real_codes

TRUE, FALSE = 'id != ""', 'id == ""'
"""No id is empty."""

LOWEST = UNKNOWN + 1
_MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "==": "=="}


def milvus_filter(where: str, schema: pa.Schema, *, any_pattern: bool) -> str:
    """Translate a condition over the columns of `schema`; `any_pattern` says whether Milvus knows LIKE with wildcards
    elsewhere than at the end.

    Raises:
        InputError: whatever `parse_filter` refuses, and the kinds of LIKE that Milvus lacks.
    """
    parse_filter(where, schema)  # every mistake gets the sentence that it gets elsewhere
    columns = {one.column.name: one for one in columns_of(schema)}
    return _Translation(schema, columns, any_pattern).of(parse_tree(where, schema.names))


def without(field: str, codes: Collection[str]) -> str:
    """The expression that shuts out rows whose text field holds one of some codes."""
    return f"{field} not in [{','.join(quoted(code) for code in sorted(codes))}]" if codes else TRUE


def all_of(terms: Sequence[str]) -> str:
    """The expression that is true when all terms are."""
    return _joined("and", terms)


def _joined(word: str, terms: Sequence[str]) -> str:
    """Terms under one operator, halved again and again: Milvus gets slow on long chains, which it nests."""
    empty, decisive = (TRUE, FALSE) if word == "and" else (FALSE, TRUE)
    left = [term for term in dict.fromkeys(terms) if term != empty]
    if decisive in left:
        return decisive
    while len(left) > 1:
        pairs = [left[at : at + 2] for at in range(0, len(left), 2)]
        left = [f"({f' {word} '.join(pair)})" if len(pair) > 1 else pair[0] for pair in pairs]
    return left[0] if left else empty


@dataclass(frozen=True)
class _Leaf:
    """A condition on one column: the expression for "true" and that for "known"."""

    true: str
    known: str

    def of(self, wanted: bool) -> str:
        if wanted:
            return self.true
        opposite = {TRUE: FALSE, FALSE: TRUE}.get(self.true, f"not ({self.true})")
        return _joined("and", [self.known, opposite])


@dataclass(frozen=True)
class _Translation:
    schema: pa.Schema
    columns: dict[str, Column]
    any_pattern: bool

    def of(self, tree: Any, wanted: bool = True) -> str:
        """The expression that is true where the condition is `wanted`: true, or false."""
        from sqlglot import exp

        if isinstance(tree, exp.Paren):
            return self.of(tree.this, wanted)
        if isinstance(tree, exp.Not):
            return self.of(tree.this, not wanted)
        if isinstance(tree, (exp.And, exp.Or)):
            word = "and" if isinstance(tree, exp.And) == wanted else "or"
            return _joined(word, [self.of(side, wanted) for side in flatten(tree)])
        leaf, opposite = self._leaf(tree)
        return leaf.of(wanted != (opposite != bool(tree.args.get("negate"))))

    def _leaf(self, tree: Any) -> tuple[_Leaf, bool]:
        """A condition, and whether it is the opposite that was asked."""
        from sqlglot import exp

        signs = {exp.EQ: "==", exp.NEQ: "==", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">="}
        kind = type(tree)
        if kind in signs:
            mirrored = not isinstance(tree.this, exp.Column)
            column, value = (tree.expression, tree.this) if mirrored else (tree.this, tree.expression)
            sign = _MIRRORED[signs[kind]] if mirrored else signs[kind]
            return self._compared(column, [(sign, value)]), kind is exp.NEQ
        column = tree if kind is exp.Column else tree.this
        if kind is exp.Between:
            return self._compared(column, [(">=", tree.args["low"]), ("<=", tree.args["high"])]), False
        if kind is exp.In:
            return self._any_of(column, tree.expressions), False
        if kind is exp.Is:
            return _Leaf(_unknown(self.columns[column.name]), TRUE), False
        if kind is exp.Column:
            return self._compared(column, [("==", exp.true())]), False
        return self._like(self.columns[column.name], tree.expression.this, ignore_case=kind is exp.ILike), False

    def _compared(self, tree: Any, comparisons: Sequence[tuple[str, Any]]) -> _Leaf:
        column = self.columns[tree.name]
        values = [(sign, self._value(tree, literal)) for sign, literal in comparisons]
        if column.is_text:
            sides = [_text_compared(column, sign, value) for sign, value in values]
            return _Leaf(_joined("and", sides), _known(column))
        spans = [_span(column, sign, value) for sign, value in values]
        return _Leaf(_between(column, max(span[0] for span in spans), min(span[1] for span in spans)), _known(column))

    def _any_of(self, tree: Any, literals: Sequence[Any]) -> _Leaf:
        column = self.columns[tree.name]
        values = [self._value(tree, literal) for literal in literals]
        if column.is_text:
            codes = [quoted(_text_code(column, value)) for value in values]
        else:
            spans = [_span(column, "==", value) for value in values]
            codes = [str(low) for low, high in spans if low == high]
        codes = list(dict.fromkeys(codes))
        return _Leaf(f"{column.field} in [{','.join(codes)}]" if codes else FALSE, _known(column))

    def _value(self, column: Any, literal: Any) -> Any:
        """The value of a literal; dates and times as the number that the column keeps."""
        scalar = literal_of(literal, self.schema, column)
        return scalar.value if pa.types.is_temporal(scalar.type) else scalar.as_py()

    def _like(self, column: Column, pattern: str, *, ignore_case: bool) -> _Leaf:
        if ignore_case:
            raise InputError("Milvus cannot compare text without its case; write LIKE, or IN with every spelling")
        pieces = re.findall(r"\\.|[^\\]", pattern, re.DOTALL)
        if "".join(pieces) != pattern or any(piece[0] == "\\" and piece[1] not in "%_" for piece in pieces):
            raise InputError(f"LIKE {pattern[:80]!r}: in Milvus a backslash stands before % or _ only")
        end = len(pieces)
        while end and pieces[end - 1] == "%":
            end -= 1
        if not {"%", "_"} & set(pieces[:end]):
            start = "".join(piece[-1] for piece in pieces[:end])
            true = _text_compared(column, "==", start) if end == len(pieces) else _begins(column, start)
            return _Leaf(true, _known(column))
        if not self.any_pattern or "\\" in pattern:
            raise InputError(
                f"LIKE {pattern[:80]!r} cannot be asked here: this Milvus compares the beginning of a text only, "
                "as in label LIKE 'adeno%'"
            )
        code = quoted(("" if column.is_id else "=") + pattern)
        return _Leaf(f"{column.field} like {code}", _known(column))


def _known(column: Column) -> str:
    if column.is_id:
        return TRUE
    return f'{column.field} != ""' if column.is_text else f"{column.field} >= {LOWEST}"


def _unknown(column: Column) -> str:
    if column.is_id:
        return FALSE
    return f'{column.field} == ""' if column.is_text else f"{column.field} < {LOWEST}"


def _text_code(column: Column, text: str) -> str:
    return text if column.is_id else f"={text}"


def _text_compared(column: Column, sign: str, text: str) -> str:
    compared = f"{column.field} {sign} {quoted(_text_code(column, text))}"
    return _joined("and", [_known(column), compared]) if sign[0] == "<" else compared


def _begins(column: Column, start: str) -> str:
    """Texts from `start` up to the first one behind all that begin with it; texts are ordered by code points."""
    if not start:
        return _known(column)
    low = f"{column.field} >= {quoted(_text_code(column, start))}"
    kept = start.rstrip(chr(0x10FFFF))
    if not kept:
        return low
    following = ord(kept[-1]) + 1
    behind = kept[:-1] + chr(0xE000 if following == 0xD800 else following)  # surrogates are no text
    return f"({low} and {column.field} < {quoted(_text_code(column, behind))})"


def _span(column: Column, sign: str, value: bool | int | float) -> tuple[int, int]:
    """The smallest and largest code that a comparison lets through; the first is larger when none is."""
    if column.is_real:
        code, below, above = _real_code(float(value)), _real_code(-math.inf), _real_code(math.inf)
        return {
            "==": (code, code),
            "<": (below, code - 1),
            "<=": (below, code),
            ">": (code + 1, above),
            ">=": (code, above),
        }[sign]
    if math.isinf(value):
        outside = NOT_A_NUMBER + 1 if value > 0 else LOWEST - 1
        floor = ceil = outside
    else:
        floor, ceil = math.floor(value), math.ceil(value)
    return {
        "==": (ceil, floor),
        "<": (LOWEST, ceil - 1),
        "<=": (LOWEST, floor),
        ">": (floor + 1, NOT_A_NUMBER),
        ">=": (ceil, NOT_A_NUMBER),
    }[sign]


def _real_code(value: float) -> int:
    import numpy as np

    return int(real_codes(np.array([value]))[0])


def _between(column: Column, low: int, high: int) -> str:
    low, high = max(low, LOWEST), min(high, NOT_A_NUMBER)
    if low > high:
        return FALSE
    if low == high:
        return f"{column.field} == {low}"
    upper = [f"{column.field} <= {high}"] if high < NOT_A_NUMBER else []
    return _joined("and", [f"{column.field} >= {low}", *upper])
