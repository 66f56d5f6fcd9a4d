"""Traps for readers: what lies in real folders and must be found, refused or read rightly."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from histoseek.errors import InputError
from histoseek.phantom.files import SYNTHETIC, synthetic_remark, write_picture
from histoseek.phantom.kinds import KINDS
from histoseek.phantom.patient import make_patient
from histoseek.phantom.picture import draw
from histoseek.phantom.sample import Row, caption_of, read_rows, write_rows

BOMB_SIDE = 20_480
_SIZE = (240, 200)


def plant_traps(folder: str | Path) -> dict[str, list[Path]]:
    """Add traps to a sample that `write_sample` wrote, and say for each name which files it is made of.

    "duplicate in another class" and "duplicate in another patient" give the original first, then the copy. Pictures
    get rows in `patients.csv`, those that cannot be decoded too; what operating systems leave behind gets none.

    Raises:
        InputError: the folder holds no sample.
    """
    root = Path(folder)
    rows = read_rows(root)
    if not rows:
        raise InputError(f"{root} holds no sample with a table of patients; make one with write_sample first")
    traps = _duplicates(root, rows)
    home = root / rows[0].file.split("/")[0]
    stem = f"{rows[0].patient}_trap"
    broken = _broken(home, stem, rows[0].mpp, root / rows[0].file)
    odd = _odd(home, stem, rows[0].mpp)
    listed = [path for paths in (broken | odd).values() for path in paths]
    listed += [paths[1] for paths in traps.values() if paths[1].parent.parent == root]
    new = [_row(root, path, rows) for path in listed]
    write_rows(root, [*rows, *new])
    return traps | broken | odd | _junk(root, home)


def _row(root: Path, path: Path, rows: list[Row]) -> Row:
    """Describe a planted file by the patient whose name it carries."""
    like = next(row for row in rows if row.patient == path.name.split("_")[0])
    return like._replace(file=path.relative_to(root).as_posix(), caption=caption_of(path.parent.name))


def _duplicates(root: Path, rows: list[Row]) -> dict[str, list[Path]]:
    """Copy one picture, byte for byte, into another class, and one under another patient's name."""
    original = root / rows[0].file
    class_other = next(kind for kind in KINDS if kind != original.parent.name)
    relabelled = root / class_other / f"{rows[0].patient}_{class_other.replace(' ', '-')}_97{original.suffix}"
    second = root / rows[-1].file
    patient = next((row.patient for row in rows if row.patient != rows[-1].patient), "P99")
    leaked = second.with_name(f"{patient}_{second.parent.name.replace(' ', '-')}_98{second.suffix}")
    for source, copy in ((original, relabelled), (second, leaked)):
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(source.read_bytes())
    return {"duplicate in another class": [original, relabelled], "duplicate in another patient": [second, leaked]}


def _broken(home: Path, stem: str, mpp: float, donor: Path) -> dict[str, list[Path]]:
    """Files with the name of a picture that cannot be decoded, or must not be."""
    truncated = []
    for suffix in (".jpg", ".png"):
        path = home / f"{stem}_truncated{suffix}"
        with Image.open(donor) as image:
            write_picture(path, image.convert("RGB"), mpp)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        truncated.append(path)
    text = home / f"{stem}_text.png"
    text.write_text(f"{SYNTHETIC}; this is no picture\n", encoding="utf-8")
    empty = home / f"{stem}_empty.png"
    empty.write_bytes(b"")
    bomb = home / f"{stem}_bomb.png"
    write_bomb(bomb)
    return {"truncated": truncated, "text named png": [text], "zero bytes": [empty], "bomb": [bomb]}


def _odd(home: Path, stem: str, mpp: float) -> dict[str, list[Path]]:
    """Sound pictures in forms that careless readers get wrong."""
    upright = draw(home.name, *_SIZE, mpp, make_patient(1), 5)
    image = Image.fromarray(upright)
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn a quarter clockwise to see it upright"
    rotated = home / f"{stem}_exif-rotated.jpg"
    image.transpose(Image.Transpose.ROTATE_90).save(rotated, quality=95, exif=exif, comment=SYNTHETIC)
    cmyk = home / f"{stem}_cmyk.jpg"
    image.convert("CMYK").save(cmyk, quality=95, comment=SYNTHETIC)
    rgba = home / f"{stem}_rgba.png"
    clear = image.convert("RGBA")
    clear.putalpha(Image.fromarray(np.where(upright.min(axis=2) > 200, 0, 255).astype(np.uint8)))
    clear.save(rgba, pnginfo=synthetic_remark())
    palette = home / f"{stem}_palette.png"
    image.quantize(64).save(palette, pnginfo=synthetic_remark())
    pages = home / f"{stem}_pages.tif"
    small = image.resize((_SIZE[0] // 2, _SIZE[1] // 2))
    image.save(pages, save_all=True, append_images=[small], description=SYNTHETIC)
    return {
        "exif rotated": [rotated],
        "cmyk": [cmyk],
        "rgba": [rgba],
        "palette": [palette],
        "multi-page": [pages],
        "16 bit": _deep(home, stem, upright),
    }


def _deep(home: Path, stem: str, upright: NDArray[np.uint8]) -> list[Path]:
    """Sixteen bits a channel: colour and grey PNG, grey TIFF."""
    grey = upright[..., 1].astype(np.uint16) * 257
    colour, plain, tiff = (home / f"{stem}_16-bit{end}" for end in ("-colour.png", "-grey.png", "-grey.tif"))
    height, width = upright.shape[:2]
    deep = (upright.astype(">u2") * 257).astype(">u2").reshape(height, -1)
    lines = b"".join(b"\0" + line.tobytes() for line in deep)
    _write_png(colour, (width, height), (16, 2), zlib.compress(lines, 6))
    Image.fromarray(grey).save(plain, pnginfo=synthetic_remark())
    Image.fromarray(grey).save(tiff, description=SYNTHETIC)
    return [colour, plain, tiff]


def _junk(root: Path, home: Path) -> dict[str, list[Path]]:
    """What operating systems leave behind."""
    thumbs, store = home / "Thumbs.db", root / ".DS_Store"
    fork = root / "__MACOSX" / "._x.png"
    fork.parent.mkdir(exist_ok=True)
    thumbs.write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + bytes(504))
    store.write_bytes(b"\0\0\0\1Bud1" + bytes(120))
    fork.write_bytes(bytes.fromhex("00051607000200004d6163204f532058") + bytes(66))
    return {"Thumbs.db": [thumbs], "__MACOSX": [fork], ".DS_Store": [store]}


def write_bomb(path: Path, side: int = BOMB_SIDE) -> None:
    """Write a sound PNG of side x side pixels, one bit each and all white, in some fifty kilobytes."""
    packer = zlib.compressobj(9)
    line = b"\0" + b"\xff" * ((side + 7) // 8)
    packed = b"".join(packer.compress(line * 64) for _ in range(side // 64))
    _write_png(path, (side, side), (1, 0), packed + packer.compress(line * (side % 64)) + packer.flush())


def _write_png(path: Path, size: tuple[int, int], form: tuple[int, int], packed: bytes) -> None:
    """Write a PNG by hand: `form` is bits a channel and the format's colour type, `packed` its deflated lines."""
    header = struct.pack(">IIBBBBB", *size, *form, 0, 0, 0)
    remark = b"Comment\0" + SYNTHETIC.encode("latin-1")
    chunks = ((b"IHDR", header), (b"tEXt", remark), (b"IDAT", packed), (b"IEND", b""))
    parts = [struct.pack(">I", len(body)) + name + body + _check(name + body) for name, body in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def _check(content: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(content))
