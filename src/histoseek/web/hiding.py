"""Which columns of someone's tables say who somebody is, and so stay in the server unless they are asked for."""

from __future__ import annotations

import re
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from histoseek.web.pseudonyms import NOBODY

MOST_ALONE, HALF = 0.8, 0.5
"""A column tells patients apart when so many of its values belong to one patient only, a few coincidences aside, and
when it has more values than half of the patients."""

PERSON = re.compile(
    r"patients?|person|subject|name|surname|forename|firstname|lastname|fullname|initials|mrn|nhs|ssn|pid|dob|"
    r"birth|birthday|birthdate|accession|record|insurance|address|street|zip|postcode|phone|email|doctor|"
    r"physician|pathologist|vorname|nachname|geburt|geburtsdatum|fallnummer|nom|prenom|nombre|apellido"
)
"""Words in the name of a column that holds who somebody is, or who looked at it."""

TISSUE = re.compile(
    r"organ|site|tissue|stain|staining|marker|scale|magnification|objective|mpp|scanner|cent(?:re|er)|dataset|"
    r"source|labels?|class|category|grade|subtype|type|diagnosis|nature|split|subset|fold|batch|release|naming|"
    r"width|height|cover|quality|nth"
)
"""Words in the names of columns that tell of tissue and how it was photographed. Where nobody knows whose the pictures
are, whether a column tells patients apart cannot be measured: then no others are shown."""

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{1,2}:.*)?")
_DAY = re.compile(
    r"\s*(?:(?P<y>\d{4})[-./]?(?P<m>\d{2})(?:[-./]?(?P<d>\d{2}))?|(?P<a>\d{1,2})[-./ ](?P<b>\d{1,2}|[A-Za-z]{3,9})"
    r"[-./ ](?P<year>\d{4}|\d{2}))(?:[T ]\d{1,2}:.*)?\s*"
)


def says_who(items: pa.Table, name: str) -> bool:
    """Whether a column of the archive's own tells who somebody is, as far as that can be seen.

    By its name; by days written otherwise than in ISO 8601, of which no year can be told; by values that belong to one
    patient each; and where patients are not known, by telling of anything else than tissue. Numbers with fractions, and
    yes or no, tell nobody.
    """
    kind = items.schema.field(name).type
    if pa.types.is_boolean(kind) or (pa.types.is_floating(kind) and not _is_whole(items[name])):
        return False
    words = [word.lower() for word in _WORDS.findall(name)]
    is_date = is_date_column(items[name])
    if any(map(PERSON.fullmatch, words)) or (not is_date and _holds_days(items[name])):
        return True
    known = items.select([name, "group"]).filter(is_of_patient(items))
    if known.num_rows < HALF * items.num_rows:
        return not (is_date or any(map(TISSUE.fullmatch, words)))
    return _tells_patients_apart(known, name)


def is_date_column(column: pa.ChunkedArray) -> bool:
    """Whether a column holds dates, or texts that are dates in ISO 8601, as tables that are text have them."""
    if pa.types.is_temporal(column.type):
        return True
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return False
    values = pc.unique(column).drop_null()
    return bool(len(values)) and all(_ISO.fullmatch(one) and _is_day(one) for one in values.to_pylist())


def is_of_patient(items: pa.Table) -> pa.ChunkedArray:
    """Which items are known to be a patient's, or of what stands for one."""
    return pc.invert(pc.is_in(items["group_source"].fill_null(""), value_set=pa.array(NOBODY)))


def _tells_patients_apart(items: pa.Table, name: str) -> bool:
    known = items.filter(pc.is_valid(items[name]))
    patients = known.group_by([name, "group"]).aggregate([]).group_by(name).aggregate([("group", "count")])
    n_values, n_groups = patients.num_rows, pc.count_distinct(known["group"]).as_py()
    n_alone = pc.sum(pc.equal(patients["group_count"], 1)).as_py() or 0
    return bool(n_alone >= MOST_ALONE * n_values and n_values > HALF * n_groups and n_groups > 1)


def _is_whole(column: pa.ChunkedArray) -> bool:
    """Whether numbers are whole, as record numbers are that became floats because some are missing."""
    held = column.filter(pc.is_finite(column).fill_null(False))
    return bool(pc.all(pc.equal(held, pc.round(held)), min_count=0).as_py())


def _holds_days(column: pa.ChunkedArray) -> bool:
    """Whether half of the different values are days, or months of a year, written as texts or as numbers."""
    values = pc.unique(column).drop_null().to_pylist()
    n_days = sum(_is_day(str(int(one)) if isinstance(one, float) else str(one)) for one in values)
    return bool(values) and n_days >= HALF * len(values)


def _is_day(text: str) -> bool:
    found = _DAY.fullmatch(text)
    if found is None:
        return False
    if found["y"] is not None:
        return _exists(int(found["y"]), int(found["m"]), int(found["d"] or 1))
    first, second = int(found["a"]), found["b"]
    if second.isalpha():
        return 1 <= first <= 31
    year = int(found["year"]) + (1900 if len(found["year"]) == 2 else 0)
    return _exists(year, int(second), first) or _exists(year, first, int(second))


def _exists(year: int, month: int, day: int) -> bool:
    try:
        return 1850 <= date(year, month, day).year < 2150
    except ValueError:
        return False
