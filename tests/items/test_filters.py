from __future__ import annotations

from datetime import date

import pyarrow as pa
import pytest

from histoseek.errors import InputError
from histoseek.items import Item, Manifest
from histoseek.items.table import check_table

LABELS = ["Normal", "Benign", None, "it's", "adeno_x", "Adeno"]


@pytest.fixture
def manifest() -> Manifest:
    items = [
        Item(
            id=str(row),
            path="p",
            label=label,
            group=f"g{row % 3}",
            case=None if row % 2 else f"c{row}",
            fold=row if row != 4 else None,
            mpp=0.25 * (row + 1),
            extra={"flag": row % 2 == 0},
        )
        for row, label in enumerate(LABELS)
    ]
    return Manifest.from_items(items, ".")


def ids(manifest: Manifest) -> str:
    return "".join(item.id for item in manifest)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("label = 'Normal'", "0"),
        ("label = 'it''s'", "3"),
        ("'Normal' = label", "0"),
        ("0.5 > mpp", "0"),
        ("mpp >= 0.5 AND mpp < 1.25", "123"),
        ("fold = -1", ""),
        ("fold > -1 and fold <> 2", "0135"),
        ("fold = 3000000000", ""),
        ("fold = 0.5", ""),
        ("fold BETWEEN 1 AND 3", "123"),
        ("fold NOT BETWEEN 1 AND 3", "05"),
        ("label IN ('Normal', 'Benign')", "01"),
        ("label LIKE 'adeno%'", "4"),
        ("label ILIKE 'adeno%'", "45"),
        ("label LIKE 'aden__x'", "4"),
        ("flag", "024"),
        ("NOT flag", "135"),
        ("flag = TRUE AND fold = 2", "2"),
        ("fold = 0 OR fold = 1 AND label = 'x'", "0"),
        ("(fold = 0 OR fold = 1) AND label = 'Benign'", "1"),
        ("group = 'g1'", "14"),
        ("\"group\" = 'g1'", "14"),
        ("case = 'c2'", "2"),
        ("case IS NULL AND group IN ('g0')", "3"),
        ("case = 'c0' OR group = 'g2'", "025"),
        ("label = 'case' OR label = 'Normal'", "0"),
    ],
)
def test_filter_keeps_what_sql_would_keep(manifest: Manifest, where: str, expected: str) -> None:
    assert ids(manifest.where(where)) == expected


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("label != 'Normal'", "1345"),
        ("NOT label = 'Normal'", "1345"),
        ("NOT label != 'Normal'", "0"),
        ("label NOT IN ('Normal')", "1345"),
        ("label NOT LIKE 'a%'", "0135"),
        ("label NOT ILIKE 'a%'", "013"),
        ("NOT label NOT LIKE 'a%'", "4"),
        ("label IS NULL", "2"),
        ("label IS NOT NULL", "01345"),
        ("label = 'Normal' OR label IS NULL", "02"),
        ("NOT (label = 'Normal' AND fold = 0)", "12345"),
        ("label = 'Normal' OR fold = 2", "02"),
    ],
)
def test_comparison_with_null_is_neither_true_nor_false(manifest: Manifest, where: str, expected: str) -> None:
    assert ids(manifest.where(where)) == expected


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("labl = 'x'", "did you mean 'label'"),
        ("label = Normal", "compares a column with a value"),
        ('label = "Normal"', "compares a column with a value"),
        ("label = 1", "'label' holds string"),
        ("mpp = 'a'", "'mpp' holds double"),
        ("flag = 1", "'flag' holds bool"),
        ("label = NULL", "IS NULL"),
        ("label IN (SELECT id FROM x)", "IN needs a list"),
        ("label IN ('a', NULL)", "IS NULL"),
        ("fold BETWEEN SYMMETRIC 3 AND 1", "cannot contain"),
        ("label LIKE 'a' ESCAPE 'b'", "cannot contain"),
        ("label = 'a' COLLATE nocase", "plain values"),
        ("lower(label) = 'a'", "compares"),
        ("label", "compare it with a value"),
        ("1 = 1", "compares a column with a value"),
        ("label = 'a'; DROP TABLE items", "cannot"),
        ("label = ", "cannot be read"),
        ("", "cannot be read"),
        ("label = 'a", "cannot be read"),
        ("fold = 99999999999999999999", "too large"),
        ("x.label = 'a'", "compares columns"),
        ("(" * 100 + "label = 'a'" + ")" * 100, "filter"),
        ("NOT " * 200 + "label = 'a'", "filter"),
        (" OR ".join(["label = 'a'"] * 1000), "use fewer conditions"),
    ],
)
def test_what_is_outside_the_subset_is_refused_with_a_short_reason(manifest: Manifest, where: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        manifest.where(where)
    assert len(str(caught.value)) < 500


def test_long_chain_of_conditions_works(manifest: Manifest) -> None:
    assert ids(manifest.where(" OR ".join(["label='a'"] * 700 + ["fold=1"]))) == "1"


def test_dates_compare_with_text() -> None:
    table = check_table(
        pa.table({"id": ["a", "b"], "path": ["x", "x"], "day": [date(2025, 1, 1), date(2026, 1, 1)]}), ""
    )
    manifest = Manifest(table, None, {})  # type: ignore[arg-type]
    assert ids(manifest.where("day < '2025-06-01'")) == "a"
    with pytest.raises(InputError, match="no date"):
        manifest.where("day < 'soon'")


def test_keyword_filters_mean_equal_any_of_and_unknown(manifest: Manifest) -> None:
    assert ids(manifest.where(label="Normal")) == "0"
    assert ids(manifest.where(label=["Normal", "Benign"], fold=1)) == "1"
    assert ids(manifest.where(label=None)) == "2"
    assert ids(manifest.where("mpp < 0.6", group="g1")) == "1"


def test_keyword_filter_of_another_type_is_refused(manifest: Manifest) -> None:
    with pytest.raises(InputError, match="'fold' holds int32"):
        manifest.where(fold="one")
    with pytest.raises(InputError, match="no column 'nope'"):
        manifest.where(nope=1)
