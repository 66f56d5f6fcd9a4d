"""Whatever comes in, only Histoseek's own errors come out: tables, filters, image headers and damaged images."""

from __future__ import annotations

import io
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from histoseek.errors import HistoseekError
from histoseek.imaging import open_flat
from histoseek.items import SCHEMA, Box, Item, Manifest

often = settings(
    max_examples=200, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)

CELLS = st.one_of(
    st.sampled_from(
        ["", "a", "b", "1", "-1", "0.5", "1e999", "nan", "NULL", "true", "2026-01-31", "../x", "ü", '"', "x\ny"]
    ),
    st.text(max_size=6),
    st.integers(-(2**70), 2**70).map(str),
)
NAMES = st.one_of(st.sampled_from([*SCHEMA.names, "vector", "score", "my own"]), st.text(max_size=5))


@st.composite
def csv_texts(draw: st.DrawFn) -> bytes:
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    names = ["id", "path", *draw(st.lists(NAMES, max_size=5))]
    rows = draw(st.lists(st.lists(CELLS, min_size=len(names) - 1, max_size=len(names)), max_size=4))
    comma = draw(st.sampled_from([",", ",", ",", ";", "\t"]))
    return "\n".join(comma.join(row) for row in [names, *rows]).encode("utf-8", "surrogatepass")


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    n = draw(st.integers(0, 3))
    kinds = [
        st.text(max_size=4), st.integers(-(2**63), 2**63 - 1), st.floats(), st.booleans(), st.none(),
        st.binary(max_size=3), st.dates(), st.timedeltas(), st.lists(st.integers(0, 3), max_size=2),
        st.decimals(0, 9, places=2),
    ]  # fmt: skip
    columns = {"id": [f"i{row}" for row in range(n)], "path": ["p"] * n}
    for name in draw(st.lists(NAMES, max_size=4, unique=True)):
        kind = st.one_of(draw(st.sampled_from(kinds)), st.none())
        columns[name] = draw(st.lists(kind, min_size=n, max_size=n))
    try:
        return pa.table(columns)
    except (pa.ArrowException, OverflowError):  # no table, nothing to read
        return pa.table({"id": [], "path": []})


def read_all(manifest: Manifest) -> None:
    list(manifest)
    _ = manifest.digest
    manifest.audit().lines()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@often
@given(content=csv_texts())
def test_any_csv_is_read_or_refused(folder: Path, content: bytes) -> None:
    (folder / "m.csv").write_bytes(content)
    try:
        read_all(Manifest.read(folder / "m.csv"))
    except HistoseekError as error:
        assert str(error)


@often
@given(table=tables())
def test_any_parquet_is_read_or_refused(folder: Path, table: pa.Table) -> None:
    try:
        pq.write_table(table, folder / "m.parquet")
    except pa.ArrowException:
        return
    try:
        read_all(Manifest.read(folder / "m.parquet"))
    except HistoseekError as error:
        assert str(error)


@cache
def small() -> Manifest:
    items = [
        Item(id=f"i{n}", path="p", label=None if n == 1 else "x", fold=n, mpp=0.5, extra={"ok": n > 1})
        for n in range(3)
    ]
    return Manifest.from_items(items, ".")


COLUMNS = st.sampled_from(["label", "fold", "mpp", "group", "case", "ok", '"label"', "nope", "x.y", "'label'"])
VALUES = st.one_of(
    st.sampled_from(
        [
            "'x'",
            "''",
            "NULL",
            "TRUE",
            "1",
            "-1",
            "0.5",
            "1e400",
            "9" * 30,
            "0x1F",
            "E'a'",
            "x'00'",
            "$$a$$",
            "DATE '2026-01-01'",
        ]
    ),
    st.text(max_size=4).map(lambda text: "'" + text.replace("'", "''") + "'"),
    COLUMNS,
)


OPERATORS = st.sampled_from(["=", "!=", "<>", "<", "<=", ">", ">=", "==", "~", "||", "+", "^", "->"])
PATTERNS = st.sampled_from(["LIKE", "ILIKE", "NOT LIKE", "NOT ILIKE", "SIMILAR TO", "GLOB", "LIKE ANY"])
RANGES = st.sampled_from(["BETWEEN", "NOT BETWEEN", "BETWEEN SYMMETRIC"])


