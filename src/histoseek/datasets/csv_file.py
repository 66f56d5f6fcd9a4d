"""Any CSV table of images: one row an image, or a box inside one."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

from histoseek.datasets.columns import FIELDS, ItemRow, item_rows
from histoseek.datasets.dataset import Dataset, Scan
from histoseek.datasets.tables import CsvTable, read_csv
from histoseek.errors import InputError
from histoseek.items import Item, Skipped

PATH_COLUMNS = ("path", "file", "filename", "image")


def scan(source: Path, *, columns: str = "", root: Path | None = None, dataset: str = "csv") -> Scan:
    """Read one item a row.

    `columns` maps fields to columns, as in "label=diagnosis,group=case"; a column named like a field needs no
    mapping, and every other column is kept. `root` is where the paths start, the table's folder unless given;
    `dataset` is what the dataset and its ids shall be called.
    """
    table = read_csv(source)
    mapping = _mapping(columns, table)
    path_column = _path_column(mapping, table)
    base = root or source.parent
    if not base.is_dir():
        raise InputError(f"there is no folder {base} for the paths of {source} to start from; check -o root=")
    paths = [_inside(cells[path_column], base) for _, cells in table.rows]
    rows, notes = item_rows(table, mapping, path_column, [path or "" for path in paths])
    items, skipped = [], []
    for (line, cells), row, path in zip(table.rows, rows, paths, strict=True):
        if path is None:
            where = cells[path_column] or f"row {line}"
            skipped.append(Skipped(where, f"row {line} of the table: the path is empty or leads out of {base}"))
            continue
        items.append(
            row.onto(Item(id=_id(dataset, path, cells.get(mapping.get("id", "id")), row), path=path, dataset=dataset))
        )
    return Scan(items, skipped, [*notes, *_notes(table, items)], root=base)


def _mapping(text: str, table: CsvTable) -> dict[str, str]:
    """Read "field=column,field=column"."""
    mapping: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        field, equals, column = (part.strip() for part in pair.partition("="))
        if not equals or field not in FIELDS:
            raise InputError(
                f"option 'columns' says {pair!r}; write FIELD=COLUMN with FIELD one of: {', '.join(FIELDS)}"
            )
        if column not in table.columns:
            raise InputError(f"{table.name} has no column {column!r}; its columns are: {', '.join(table.columns)}")
        mapping[field] = column
    return mapping


def _path_column(mapping: dict[str, str], table: CsvTable) -> str:
    found = mapping.get("path") or next((name for name in PATH_COLUMNS if name in table.columns), None)
    if found is None:
        raise InputError(
            f"{table.name} has no column 'path'; say which of its columns it is with -o columns=path=COLUMN: "
            f"{', '.join(table.columns)}"
        )
    return found


def _inside(text: str, base: Path) -> str | None:
    """The path relative to `base` with forward slashes, None when it leads out."""
    path = PurePosixPath(text.replace("\\", "/"))
    if path.is_absolute():
        for start in (base, base.absolute(), base.resolve()):
            if path.is_relative_to(start.as_posix()):
                path = path.relative_to(start.as_posix())
                break
    if not text or path.is_absolute() or ".." in path.parts or PureWindowsPath(text).drive or not path.parts:
        return None
    return path.as_posix()


def _id(name: str, path: str, given: str | None, row: ItemRow) -> str:
    if given:
        return given
    box = row.fields.get("box")
    return f"{name}/{path}" if box is None else f"{name}/{path}#{','.join(map(str, box))}"


def _notes(table: CsvTable, items: list[Item]) -> list[str]:
    notes = []
    if items and all(item.label is None for item in items):
        notes.append(f"no labels: map one of the columns with -o columns=label=COLUMN ({', '.join(table.columns)})")
    if items and all(item.group_source == "image" for item in items):
        notes.append(
            "no groups: map the patient's column with -o columns=group=COLUMN, or patients may meet themselves"
        )
    return notes


DATASET = Dataset(
    name="csv",
    title="CSV table",
    licence="yours",
    source="",
    about="one image a row, columns mapped to fields",
    looks_for="a .csv table with a column 'path' and any of label, group, patient, case, slide, split, mpp, caption",
    scan=scan,
    takes="file",
)
