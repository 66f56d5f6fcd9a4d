from __future__ import annotations

import tracemalloc
import zipfile

import openpyxl
import pytest

from histoseek.datasets.tables import MAX_XLSX_BYTES, read_sheets
from histoseek.errors import InputError


def far(path, *cells):
    book = openpyxl.Workbook()
    book.active["A1"] = "WSI Filename"
    for cell in cells:
        book.active[cell] = 1
    book.save(path)
    return path


def test_a_cell_far_out_costs_no_memory(tmp_path):
    path = far(tmp_path / "far.xlsx", "XFD1", "A200000")
    tracemalloc.start()
    with pytest.raises(InputError, match="sheet 'Sheet': it reaches beyond row 20000"):
        read_sheets(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50e6


def test_columns_far_out_are_left_out(tmp_path):
    rows = read_sheets(far(tmp_path / "wide.xlsx", "XFD1", "B19000"))["Sheet"]
    assert {len(row) for row in rows} == {0, 64}
    assert (rows[0][0], rows[18_999][1]) == ("WSI Filename", 1)


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path):
    path = far(tmp_path / "bomb.xlsx")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/media/zeros", bytes(MAX_XLSX_BYTES))
    with pytest.raises(InputError, match="unpacks to 32 MB"):
        read_sheets(path)