@st.composite
def conditions(draw: st.DrawFn, depth: int = 3) -> str:
    kind = draw(st.integers(0, 9 if depth else 6))
    column, value = draw(COLUMNS), draw(VALUES)
    if kind <= 2:
        return f"{column} {draw(OPERATORS)} {value}"
    if kind == 3:
        return f"{column} {draw(st.sampled_from(['', 'NOT ']))}IN ({', '.join(draw(st.lists(VALUES, max_size=3)))})"
    if kind == 4:
        return (
            f"{column} {draw(st.sampled_from(['LIKE', 'ILIKE', 'NOT LIKE', 'SIMILAR TO', 'GLOB', 'LIKE ANY']))} {value}"
        )
    if kind == 5:
        return f"{column} {draw(RANGES)} {value} AND {draw(VALUES)}"
    if kind == 6:
        return f"{column} IS {draw(st.sampled_from(['NULL', 'NOT NULL', 'TRUE', 'DISTINCT FROM 1', value]))}"
    if kind == 7:
        return f"NOT ({draw(conditions(depth - 1))})"
    joined = draw(st.sampled_from(["AND", "OR", "XOR", "and", ","]))
    return f"{draw(conditions(depth - 1))} {joined} {draw(conditions(depth - 1))}"


@often
@given(where=st.one_of(conditions(), st.text(max_size=40), st.text("()'\"-*/;=<>! laben0x\\$", max_size=60)))
def test_any_filter_is_understood_or_refused(where: str) -> None:
    try:
        kept = small().where(where)
    except HistoseekError as error:
        assert len(str(error)) < 2000
    else:
        assert len(kept) <= 3


def try_image(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            flat = open_flat(path, max_pixels=1_000_000)
        except HistoseekError:
            return
        try:
            width, height = flat.size
            assert flat.read(Box(0, 0, width, height), (8, 8)).shape == (8, 8, 3)
            assert flat.read(Box(width // 2, 0, 1, 1), (4, 2)).shape == (2, 4, 3)
        except HistoseekError:
            pass
        finally:
            flat.close()


MAGIC = (
    b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", b"\xff\xd8\xff\xe1\x00\x20Exif\x00\x00MM\x00*",
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
    b"II*\x00\x08\x00\x00\x00", b"MM\x00*\x00\x00\x00\x08", b"II+\x00\x08\x00\x00\x00", b"RIFF\x40\x00\x00\x00WEBPVP8L",
    b"RIFF\x40\x00\x00\x00WEBPVP8 ", b"BM", b"BM\x9e\x00\x00\x00\x00\x00\x00\x00\x36\x00\x00\x00\x28\x00\x00\x00",
)  # fmt: skip


@often
@given(magic=st.sampled_from(MAGIC), rest=st.binary(max_size=300))
def test_any_bytes_behind_an_images_magic_are_read_or_refused(folder: Path, magic: bytes, rest: bytes) -> None:
    try_image(folder / "header", magic + rest)


@cache
def real_images() -> tuple[bytes, ...]:
    """Small real images of every format, with a scale and an orientation."""
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 255, (24, 32, 3), dtype=np.uint8))
    deep = Image.fromarray(rng.integers(0, 65535, (24, 32), dtype=np.uint16))
    real = Image.fromarray(rng.random((24, 32), dtype=np.float32))
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds: list[tuple[Image.Image, str, dict[str, object]]] = [
        (rgb, "JPEG", {"exif": exif, "dpi": (50_800, 50_800)}),
        (rgb, "JPEG", {"progressive": True}),
        (rgb.convert("CMYK"), "JPEG", {}),
        (rgb, "PNG", {"exif": exif}),
        (rgb.convert("P"), "PNG", {"transparency": 3}),
        (rgb.convert("LA"), "PNG", {}),
        (deep, "PNG", {}),
        (rgb, "TIFF", {"exif": exif}),
        (rgb, "TIFF", {"compression": "tiff_lzw"}),
        (rgb, "TIFF", {"compression": "tiff_adobe_deflate"}),
        (rgb, "TIFF", {"compression": "jpeg"}),
        (rgb.convert("1"), "TIFF", {"compression": "group4"}),
        (deep, "TIFF", {}),
        (real, "TIFF", {}),
        (rgb, "WEBP", {"lossless": True}),
        (rgb, "WEBP", {"exif": exif}),
        (rgb, "BMP", {}),
        (rgb.convert("P"), "BMP", {}),
    ]
    made = []
    for image, kind, options in kinds:
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        made.append(stream.getvalue())
    return tuple(made)


@st.composite
def damaged_images(draw: st.DrawFn) -> bytes:
    content = bytearray(draw(st.sampled_from(real_images())))
    reach = draw(st.sampled_from([40, 200, len(content)]))  # headers are where the trouble is
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, min(reach, len(content)) - 1)) if content else 0
        kind = draw(st.integers(0, 3))
        if kind <= 1 and content:
            content[at] = draw(st.integers(0, 255))
        elif kind == 2:
            content[at:at] = draw(st.binary(max_size=8))
        else:
            del content[at : at + draw(st.integers(1, 200))]
    return bytes(content)


@often
@given(content=damaged_images())
def test_any_damaged_image_is_read_or_refused(folder: Path, content: bytes) -> None:
    try_image(folder / "damaged", content)
