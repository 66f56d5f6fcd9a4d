"""What a slide file carries beside its tissue, and the few facts of it that Histoseek passes on.

Of label, macro and thumbnail images only names and sizes are looked at, never their pixels. Nothing is changed.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from histoseek.errors import InputError, needs_extra
from histoseek.imaging.identifying import fields_of_text, marks_of_name, may_identify
from histoseek.imaging.opening import SLIDE_SUFFIXES, TIFF_SUFFIXES, open_slide

with needs_extra("slides"):
    from openslide import OpenSlide, OpenSlideError
    from tifffile import TiffFile, TiffFileError

LOOKED_AT = SLIDE_SUFFIXES | TIFF_SUFFIXES | {".qptiff", ".vsi", ".isyntax", ".i2syntax", ".jp2", ".zvi", ".lif"}
"""Files that are or may be slides; some of them no reader here knows, and that is said of them."""

TIFF_LIKE = TIFF_SUFFIXES | {".svs", ".ndpi", ".scn", ".bif", ".svslide", ".qptiff"}
MAX_PAGES = 100
ALLOWED = ("vendor", "mpp", "objective", "width", "height", "levels")
"""All that Histoseek passes on of a slide's metadata."""

MAX_VALUES = 20
"""Different values of one key that are listed."""

_TAGS = frozenset(
    (
        *("DateTime", "Artist", "HostComputer", "Copyright", "DocumentName", "PageName", "GPSTag", "IPTCNAA"),
        *("ImageResources", "ImageHistory", "CameraSerialNumber", "ImageID"),
    )
)
_TEXTS = frozenset({"ImageDescription", "XMP"})
_SHOWS_LABEL = re.compile("label|macro|overview|barcode", re.IGNORECASE)
_PIXELS = re.compile(r"openslide\.associated\.(.+)\.(width|height)")
_TROUBLE = (
    TiffFileError, OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError,
    OverflowError, struct.error, zlib.error,
)  # fmt: skip
"""What tifffile raises on broken files, by our fuzzing."""


@dataclass(frozen=True)
class Carried:
    """What one file carries.

    `images` are sizes (width, height) in pixels by name, `metadata` values that may identify by key, and `name_marks`
    what in its path looks like a date or a number. `reason` says what could not be looked at; it is empty when all
    was.
    """

    path: str
    images: Mapping[str, tuple[int, int]]
    metadata: Mapping[str, str]
    name_marks: tuple[str, ...]
    reason: str = ""

    @property
    def verdict(self) -> str:
        """The findings in a few words."""
        pictures = [name for name in self.images if _SHOWS_LABEL.search(name)]
        found = [f"{' and '.join(pictures)} image"] if pictures else []
        found += ["other images"] if len(pictures) < len(self.images) else []
        found += ["metadata"] if self.metadata else []
        told = [f"carries {', '.join(found)}"] if found else []
        told += [f"name holds {' and '.join(self.name_marks)}"] if self.name_marks else []
        told += ["not looked at in full"] if self.reason else []
        return "; ".join(told) or "nothing found"


def scan_folder(folder: str | Path, progress: Callable[[int, int], None] | None = None) -> list[Carried]:
    """Look at every slide below a folder, in the order of their paths; one that cannot be opened gets its reason.

    `progress` is called with files done and in all.

    Raises:
        InputError: there is no such folder, or no slide in it.
    """
    home = Path(folder)
    if not home.is_dir():
        raise InputError(f"there is no folder {home}")
    files = sorted(_files_below(home))
    if not files:
        raise InputError(f"{home} holds no slides; they end in {', '.join(sorted(LOOKED_AT))}")
    carried = []
    for number, file in enumerate(files, start=1):
        carried.append(look_at(home / file, file))
        if progress is not None:
            progress(number, len(files))
    return carried


def look_at(path: str | Path, shown: str | None = None) -> Carried:
    """List what one file carries; `shown` is the path to tell of it, whose names are looked at too."""
    source = Path(path)
    told = source.name if shown is None else shown
    images: dict[str, tuple[int, int]] = {}
    metadata: dict[str, str] = {}
    is_tiff = source.suffix.lower() in TIFF_LIKE
    by_tiff = _from_tiff(source, images, metadata) if is_tiff else "it is no TIFF"
    by_openslide = _from_openslide(source, images, metadata, is_tiff=not by_tiff)
    if is_tiff:  # OpenSlide alone does not tell of every page, and it refuses many a sound .tif
        is_plain = source.suffix.lower() in TIFF_SUFFIXES | {".qptiff"} and not by_tiff
        reason = "; ".join(one for one in ("" if is_plain else by_openslide, by_tiff) if one)
    else:
        reason = by_openslide
    marks = dict.fromkeys(mark for part in PurePosixPath(told).parts for mark in marks_of_name(part))
    return Carried(told, images, metadata, tuple(marks), reason)


