"""Which columns are shown, and what filters tell of what is not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from histoseek.errors import InputError
from histoseek.index import Index
from histoseek.items import Item, Manifest
from histoseek.web.hiding import _is_day
from tests.conftest import TinyEncoder, write_archive
from tests.web.conftest import Opened, id_of

N_PATIENTS = 9
DAY = date(2023, 3, 17)


def patient_of(item: Item) -> int:
    return int(item.group[1:])


def told_of(item: Item) -> dict[str, Any]:
    """Columns of a hospital: who somebody is in several ways, and what may be shown."""
    patient = patient_of(item)
    twin = 0 if patient == 1 else patient  # two patients share a value by chance
    return {
        "surname": f"Doe {twin}",
        "record": 5_551_000.0 + twin if patient else None,
        "visit": f"v{patient}{item.extra['nth'] % 2}",
        "centre": f"c{patient % 3}",
        "tumour_mm": 10.5 + patient % 4,
        "grade": patient % 3,
        "taken": DAY + timedelta(days=200 * (patient % 4)),
    }


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """An archive with such columns; nobody may write to it."""
    folder = tmp_path_factory.mktemp("hospital")
    found = write_archive(folder, N_PATIENTS)
    items = [replace(item, extra=told_of(item)) for item in found]
    return Index.build(Manifest.from_items(items, folder, {"dataset": "toy"}), TinyEncoder(), folder / "x.index")


def columns_of(client: TestClient) -> dict[str, Any]:
    return {column["name"]: column for column in client.get("/api/v1/index").json()["columns"]}


def test_columns_that_tell_patients_apart_are_hidden(opened: Opened, hospital: Index) -> None:
    client = opened(hospital)
    shown = columns_of(client)
    assert {"centre", "tumour_mm", "grade", "taken"} <= set(shown)
    assert not {"surname", "record", "visit"} & set(shown)
    assert "Doe" not in client.get("/api/v1/index").text
    assert {"surname", "record", "visit"} <= set(columns_of(opened(hospital, keep_names=True)))


PRIVATE = {
    "patient_name": lambda n: f"Doe {n // 3}",
    "PatientName": lambda n: f"Doe {n // 3}",
    "MRN": lambda n: 5_551_000 + n // 3,
    "note": lambda n: "ab"[n % 2],
    "german": lambda n: f"{DAY + timedelta(days=n % 40):%d.%m.%Y}",
    "american": lambda n: f"{DAY + timedelta(days=n % 40):%m/%d/%y}",
    "spelt": lambda n: f"{DAY + timedelta(days=n % 40):%d %b %Y}",
    "month_first": lambda n: f"{DAY + timedelta(days=n % 40):%b %d, %Y}",
    "unpadded": lambda n: f"2023-{1 + n % 9}-{1 + n % 7}",
    "basic": lambda n: f"{DAY + timedelta(days=n % 40):%Y%m%dT}083011",
    "zipcode": lambda n: f"12{n % 2}",
    "dateofbirth": lambda n: DAY + timedelta(days=n % 40),
    "dob": lambda n: 45_002.35 + n % 3,
    "annotator": lambda n: "ab"[n % 2],
    "batch_note": lambda n: "ab"[n % 2],
    "stain_day": lambda n: int(f"{DAY + timedelta(days=n % 40):%Y%m%d}"),
    "stain_month": lambda n: f"{2000 + n % 20}-0{1 + n % 9}",
}
PLAIN = {
    "organ": lambda n: ("colon", "liver")[n % 2],
    "centre": lambda n: f"c{n % 3}",
    "scannerModel": lambda n: "x",
    "share": lambda n: n / 7,
    "grade": lambda n: n % 4,
}
DAYS = {
    "taken": lambda n: (DAY + timedelta(days=200 * (n % 3))).isoformat(),
    "stamped": lambda n: f"{DAY + timedelta(days=200 * (n % 3))}T08:30:11",
}


@pytest.mark.parametrize("source", ["image", "unknown", "slide"])
def test_where_nobody_is_known_only_what_tells_of_tissue_is_shown(opened: Opened, tmp_path: Path, source: str) -> None:
    """As of a table without patients, read by `prepare csv`: everything is a text or a number there."""
    found = [
        replace(item, group_source=source, extra={name: tell(n) for name, tell in (PRIVATE | PLAIN).items()})
        for n, item in enumerate(write_archive(tmp_path, 12))
    ]
    client = opened(Index.build(Manifest.from_items(found, tmp_path), TinyEncoder(), tmp_path / "x.index"))
    shown = set(columns_of(client))
    assert PLAIN.keys() <= shown and not PRIVATE.keys() & shown
    said = client.get("/api/v1/index").text
    assert "Doe" not in said and "2023-" not in said and "2000-" not in said and "555100" not in said
    assert client.get("/api/v1/index").json()["n_patients"] == 0


@pytest.mark.parametrize("name", DAYS)
@pytest.mark.parametrize("source", ["patient", "image"])
def test_of_days_that_are_texts_the_year_is_shown(opened: Opened, tmp_path: Path, name: str, source: str) -> None:
    """As in an archive of `prepare csv`, where all days are texts."""
    found = [
        replace(item, group_source=source, extra={"taken": DAYS[name](n)})
        for n, item in enumerate(write_archive(tmp_path, 12))
    ]
    index = Index.build(Manifest.from_items(found, tmp_path), TinyEncoder(), tmp_path / "x.index")
    client = opened(index)
    told = columns_of(client)["taken"]
    assert (told["kind"], told["min"], told["max"], told["values"]) == ("date", "2023", "2024", None)
    assert years(asked(client, {"column": "taken", "values": ["2024"]})) == ["2024"]
    assert years(asked(client, {"column": "taken", "max": "2023"})) == ["2023"]
    day = DAY.isoformat()
    for one in ({"min": day}, {"values": [day]}, {"values": [DAYS[name](0)]}):
        assert asked(client, {"column": "taken", **one}).status_code == 422
    kept = opened(index, keep_names=True)
    assert years(asked(kept, {"column": "taken", "min": "2023-12-01", "max": "2024-02-01"})) == []
    assert years(asked(kept, {"column": "taken", "max": "2023-04-01"})) == [DAYS[name](0)]


def test_days_and_names_stay_hidden_where_patients_are_known_too(opened: Opened, tmp_path: Path) -> None:
    told = {name: tell for name, tell in PRIVATE.items() if name not in ("note", "batch_note")}
    found = [
        replace(item, extra={"site_note": "a", **{name: tell(n) for name, tell in told.items()}})
        for n, item in enumerate(write_archive(tmp_path, 12))
    ]
    client = opened(Index.build(Manifest.from_items(found, tmp_path), TinyEncoder(), tmp_path / "x.index"))
    assert not told.keys() & set(columns_of(client)) and "site_note" in columns_of(client)


def test_what_few_items_have_is_held_against_those(opened: Opened, tmp_path: Path) -> None:
    """Numbers that only the part without known patients has, and those of one patient."""
    found = [
        replace(
            item,
            group_source="image" if n >= 28 else "patient",
            extra={"case_no": f"c{n // 4}" if n >= 28 else None, "only": 5_551_000 if n == 3 else None, "stain": "x"},
        )
        for n, item in enumerate(write_archive(tmp_path, 12))
    ]
    client = opened(Index.build(Manifest.from_items(found, tmp_path), TinyEncoder(), tmp_path / "x.index"))
    assert not {"case_no", "only"} & set(columns_of(client)) and "stain" in columns_of(client)


def test_numbers_that_are_none_are_no_reason_to_fail(opened: Opened, tmp_path: Path) -> None:
    values = [1.0, math.nan, math.inf, 2.0]
    found = [
        replace(item, extra={"grade": values[n % 4], "none": math.nan})
        for n, item in enumerate(write_archive(tmp_path, 6))
    ]
    client = opened(Index.build(Manifest.from_items(found, tmp_path), TinyEncoder(), tmp_path / "x.index"))
    assert columns_of(client)["grade"]["max"] == 2.0 and "none" not in columns_of(client)


def test_a_date_that_is_asked_for_is_still_shown_by_the_year(opened: Opened, hospital: Index) -> None:
    told = columns_of(opened(hospital, show_columns=("taken",)))["taken"]
    assert (told["kind"], told["min"]) == ("date", "2023")


@pytest.mark.parametrize("text", ["20x", "H&E", "12", "3.5", "1.2.3", "4/5", "2023", "20231345", "G2", "31-12", ""])
def test_other_texts_are_no_days(text: str) -> None:
    assert not _is_day(text)


def test_a_column_is_shown_when_it_is_asked_for(opened: Opened, hospital: Index) -> None:
    shown = columns_of(opened(hospital, show_columns=("record",)))
    assert "record" in shown and "surname" not in shown
    for name in ("recrd", "path", "group"):
        with pytest.raises(InputError, match=f"--show-column {name}: the archive has no such column"):
            opened(hospital, show_columns=(name,))


def test_a_free_text_is_shown_when_it_is_asked_for(opened: Opened, tmp_path: Path) -> None:
    items = [replace(item, extra={"note": f"note {item.id}"}) for item in write_archive(tmp_path, 60)]
    index = Index.build(Manifest.from_items(items, tmp_path), TinyEncoder(), tmp_path / "x.index")
    assert "note" not in columns_of(opened(index))
    assert len(columns_of(opened(index, show_columns=("note",)))["note"]["values"]) == len(items)


def asked(client: TestClient, *filters: dict[str, Any]) -> Any:
    question = {"examples": [{"item": id_of(client)}], "exclude_group": False, "k": 100, "per_slide": None}
    return client.post("/api/v1/search", json={**question, "filters": list(filters), "collapse": False})


def years(answer: Any) -> Sequence[str]:
    assert answer.status_code == 200, answer.text
    return sorted({str(hit["columns"]["taken"]) for hit in answer.json()["hits"]})


def test_years_are_compared_whole(opened: Opened, hospital: Index) -> None:
    client = opened(hospital)
    assert (columns_of(client)["taken"]["min"], columns_of(client)["taken"]["max"]) == ("2023", "2024")
    assert years(asked(client, {"column": "taken", "min": "2023", "max": "2023"})) == ["2023"]
    assert years(asked(client, {"column": "taken", "min": "2024"})) == ["2024"]
    assert years(asked(client, {"column": "taken", "max": "2024"})) == ["2023", "2024"]
    assert years(asked(client, {"column": "taken", "values": ["2024"]})) == ["2024"]
    assert years(asked(client, {"column": "taken", "values": [None]})) == []


def test_no_filter_finds_out_a_day(opened: Opened, hospital: Index) -> None:
    """Who halves the span of days again and again learns a day, unless days are no answer."""
    client = opened(hospital)
    days = [(DAY + timedelta(days=step)).isoformat() for step in range(-40, 41, 8)]
    forms = [*days, f"{DAY}T00:00:00", "2023-03", "20230317", f" {DAY.year}", "2023 ", "٢٠٢٣", "0000", "9999", "x"]
    for form in forms:
        for one in ({"min": form}, {"max": form}, {"values": [form]}, {"values": ["2023", form]}):
            answer = asked(client, {"column": "taken", **one})
            assert answer.status_code == 422, (one, answer.text)
            assert "by the year" in answer.json()["detail"]
    for number in (2023, True, 1.0e9):
        assert asked(client, {"column": "taken", "values": [number]}).status_code == 422
    assert asked(client, {"column": "taken", "min": 2023}).status_code == 422


def test_days_are_compared_where_names_are_kept(opened: Opened, hospital: Index) -> None:
    client = opened(hospital, keep_names=True)
    assert columns_of(client)["taken"]["min"] == DAY.isoformat()
    told = years(asked(client, {"column": "taken", "max": DAY.isoformat()}))
    assert told == [DAY.isoformat()] == years(asked(client, {"column": "taken", "values": [DAY.isoformat()]}))
    assert len(years(asked(client, {"column": "taken", "values": ["2023"]}))) == 2
