from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from datetime import date, timedelta
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from histoseek.errors import InputError
from histoseek.items.filters import parse_filter
from histoseek.stores.milvus_codes import MAX_COLUMNS, NOT_A_NUMBER, UNKNOWN, quoted, real_codes, real_values
from histoseek.stores.milvus_filter import FALSE, TRUE, milvus_filter

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("fold", pa.int32()),
        pa.field("mpp", pa.float64()),
        pa.field("small", pa.float32()),
        pa.field("flag", pa.bool_()),
        pa.field("day", pa.date32()),
        pa.field("big", pa.int64()),
    ]
)
COMPARED = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
TEXTS = [
    "",
    "a",
    "A",
    "ab",
    "a%",
    "a_",
    "'",
    '"',
    "\\",
    "a\\",
    "\n",
    "\r",
    "\t",
    "\0",
    "µ",
    "𝄞",
    "\ud7ff",
    "\ue000",
    "=",
    "b",
]
WHOLES = [-(2**24), -3, -1, 0, 1, 2, 3, 2**24]
REALS = [-math.inf, -1e308, -2.5, -1.0, -5e-324, 0.0, 5e-324, 0.1, 0.5, 1.0, 2.5, 1e308, math.inf, math.nan]
BIG = [-(2**63) + 1, -(2**53) - 1, -1, 0, 1, 2**53 + 1, 2**63 - 1]
DAYS = [date(1969, 12, 31), date(1970, 1, 1), date(2026, 2, 28)]
N_ROWS = 80


def table() -> pa.Table:
    rng = np.random.default_rng(11)

    def drawn(values: list[object], kind: pa.DataType) -> pa.Array:
        return pa.array(
            [None if rng.random() < 0.2 else values[rng.integers(len(values))] for _ in range(N_ROWS)], kind
        )

    small = [float(np.float32(value)) for value in REALS if not 1e300 < abs(value) < math.inf]
    return pa.table(
        [
            pa.array([f"{TEXTS[row % 12]}{row}" for row in range(N_ROWS)]),
            drawn(TEXTS, pa.string()),
            drawn(WHOLES, pa.int32()),
            drawn(REALS, pa.float64()),
            drawn(small, pa.float32()),
            drawn([True, False], pa.bool_()),
            drawn(DAYS, pa.date32()),
            drawn(BIG, pa.int64()),
        ],
        schema=SCHEMA,
    )


def sql_text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def sql_real(value: float) -> str:
    return "1e999" if value == math.inf else "-1e999" if value == -math.inf else repr(value)


texts = st.sampled_from(TEXTS).map(sql_text)
wholes = st.sampled_from(WHOLES).map(str)
reals = st.sampled_from([value for value in REALS if not math.isnan(value)]).map(sql_real)
days = st.sampled_from([*DAYS, DAYS[0] - timedelta(1)]).map(lambda day: f"'{day}'")
LITERALS = {
    "id": texts,
    "label": texts,
    "fold": wholes | st.sampled_from(["0.5", "-0.5", "2.0", "3000000000"]),
    "mpp": reals | st.integers(-3, 3).map(str),
    "small": reals,
    "flag": st.sampled_from(["TRUE", "FALSE"]),
    "day": days,
    "big": st.sampled_from(BIG).map(str),
}


@st.composite
def comparisons(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(list(LITERALS)))
    value = LITERALS[name]
    kind = draw(st.sampled_from(["compare", "mirrored", "between", "in", "null", "like", "plain"]))
    negation = draw(st.sampled_from(["", "NOT "]))
    if kind == "between":
        return f"{name} {negation}BETWEEN {draw(value)} AND {draw(value)}"
    if kind == "in":
        return f"{name} {negation}IN ({', '.join(draw(st.lists(value, min_size=1, max_size=4)))})"
    if kind == "null":
        return f"{name} IS {negation}NULL"
    if kind == "like" and name in ("id", "label"):
        start = draw(
            st.sampled_from(["", "a", "A", "ab", "µ", "\\%", "a\\%", "a\\_", "'", "\n", "=", "\ud7ff", "𝄞", "\0"])
        )
        return f"{name} {negation}LIKE {sql_text(start + draw(st.sampled_from(['', '%', '%%'])))}"
    if kind == "plain":
        return f"{negation}flag"
    sign = draw(st.sampled_from(list(COMPARED)))
    return f"{draw(value)} {sign} {name}" if kind == "mirrored" else f"{name} {sign} {draw(value)}"


