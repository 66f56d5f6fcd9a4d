"""Which keys, texts and names in a slide file may point to a person, a place or a day.

The rules would rather name too much: they decide what is listed for a person to look at, and change nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from histoseek.errors import needs_extra

with needs_extra("slides"):
    from defusedxml import DefusedXmlException, ElementTree

_INSIDE = re.compile(
    r"date|time|user|operator|patient|accession|barcode|bar_code|filename|file_name|serial|institution|hospital|"
    r"physician|doctor|birth|experimenter|requester|technician|pathologist|specimen|hostcomputer|e-?mail|address",
    re.IGNORECASE,
)
"""Found anywhere in a key."""

_WORDS = frozenset(
    (
        *("id", "uid", "guid", "uuid", "name", "names", "title", "label", "host", "computer", "artist", "author"),
        *("owner", "copyright", "instrument", "study", "series", "case", "sex", "age", "gps", "comment", "comments"),
        *("note", "notes", "description", "site", "department", "laboratory", "lab", "mrn"),
    )
)
"""Found as a word of a key; inside others they mean nothing, as in 'width' or 'stage'."""

_HARMLESS = re.compile(
    r"exposure|timescale|time-?scale|openslide\.(?!barcode)|mirax\.HIERARCHICAL\.|SOPClassUID|TransferSyntaxUID|Implementation|"
    r"CodeMeaning|CodingScheme|PixelPresentation|PhotometricInterpretation",
    re.IGNORECASE,
)
_HARMLESS_VALUE = re.compile(r"(urn:uuid:[0-9a-f-]+|[A-Za-z]+(:\d+)+|true|false)", re.IGNORECASE)
"""Names that OME-XML gives its own elements, and answers to yes-or-no."""

LOOKED_THROUGH = 2000
"""Characters of a value in which dates are looked for: longer ones are pictures in letters."""

_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_DATE = re.compile(
    r"(?<![\dv.])(?:(?:19|20)\d\d([-_./: ]?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])"
    r"|(?:0?[1-9]|[12]\d|3[01])([-_./])(?:0?[1-9]|[12]\d|3[01])\2(?:19|20)?\d\d)(?![\d.]\d|\d)"
)
_LONG_NUMBER = re.compile(r"\d{6,}")
_ACCESSION = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{1,3}[-_ ]?\d\d[-_/ ]\d{3,}")
"""As pathology numbers often are: S12-34567, H09-24359."""


def may_identify(key: str, value: str) -> bool:
    """Whether a key with a value speaks of a person, a place or a day, or the value looks like a date."""
    if not value.strip() or _HARMLESS.search(key) or _HARMLESS_VALUE.fullmatch(value.strip()):
        return False
    words = {word.lower() for word in _CAMEL.findall(key)}
    return bool(_INSIDE.search(key) or words & _WORDS or _DATE.search(value[:LOOKED_THROUGH]))


def marks_of_name(name: str) -> tuple[str, ...]:
    """What in a file's or folder's name looks like a date or like the number of a patient or case."""
    marks = []
    if _DATE.search(name):
        marks.append("a date")
    if _LONG_NUMBER.search(name) or _ACCESSION.search(name):
        marks.append("a long number")
    return tuple(marks)


def fields_of_text(text: str) -> Iterator[tuple[str, str]]:
    """Keys and values in an image description: Aperio's fields, XML, JSON, or else one field of free text."""
    stripped = text.strip().strip("\0")
    if stripped.startswith("<"):
        yield from _fields_of_xml(stripped)
    elif stripped.startswith("{"):
        yield from _fields_of_json(stripped)
    elif stripped.startswith("Aperio") or re.search(r"\|\s*\w[\w ]*=", stripped):
        head, *fields = stripped.split("|")
        if not head.startswith("Aperio") or _DATE.search(head):
            yield "free text", head.strip()
        for field in fields:
            key, _, value = field.partition("=")
            yield key.strip(), value.strip()
    elif stripped:
        yield "free text", stripped


def _fields_of_xml(text: str) -> Iterator[tuple[str, str]]:
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, DefusedXmlException, ValueError):
        yield "free text", text
        return
    for node in root.iter():
        tag = node.tag.rpartition("}")[2]
        named = node.get("Name") if tag == "Attribute" else None  # Philips: <Attribute Name="DICOM_…">value</Attribute>
        if node.text and node.text.strip():
            yield named or tag, node.text.strip()
        if named is None:
            yield from ((f"{tag}/{key.rpartition('}')[2]}", value) for key, value in node.attrib.items())


def _fields_of_json(text: str) -> Iterator[tuple[str, str]]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        yield "free text", text
        return
    yield from ((str(key), str(value)) for key, value in found.items())
