from __future__ import annotations

from histoseek.datasets import prepare, prepare_with_report
from histoseek.datasets.grouping import group_rows


def groups_of(rows, mapping=None):
    found, notes = group_rows(rows, mapping or {}, [f"{i}.png" for i in range(len(rows))])
    return [group[0] if group else None for group in found], notes


def test_a_mapped_case_is_the_group(tmp_path, plant):
    plant(tmp_path, ["1.png", "2.png"])
    (tmp_path / "t.csv").write_text("path,accession\n1.png,C1\n2.png,C1\n")
    items = list(prepare("csv", tmp_path / "t.csv", columns="case=accession"))
    assert [(item.case, item.group, item.group_source) for item in items] == [("C1", "C1", "case")] * 2


def test_a_blank_patient_is_that_of_the_other_rows_of_the_slide(tmp_path, plant):
    plant(tmp_path, ["1.png", "2.png", "3.png", "4.png"])
    (tmp_path / "t.csv").write_text("path,patient,slide\n1.png,1,S1\n2.png,,S1\n3.png,,1\n4.png,,\n")
    prepared = prepare_with_report("csv", tmp_path / "t.csv")
    items = list(prepared.manifest)
    assert [item.group for item in items] == ["1", "1", "slide:1", "image:4.png"]
    assert [item.group_source for item in items] == ["patient", "patient", "slide", "image"]
    assert any(
        note.startswith("3 rows have no patient: 1 take") and "2 count" in note for note in prepared.summary.notes
    )


def test_no_slide_is_torn_by_blanks():
    chain = [
        {"patient": "P1", "case": "C1", "slide": ""},
        {"patient": "", "case": "C1", "slide": "S1"},
        {"patient": "", "case": "", "slide": "S1"},
    ]
    assert groups_of(chain)[0] == ["P1"] * 3
    unknown = [{"patient": "P9", "case": "", "slide": "S9"}, *({**row, "patient": ""} for row in chain)]
    assert groups_of(unknown)[0] == ["P9", *["case:C1"] * 3]


def test_a_slide_of_two_patients_is_not_guessed():
    rows = [{"patient": who, "slide": "S1"} for who in ("P1", "P2", "")]
    assert groups_of(rows)[0] == ["P1", "P2", "slide:S1"]


def test_one_column_stays_as_it_is():
    assert groups_of([{"slide": "1"}, {"slide": "2"}]) == (["1", "2"], [])
    assert groups_of([{"x": "1"}]) == ([None], [])