conditions = st.recursive(
    comparisons(),
    lambda inner: (
        st.tuples(inner, st.sampled_from([" AND ", " OR "]), inner).map(lambda parts: f"({''.join(parts)})")
        | inner.map(lambda one: f"NOT ({one})")
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module", params=["lite", pytest.param("server", marks=pytest.mark.slow)])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    pytest.importorskip("pymilvus", reason="the cluster extra is not installed")
    from histoseek.stores.milvus import MilvusAddress, MilvusStore

    server = request.param == "server"
    place = request.getfixturevalue("milvus_server") if server else f"milvus-lite://{tmp_path_factory.mktemp('x')}/x.db"
    whole = pa.schema([*SCHEMA, pa.field("vector", pa.list_(pa.float32(), 2))])
    filled = MilvusStore.create(MilvusAddress.parse(f"{place}/filtered_{uuid4().hex}"), whole)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array([1.0, 0.0] * N_ROWS, pa.float32()), 2)
    filled.add(table().append_column(whole.field("vector"), vectors))
    yield filled
    filled.drop()
    filled.close()


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(where=conditions)
def test_milvus_finds_the_rows_that_arrow_finds(store: object, where: str) -> None:
    rows = table()
    kept = rows.filter(parse_filter(where, SCHEMA))["id"].to_pylist()
    assert store.ids(where) == sorted(kept)  # type: ignore[attr-defined]


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(pattern=st.text(alphabet="aA_%b\nµ='\"", max_size=6), negation=st.sampled_from(["", "NOT "]))
def test_milvus_lite_knows_every_pattern_and_a_server_refuses_or_is_right(
    store: object, pattern: str, negation: str
) -> None:
    where = f"label {negation}LIKE {sql_text(pattern)} OR id LIKE {sql_text(pattern)}"
    kept = table().filter(parse_filter(where, SCHEMA))["id"].to_pylist()
    try:
        assert store.ids(where) == sorted(kept)  # type: ignore[attr-defined]
    except InputError:  # a server of version 2.3 knows beginnings only
        assert not store.address.is_lite  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("label = 'it''s'", 'c1 == "=it\'s"'),
        ("label = 'a\"b\\c\nd'", 'c1 == "=a\\"b\\\\c\\nd"'),
        ("label != 'x'", '(c1 != "" and not (c1 == "=x"))'),
        ("NOT label != 'x'", 'c1 == "=x"'),
        ("label < 'x'", '(c1 != "" and c1 < "=x")'),
        ("label LIKE 'ad%'", '(c1 >= "=ad" and c1 < "=ae")'),
        ("label LIKE '%'", 'c1 != ""'),
        ("fold > 0.5", "c2 >= 1"),
        ("fold = 0.5", FALSE),
        ("fold = 0.5 OR NOT fold = 0.5", f"c2 >= {UNKNOWN + 1}"),
        ("fold IN (1, 2.0, 2.5, 1)", "c2 in [1,2]"),
        ("big <= 9223372036854775807", f"c7 >= {UNKNOWN + 1}"),
        ("big < 1e300", f"c7 >= {UNKNOWN + 1}"),
        ("big >= -9223372036854775808", f"c7 >= {UNKNOWN + 1}"),
        ("big < -9223372036854775807", FALSE),
        ("day = '1970-01-02'", "c6 == 1"),
        ("flag", "c5 == 1"),
        ("id IS NULL", FALSE),
        ("id IS NOT NULL", TRUE),
        ("id IS NULL OR fold = 1", "c2 == 1"),
        ("id IS NOT NULL AND fold = 1", "c2 == 1"),
    ],
)
def test_conditions_are_written_as_milvus_reads_them(where: str, expected: str) -> None:
    assert milvus_filter(where, SCHEMA, any_pattern=False) == expected


def test_long_chains_are_not_nested_deeply() -> None:
    written = milvus_filter(" OR ".join(f"fold = {n}" for n in range(700)), SCHEMA, any_pattern=False)
    depth = deepest = 0
    for sign in written:
        depth += (sign == "(") - (sign == ")")
        deepest = max(deepest, depth)
    assert deepest == 10 and written.count("c2 ==") == 700


@pytest.mark.parametrize("where", ["label LIKE '%x'", "label LIKE 'a_b'", "label LIKE 'a%b%'", "label ILIKE 'a'"])
def test_patterns_beyond_a_beginning_are_refused_by_old_servers(where: str) -> None:
    with pytest.raises(InputError, match=r"beginning of a text only|without its case"):
        milvus_filter(where, SCHEMA, any_pattern=False)


@given(value=st.floats(), other=st.floats())
def test_codes_of_real_numbers_are_ordered_as_they_are(value: float, other: float) -> None:
    codes = real_codes(np.array([value, other]))
    back = real_values(codes)
    np.testing.assert_array_equal(back, [value, other])
    assert UNKNOWN not in codes
    if math.isnan(value):
        assert codes[0] == NOT_A_NUMBER
    elif not math.isnan(other):
        assert (codes[0] < codes[1]) == (value < other) and (codes[0] == codes[1]) == (value == other)


def test_quoted_text_has_no_bare_quote_or_line_break() -> None:
    assert quoted('a"b\\"c\r\n') == '"a\\"b\\\\\\"c\\r\\n"'
    assert MAX_COLUMNS == 62
