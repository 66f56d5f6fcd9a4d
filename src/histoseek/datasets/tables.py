"""Tables that come with datasets: CSV in any sane dialect, and Excel sheets."""

from __future__ import annotations

import csv
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from histoseek.errors import InputError

DELIMITERS = ",;\t|"
MAX_ROWS, MAX_COLUMNS, MAX_SHEETS = 20_000, 64, 32
"""Of an Excel file; a single cell far out makes its sheet as large as that."""

MAX_XLSX_BYTES = 32 * 1024**2
"""Of an Excel file once unpacked; the tables of known datasets unpack to less than one megabyte."""


@dataclass(frozen=True)
class CsvTable:
    """A CSV file in memory; `rows` are (line number in the file, column → stripped text)."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str]], ...]


def read_csv(path: Path) -> CsvTable:
    """Read a CSV table with a header; the delimiter is the one that its header uses most.

    Raises:
        InputError: unreadable, not UTF-8, no header, a repeated column, or a row with too many fields.
    """
    text = read_text(path)
    header, _, _ = text.partition("\n")
    delimiter = max(DELIMITERS, key=header.count)
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, skipinitialspace=True)
    try:
        columns = tuple(cell.strip() for cell in next(reader, []))
        _check_header(columns, path)
        rows = tuple((reader.line_num, _row(cells, columns, reader.line_num, path)) for cells in reader if any(cells))
    except csv.Error as error:
        raise InputError(f"{path}, row {reader.line_num}: {error}") from error
    return CsvTable(str(path), columns, rows)


def read_text(path: Path) -> str:
    """Read a text file as UTF-8, with or without a byte order mark; raises `InputError` when it is not."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text in UTF-8 (byte {error.start}); save it as UTF-8 CSV") from error


def read_sheets(path: Path) -> dict[str, list[list[Any]]]:
    """Read every sheet of an Excel file as rows of cell values; columns from the 65th on are left out.

    Raises:
        InputError: not an Excel file, a damaged one, or one too large for a table of patients.
    """
    import openpyxl
    from openpyxl.utils.exceptions import InvalidFileException

    trouble = (
        OSError,
        InvalidFileException,
        zipfile.BadZipFile,
        KeyError,
        ValueError,
        SyntaxError,
        TypeError,
        EOFError,
        RuntimeError,
        zlib.error,
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # styles that openpyxl does not know
            _check_size(path)
            book = openpyxl.load_workbook(path, read_only=True, data_only=True)
            try:
                return _sheets(path, book)
            finally:
                book.close()
    except trouble as error:
        reason = str(error).split("\n")[0]
        raise InputError(
            f"{path} cannot be read as an Excel file ({reason}); download it again or move it away"
        ) from error


def _check_size(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        n_bytes = sum(member.file_size for member in archive.infolist())
    if n_bytes > MAX_XLSX_BYTES:
        raise InputError(
            f"{path} unpacks to {n_bytes // 1024**2} MB, more than the {MAX_XLSX_BYTES // 1024**2} MB that are read; "
            f"keep only the table in it"
        )


def _sheets(path: Path, book: Any) -> dict[str, list[list[Any]]]:
    if len(book.worksheets) > MAX_SHEETS:
        raise InputError(f"{path} has {len(book.worksheets)} sheets, more than {MAX_SHEETS}; keep only the table in it")
    sheets: dict[str, list[list[Any]]] = {}
    for sheet in book.worksheets:
        rows: list[list[Any]] = []
        for row in sheet.iter_rows(max_row=MAX_ROWS + 1, max_col=MAX_COLUMNS, values_only=True):
            if len(rows) == MAX_ROWS:
                raise InputError(
                    f"{path}, sheet {sheet.title!r}: it reaches beyond row {MAX_ROWS}; delete what is below its table"
                )
            rows.append(list(row) if any(cell is not None for cell in row) else [])
        sheets[sheet.title] = rows
    return sheets


def read_fact(name: str) -> list[dict[str, str]]:
    """Rows of a table in `histoseek/datasets/facts`."""
    with resources.files("histoseek.datasets").joinpath("facts", name).open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def heading(cell: Any) -> str:
    """A header cell without case, spaces and underscores, so that 'RoI ' and 'roi' are one."""
    return "".join(str(cell or "").casefold().replace("_", " ").split())


def whole(cell: Any) -> int | None:
    """An Excel cell as a whole number, or None."""
    try:
        number = float(str(cell).strip())
    except ValueError:
        return None
    return int(number) if number.is_integer() else None


def blocks(row: list[Any], width: int) -> Iterator[list[Any]]:
    """Every run of `width` neighbouring cells, for sheets with tables side by side."""
    for start in range(len(row) - width + 1):
        yield row[start : start + width]


def _check_header(columns: tuple[str, ...], path: Path) -> None:
    if not any(columns):
        raise InputError(f"{path} is empty; its first row must name the columns")
    twice = {name for name in columns if columns.count(name) > 1}
    if twice:
        raise InputError(f"{path} has more than one column {min(twice)!r}; rename one of them")


def _row(cells: list[str], columns: tuple[str, ...], line: int, path: Path) -> dict[str, str]:
    if len(cells) > len(columns) and any(cell.strip() for cell in cells[len(columns) :]):
        raise InputError(f"{path}, row {line}: {len(cells)} fields under {len(columns)} columns; quote the text")
    padded = [*cells, *[""] * (len(columns) - len(cells))]
    return {name: cell.strip() for name, cell in zip(columns, padded, strict=False)}
