"""Filters: a safe subset of SQL conditions over declared columns, as Arrow expressions.

    label != 'Normal' AND mpp < 0.6
    organ IN ('colon', 'stomach') OR label LIKE 'adeno%'
    fold = 0 AND caption IS NOT NULL

Comparisons follow SQL: one with NULL is neither true nor false, so a row without a label matches neither
`label = 'x'` nor `label != 'x'`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from histoseek.errors import InputError, QuestionError

MAX_LENGTH = 10_000
MAX_DEPTH = 60
_PARTS = ("this", "expression", "expressions", "low", "high", "negate")
"""Parts of sqlglot's conditions that are understood; NOT LIKE is a LIKE with `negate`."""

HINT = "write for example: label != 'Normal' AND mpp < 0.6"


def parse_filter(where: str, schema: pa.Schema) -> pc.Expression:
    """Turn a condition into an Arrow expression over the columns of `schema`.

    Raises:
        InputError: wrong syntax, an unknown column, something outside the subset, or types that do not compare.
    """
    expression = _to_arrow(parse_tree(where, schema.names), schema)
    try:  # Arrow finds wrong types only when it meets rows
        schema.empty_table().filter(expression)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise InputError(
            f"the filter {_short(where)!r} compares a column with a value of another type; {HINT}"
        ) from error
    return expression


def equals_filter(equals: dict[str, Any], schema: pa.Schema) -> pc.Expression | None:
    """Turn `column=value` pairs into one expression; a list of values means any of them, None means NULL."""
    expression: pc.Expression | None = None
    for name, value in equals.items():
        column = _column(name, schema)
        if value is None:
            term = column.is_null()
        elif isinstance(value, (list, tuple, set, frozenset)):
            term = column.isin(_values(list(value), schema.field(name)))
        else:
            term = column == _values([value], schema.field(name))[0]
        expression = term if expression is None else expression & term
    return expression