def allowed_metadata(path: str | Path) -> dict[str, str | int | float | None]:
    """The facts of a slide that Histoseek passes on: vendor, mpp, objective, width, height and number of levels.

    Raises:
        ImageError: it cannot be read.
    """
    with closing(open_slide(path)) as slide:
        (width, height), mpp, n_levels = slide.size, slide.mpp, len(slide.levels)
    vendor, objective = None, None
    try:
        with OpenSlide(str(path)) as opened:
            vendor = opened.properties.get("openslide.vendor", "")
            objective = _power(opened.properties.get("openslide.objective-power", ""))
    except (OpenSlideError, OSError, ValueError):  # read by tifffile, which knows no vendors
        pass
    vendor = vendor if vendor and re.fullmatch(r"[a-z0-9-]{1,32}", vendor) else None
    values = (vendor, mpp, objective, width, height, n_levels)
    return dict(zip(ALLOWED, values, strict=True))


def _power(text: str) -> float | None:
    try:
        power = float(text)
    except ValueError:
        return None
    return power if 0.1 <= power <= 200 else None


def _files_below(home: Path) -> Iterator[str]:
    for folder, _, names in os.walk(home):
        for name in names:
            if PurePosixPath(name).suffix.lower() in LOOKED_AT and not name.startswith("._"):
                yield (Path(folder) / name).relative_to(home).as_posix()


def _from_openslide(source: Path, images: dict[str, tuple[int, int]], metadata: dict[str, str], is_tiff: bool) -> str:
    """Add what OpenSlide tells; gives the reason why it tells nothing."""
    try:
        with OpenSlide(str(source)) as slide:
            # A damaged file can name a property that has no value.
            properties = {key: slide.properties.get(key, "") for key in slide.properties}
    except (OpenSlideError, OSError, ValueError) as error:
        return f"OpenSlide cannot open it: {_line(error)}"
    sizes: dict[str, dict[str, int]] = {}
    for key, value in properties.items():
        if match := _PIXELS.fullmatch(key):
            sizes.setdefault(match[1], {})[match[2]] = int(value)
    seen = {name.lower() for name in images}
    images.update({
        name: (size["width"], size["height"])
        for name, size in sizes.items()
        if name.lower() not in seen and len(size) == 2
    })  # fmt: skip
    for key, value in properties.items():
        if key.startswith(("tiff.", "openslide.comment")):
            fields = (
                () if is_tiff else fields_of_text(value) if key.endswith(("Description", "comment")) else [("", value)]
            )
        elif key.startswith("aperio.") and is_tiff:  # the fields of the description that was looked at already
            fields = ()
        else:
            fields = [("", value)]
        _add(metadata, ((f"{key}: {name}" if name else key, text) for name, text in fields))
    return ""


def _from_tiff(source: Path, images: dict[str, tuple[int, int]], metadata: dict[str, str]) -> str:
    """Add what the pages of a TIFF tell; gives the reason why something is missing."""
    try:
        with TiffFile(source) as file:
            for series in file.series[1:]:
                name = str(series.name or "").strip().lower() or "image"
                while name in images:
                    name += "'"
                images[name] = _size(series)
            n_pages, breaks_off = len(file.pages), _breaks_off(file)
            for number in range(min(n_pages, MAX_PAGES)):
                page: Any = file.pages[number]
                for tag in page.aspage().tags:
                    _add(metadata, _fields_of_tag(tag))
    except _TROUBLE as error:
        return f"its TIFF pages cannot be read: {_line(error)}"
    if breaks_off:
        return "its list of pages breaks off, so the file is damaged"
    return f"only {MAX_PAGES} of its {n_pages} pages were looked at" if n_pages > MAX_PAGES else ""


def _breaks_off(file: Any) -> bool:
    """Whether the last page that was found points to one that was not: tifffile passes over that in silence."""
    if not len(file.pages):
        return True
    layout, handle = file.tiff, file.filehandle
    if layout.is_ndpi:  # whose offsets are put together from two places
        return False
    place = file.pages[-1].offset
    handle.seek(place)
    (n_tags,) = struct.unpack(layout.tagnoformat, handle.read(layout.tagnosize))
    handle.seek(place + layout.tagnosize + n_tags * layout.tagsize)
    (following,) = struct.unpack(layout.offsetformat, handle.read(layout.offsetsize))
    return bool(following)


def _size(series: Any) -> tuple[int, int]:
    return int(series.shape[series.axes.index("X")]), int(series.shape[series.axes.index("Y")])


def _fields_of_tag(tag: Any) -> Iterator[tuple[str, str]]:
    value = tag.value
    if isinstance(value, dict):  # Exif and GPS
        yield from ((f"{tag.name}: {key}", str(one)) for key, one in value.items())
    elif isinstance(value, str) or (isinstance(value, bytes) and tag.name in _TAGS | _TEXTS):
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        if tag.name in _TEXTS:
            yield from ((f"{tag.name}: {key}", one) for key, one in fields_of_text(text))
        else:
            yield tag.name, text
    elif tag.name in _TAGS:
        yield tag.name, str(value)


def _add(metadata: dict[str, str], fields: Iterable[tuple[str, str]]) -> None:
    """Keep what may identify; a key that stands there with another value is kept too, numbered."""
    for key, value in fields:
        name = key.rpartition(": ")[2]
        if not (name in _TAGS and value.strip()) and name != "free text" and not may_identify(name, value):
            continue
        free, number = key, 2
        while metadata.get(free, value) != value and number <= MAX_VALUES:
            free, number = f"{key} ({number})", number + 1
        metadata.setdefault(free, value)


def _line(error: Exception) -> str:
    return str(error).split("\n")[0] or type(error).__name__
