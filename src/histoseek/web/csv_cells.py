"""Tables as CSV that no spreadsheet runs.

A cell of text that begins with =, +, -, @ (also in full width), a tab or a line break gets an apostrophe in front, so
that it is shown and not computed (CSV injection, CWE-1236). Programs that read the file take one leading apostrophe off
such cells. Numbers stay as they are.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

RUN = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # what spreadsheets may take for a formula
MARK = "'"


def harmless(value: Any) -> Any:
    """A cell as it may stand in a CSV."""
    if isinstance(value, str) and value.startswith(RUN):
        return MARK + value
    return value


def csv_text(rows: Sequence[Mapping[str, Any]], first: Sequence[str] = ()) -> str:
    """Rows as CSV with a header: the columns `first`, then all others that a row has."""
    names = list(dict.fromkeys([*first, *(name for row in rows for name in row)]))
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow([harmless(name) for name in names])
    writer.writerows([harmless(row.get(name)) for name in names] for row in rows)
    return stream.getvalue()