def _values(values: list[Any], field: pa.Field) -> pa.Array:
    try:
        return pa.array(values, type=field.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise InputError(f"column {field.name!r} holds {field.type}, which {values!r} is not") from error


def text_literal(text: str) -> str:
    """A text as filters and LanceDB's conditions write it, in single quotes."""
    return "'" + text.replace("'", "''") + "'"


def parse_tree(where: str, columns: list[str]) -> Any:
    """Read a condition into sqlglot's tree; what it may hold is checked by `parse_filter` alone.

    Raises:
        InputError: wrong syntax, or a filter that is too long.
    """
    from sqlglot import exp, parse_one
    from sqlglot.errors import SqlglotError

    if len(where) > MAX_LENGTH:
        raise QuestionError(f"the filter has {len(where)} characters, more than {MAX_LENGTH}; use fewer conditions")
    try:
        return parse_one(_with_quoted_columns(where, columns), dialect="duckdb", into=exp.Condition)
    except (SqlglotError, RecursionError, ValueError) as error:
        raise InputError(f"the filter {_short(where)!r} cannot be read; {HINT}") from error


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"


def _with_quoted_columns(where: str, columns: list[str]) -> str:
    """Put columns in double quotes: `group` and `case` are words of SQL too."""
    from sqlglot import tokenize
    from sqlglot.tokens import TokenType

    words = ("AND", "OR", "NOT", "IN", "LIKE", "ILIKE", "BETWEEN", "IS", "NULL", "TRUE", "FALSE")
    kept = {TokenType.STRING, TokenType.IDENTIFIER, *(TokenType[word] for word in words)}
    pieces, at = [], 0
    for token in tokenize(where, read="duckdb"):
        if token.text in columns and token.token_type not in kept:
            pieces += [where[at : token.start], f'"{token.text}"']
            at = token.end + 1
    return "".join([*pieces, where[at:]])


def _to_arrow(tree: Any, schema: pa.Schema, depth: int = 0) -> pc.Expression:
    from sqlglot import exp

    if depth > MAX_DEPTH:
        raise InputError(f"the filter is nested more than {MAX_DEPTH} deep; use fewer parentheses")
    if isinstance(tree, exp.Paren):
        return _to_arrow(tree.this, schema, depth + 1)
    if isinstance(tree, exp.Not):
        return ~_to_arrow(tree.this, schema, depth + 1)
    if isinstance(tree, (exp.And, exp.Or)):
        sides = [_to_arrow(side, schema, depth + 1) for side in flatten(tree)]
        total = sides[0]
        for side in sides[1:]:
            total = total & side if isinstance(tree, exp.And) else total | side
        return total
    for kind, translate in _conditions().items():
        if type(tree) is kind:
            expression = translate(tree, schema)
            if any(value for part, value in tree.args.items() if part not in _PARTS):
                break  # as BETWEEN SYMMETRIC: never leave out what was asked
            return ~expression if tree.args.get("negate") else expression
    raise InputError(f"a filter cannot contain {_short(tree.sql())!r}; {HINT}")


def flatten(tree: Any) -> Iterable[Any]:
    """The terms of a chain of equal operators, which sqlglot nests to the left without bound."""
    terms: list[Any] = []
    kind, rest = type(tree), tree
    while type(rest) is kind:
        terms.append(rest.expression)
        rest = rest.this
    return [rest, *reversed(terms)]


def _conditions() -> dict[Any, Callable[[Any, pa.Schema], pc.Expression]]:
    from sqlglot import exp

    return {
        exp.EQ: lambda t, s: _compare(t, s, lambda a, b: a == b),
        exp.NEQ: lambda t, s: _compare(t, s, lambda a, b: a != b),
        exp.LT: lambda t, s: _compare(t, s, lambda a, b: a < b),
        exp.LTE: lambda t, s: _compare(t, s, lambda a, b: a <= b),
        exp.GT: lambda t, s: _compare(t, s, lambda a, b: a > b),
        exp.GTE: lambda t, s: _compare(t, s, lambda a, b: a >= b),
        exp.Between: _between,
        exp.In: _is_in,
        exp.Is: _is_null,
        exp.Like: lambda t, s: _like(t, s, ignore_case=False),
        exp.ILike: lambda t, s: _like(t, s, ignore_case=True),
        exp.Column: _boolean_column,
    }


def _compare(tree: Any, schema: pa.Schema, operator: Callable[[Any, Any], pc.Expression]) -> pc.Expression:
    from sqlglot import exp

    left, right = tree.this, tree.expression
    if isinstance(left, exp.Column) and not isinstance(right, exp.Column):
        return operator(_field(left, schema), literal_of(right, schema, left))
    if isinstance(right, exp.Column) and not isinstance(left, exp.Column):
        return operator(literal_of(left, schema, right), _field(right, schema))
    raise InputError(f"a filter compares a column with a value, and {_short(tree.sql())!r} does not; {HINT}")


def _between(tree: Any, schema: pa.Schema) -> pc.Expression:
    column = _field(tree.this, schema)
    low, high = (literal_of(tree.args[end], schema, tree.this) for end in ("low", "high"))
    return (column >= low) & (column <= high)


def _is_in(tree: Any, schema: pa.Schema) -> pc.Expression:
    if tree.args.get("query") is not None or not tree.expressions:
        raise InputError(f"IN needs a list of values, as in label IN ('Normal', 'Benign'), not {_short(tree.sql())!r}")
    column = _field(tree.this, schema)
    total: pc.Expression | None = None
    for value in tree.expressions:  # equality, not isin: NULL IN (...) is not false but unknown
        term = column == literal_of(value, schema, tree.this)
        total = term if total is None else total | term
    return total


def _is_null(tree: Any, schema: pa.Schema) -> pc.Expression:
    from sqlglot import exp

    if not isinstance(tree.expression, exp.Null):
        raise InputError(f"after IS comes NULL or NOT NULL, not {_short(tree.expression.sql())!r}")
    return _field(tree.this, schema).is_null()


def _like(tree: Any, schema: pa.Schema, *, ignore_case: bool) -> pc.Expression:
    from sqlglot import exp

    if not (isinstance(tree.expression, exp.Literal) and tree.expression.is_string):
        raise InputError(f"LIKE needs a pattern in quotes, as in label LIKE 'adeno%', not {_short(tree.sql())!r}")
    return pc.match_like(_field(tree.this, schema), tree.expression.this, ignore_case=ignore_case)


def _boolean_column(tree: Any, schema: pa.Schema) -> pc.Expression:
    field = schema.field(tree.name) if tree.name in schema.names else None
    if field is not None and not pa.types.is_boolean(field.type):
        raise InputError(f"column {tree.name!r} holds {field.type}; compare it with a value, as in {tree.name} = ...")
    return _field(tree, schema)


def _field(tree: Any, schema: pa.Schema) -> pc.Expression:
    from sqlglot import exp

    if not isinstance(tree, exp.Column) or tree.table:
        raise InputError(f"a filter compares columns, and {_short(tree.sql())!r} is none; {HINT}")
    return _column(tree.name, schema)


def _column(name: str, schema: pa.Schema) -> pc.Expression:
    if name in schema.names:
        return pc.field(name)
    close = difflib.get_close_matches(name, schema.names, n=1)
    hint = f"did you mean {close[0]!r}?" if close else "text values stand in single quotes."
    raise InputError(f"there is no column {name!r}; {hint} The columns are: {', '.join(schema.names)}")


def literal_of(tree: Any, schema: pa.Schema, column: Any) -> pa.Scalar:
    """The value that a column is compared with.

    Raises:
        InputError: the value does not fit the column's type.
    """
    from sqlglot import exp

    if isinstance(tree, exp.Null):
        raise InputError(f"comparing {column.sql()} with NULL is never true; write {column.sql()} IS NULL")
    _field(column, schema)
    field = schema.field(column.name)
    value = _python_value(tree)
    if isinstance(value, str) and pa.types.is_temporal(field.type):
        value = pa.scalar(value)
        try:
            return value.cast(field.type)
        except pa.ArrowInvalid as error:
            raise QuestionError(
                f"{_short(tree.sql())} is no date for column {field.name!r}; write '2026-01-31'"
            ) from error
    numeric = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
    fits = {bool: pa.types.is_boolean(field.type), str: _is_text(field.type)}.get(type(value), numeric)
    if not fits:
        raise InputError(f"column {field.name!r} holds {field.type}, which {_short(tree.sql())} is not")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise QuestionError(f"{_short(tree.sql())} is too large a number for column {field.name!r}")
    return pa.scalar(value)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind))


def _python_value(tree: Any) -> str | int | float | bool:
    from sqlglot import exp

    if isinstance(tree, exp.Boolean):
        return bool(tree.this)
    negative = isinstance(tree, exp.Neg)
    literal = tree.this if negative else tree
    if not isinstance(literal, exp.Literal) or (negative and literal.is_string):
        raise InputError(f"a filter compares columns with plain values, and {_short(tree.sql())!r} is none; {HINT}")
    if literal.is_string:
        return str(literal.this)
    try:
        number = float(literal.this) if any(mark in literal.this for mark in ".eE") else int(literal.this)
    except ValueError as error:
        raise InputError(f"{literal.this!r} is no number; text values stand in single quotes") from error
    return -number if negative else number
