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
    r"patient|surname|forename|firstname|lastname|fullname|vorname|nachname|birth|geburt|zipcode|postcode|address|"
    r"doctor|physician|pathologist|radiologist|surgeon|clinician|accession|insurance|fallnummer"
)
"""What the name of a column that holds who somebody is, or who looked at it, has somewhere in it."""

PERSON_WORDS = re.compile(
    r"person|subject|names?|initials|mrn|nhs|ssn|pid|dob|record|street|zip|phone|email|nom|prenom|nombre|apellido|"
    r"annotator|rater|observer|reader|reviewer|consultant|technician|operator|signed|author|user"
)
"""Words of the same meaning that other words hold too."""

TISSUE = re.compile(
    r"organ|site|tissue|stain|staining|marker|scale|magnification|objective|mpp|scanner|cent(?:re|er)|dataset|"
    r"source|labels?|class|category|grade|subtype|type|diagnosis|nature|split|subset|fold|batch|release|naming|"
    r"width|height|cover|quality|nth"
)
"""Words in the names of columns that tell of tissue and how it was photographed. Where nobody knows whose the pictures
are, whether a column tells patients apart cannot be measured: then no others are shown."""

REMARK = re.compile(r"files?|paths?|notes?|comments?|remarks?|id|ids|no|number|key")
"""Words that make something else of them: the number of a batch, a note on a stain."""

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{1,2}:.*)?")
_TIME = r"(?:[T ]?\d{1,2}:?\d{2}.*|Z|[+-]\d{2}:?\d{2})?"
_MONTH = r"(?P<m>\d{1,2}|[^\W\d_]{3,9}\.?)"
_DAYS = [
    re.compile(rf"(?P<y>\d{{4}})(?P<s>[-./ ])(?P<m>\d{{1,2}})(?:(?P=s)(?P<d>\d{{1,2}}){_TIME})?"),
    re.compile(rf"(?P<y>\d{{4}})(?P<m>\d{{2}})(?:(?P<d>\d{{2}}){_TIME})?"),
    re.compile(rf"(?P<d>\d{{1,2}})[-./ ]+{_MONTH}[-./ ]+(?P<y>\d{{4}}|\d{{2}}){_TIME}"),
    re.compile(r"(?P<m>[^\W\d_]{3,9}\.?) (?P<d>\d{1,2}),? (?P<y>\d{4})"),
    re.compile(r"(?P<m>\d{1,2})[-./](?P<y>\d{4})"),
]
"""Ways to write a day, or a month of a year."""


def says_who(items: pa.Table, name: str) -> bool:
    """Whether a column of the archive's own tells who somebody is, as far as that can be seen.

    By its name; by days written otherwise than in ISO 8601, of which no year can be told; by values that belong to one
    patient each; and where patients are not known, by telling of anything else than tissue. Numbers with fractions, and
    yes or no, tell nobody.
    """
    kind = items.schema.field(name).type
    if pa.types.is_boolean(kind):
        return False
    words = [word.lower() for word in _WORDS.findall(name)]
    if PERSON.search(name.lower()) or any(map(PERSON_WORDS.fullmatch, words)):
        return True
    if pa.types.is_floating(kind) and not _is_whole(items[name]):
        return False
    is_date = is_date_column(items[name])
    if not is_date and _holds_days(items[name]):
        return True
    filled = items.select([name, "group", "group_source"]).filter(pc.is_valid(items[name]))
    known = filled.filter(is_of_patient(filled))
    if known.num_rows < HALF * filled.num_rows:
        is_of_tissue = any(map(TISSUE.fullmatch, words)) and not any(map(REMARK.fullmatch, words))
        return not (is_date or is_of_tissue)
    n_patients = pc.count_distinct(items["group"].filter(is_of_patient(items))).as_py()
    return n_patients > 1 and _tells_patients_apart(known, name)


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


def _tells_patients_apart(known: pa.Table, name: str) -> bool:
    patients = known.group_by([name, "group"]).aggregate([]).group_by(name).aggregate([("group", "count")])
    n_values, n_groups = patients.num_rows, pc.count_distinct(known["group"]).as_py()
    n_alone = pc.sum(pc.equal(patients["group_count"], 1)).as_py() or 0
    return bool(n_alone >= MOST_ALONE * n_values and n_values > HALF * n_groups)


def _is_whole(column: pa.ChunkedArray) -> bool:
    """Whether numbers are whole, as record numbers are that became floats because some are missing."""
    held = column.filter(pc.is_finite(column).fill_null(False))
    return bool(pc.all(pc.equal(held, pc.round(held)), min_count=0).as_py())


def _holds_days(column: pa.ChunkedArray) -> bool:
    """Whether half of the different values are days, or months of a year, written as texts or as numbers."""
    if pa.types.is_floating(column.type):
        column = column.filter(pc.is_finite(column).fill_null(False)).cast(pa.int64(), safe=False)
    values = pc.unique(column).drop_null().to_pylist()
    return bool(values) and sum(_is_day(str(one)) for one in values) >= HALF * len(values)


def _is_day(text: str) -> bool:
    """Whether a text is a day, or a month of a year, however it is written."""
    for form in _DAYS:
        found = form.fullmatch(text.strip())
        if found is not None:
            told = found.groupdict()
            year = int(told["y"]) + (1900 if len(told["y"]) == 2 else 0)
            month, day = told["m"], int(told.get("d") or 1)
            if not month.isdecimal():  # spelt
                return 1 <= day <= 31
            return _exists(year, int(month), day) or _exists(year, day, int(month))
    return False


def _exists(year: int, month: int, day: int) -> bool:
    try:
        return 1850 <= date(year, month, day).year < 2150
    except ValueError:
        return False
