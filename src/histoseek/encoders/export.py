"""Any PyTorch encoder → an encoder folder, proven to give the same vectors before it takes its place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from histoseek.encoders.encoder import Encoder
from histoseek.encoders.encoder_json import (
    IMAGE_FILE,
    TEXT_FILE,
    TOKENIZER_FILE,
    FolderDescription,
    TextFiles,
    write_description,
)
from histoseek.encoders.folder import FolderEncoder
from histoseek.encoders.loading import load_encoder
from histoseek.errors import EncoderError, InputError
from histoseek.items.files import flush_to_disk, sha256_of, written_whole

if TYPE_CHECKING:
    from histoseek.encoders.torch_encoder import TorchEncoder

PARITY = 0.9999
"""Smallest cosine between a vector of the source and of the export, for images and for texts."""

TEXTS = (
    "",
    "tumour",
    "Invasive ductal carcinoma of the breast, grade 3, with comedo necrosis.",
    "normal colonic mucosa; crypts cut lengthwise, no dysplasia (20x)",
    "lymphocytes " * 100,
)


@dataclass(frozen=True)
class Exported:
    """An encoder folder and the smallest cosines between its vectors and its source's; None without a text tower."""

    folder: Path
    image_cosine: float
    text_cosine: float | None


def export_encoder(encoder: Encoder | str | Path, out_dir: str | Path, *, mpp: float | None = None) -> Exported:
    """Write an encoder as an encoder folder that runs without PyTorch; `mpp` is for an encoder given by name.

    Raises:
        EncoderError: the encoder needs no export, is not in f32, is too large for one file, or the exported one gives
            other vectors.
        InputError: `out_dir` exists and is not empty, or cannot be written; or `mpp` came with a loaded encoder.
    """
    out_dir = Path(out_dir)
    if mpp is not None and not isinstance(encoder, str | Path):
        raise InputError("mpp is for an encoder given by name; load the encoder itself with mpp instead")
    check_free(out_dir)
    source = _exportable(load_encoder(encoder, mpp=mpp) if isinstance(encoder, str | Path) else encoder)
    with folder_whole(out_dir) as draft:
        _write_folder(source, draft)
        exported = FolderEncoder(draft)
        image_cosine = _least_cosine(source, exported, _views(source.fingerprint.preprocessing.view_px))
        text_cosine = _least_text_cosine(source, exported) if source.card.has_text else None
        for what, cosine in (("image", image_cosine), ("text", text_cosine)):
            if cosine is not None and not cosine >= PARITY:
                raise EncoderError(
                    f"the exported {what} tower of {source.card.name!r} gives other vectors (smallest cosine "
                    f"{cosine:.6f}, wanted {PARITY}); nothing was written, use the encoder through PyTorch instead"
                )
    return Exported(out_dir, image_cosine, text_cosine)


def _exportable(encoder: Encoder) -> TorchEncoder:
    name = encoder.card.name
    if isinstance(encoder, FolderEncoder):
        raise EncoderError(f"{encoder.folder} is an encoder folder already; copy it")
    if not hasattr(encoder, "towers"):
        raise EncoderError(f"encoder {name!r} holds no network, so it needs no export: it runs everywhere by its name")
    if encoder.fingerprint.precision != "f32":
        raise EncoderError(f"export {name!r} from f32; a lower precision is chosen when the folder is loaded")
    return encoder  # type: ignore[return-value]


def check_free(out_dir: Path) -> None:
    """Refuse a folder that holds something; raises `InputError`."""
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise InputError(f"{out_dir} exists and is not empty; choose another folder with --out")


@contextmanager
def folder_whole(out_dir: Path) -> Iterator[Path]:
    """Give a draft folder beside `out_dir`; on a clean exit it takes that name, otherwise it is removed."""
    draft = out_dir.absolute().parent / f".{out_dir.name}.{os.getpid()}"
    try:
        out_dir.absolute().parent.mkdir(parents=True, exist_ok=True)
        draft.mkdir()
    except OSError as error:
        raise InputError(f"cannot write {out_dir}: {error.strerror}; choose another place with --out") from error
    try:
        yield draft
        if out_dir.exists():
            out_dir.rmdir()
        draft.replace(out_dir)
        flush_to_disk(out_dir.absolute().parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_folder(source: TorchEncoder, folder: Path) -> None:
    from histoseek.encoders.onnx_export import write_image_tower, write_text_tower

    preprocessing = source.fingerprint.preprocessing
    write_image_tower(source.towers.image, preprocessing.view_px, folder / IMAGE_FILE)
    files, text = [IMAGE_FILE], None
    words = source.towers.words
    if source.towers.text is not None and words is not None:
        write_text_tower(source.towers.text, words, folder / TEXT_FILE)
        with written_whole(folder / TOKENIZER_FILE) as draft:
            draft.write_text(words.json, encoding="utf-8")
        files += [TEXT_FILE, TOKENIZER_FILE]
        text = TextFiles(words.input)
    digests = {name: sha256_of(folder / name) for name in files}
    write_description(folder, FolderDescription(source.card, preprocessing, digests, text=text))


def _views(view_px: int) -> list[NDArray[np.uint8]]:
    """Views to compare on: noise, stained blobs of several sizes, blank glass."""
    rng = np.random.default_rng(0)
    views = [rng.integers(0, 256, (view_px, view_px, 3), dtype=np.uint8) for _ in range(2)]
    y, x = np.mgrid[0:view_px, 0:view_px] / view_px
    pink, purple = np.array([225.0, 170, 200]), np.array([95.0, 60, 140])
    for waves in (3, 7, 19, 41):
        nuclei = np.clip(np.sin(waves * 6.28 * x + 3 * y) * np.sin(waves * 5.1 * y + x), 0, 1)[..., None]
        stained = pink + nuclei * (purple - pink) + rng.normal(0, 6, (view_px, view_px, 1))
        views.append(np.clip(stained, 0, 255).astype(np.uint8))
    views.append(np.full((view_px, view_px, 3), 243, np.uint8))
    return views


def _least_cosine(source: Encoder, exported: Encoder, views: Sequence[NDArray[np.uint8]]) -> float:
    return float((source.embed_images(views) * exported.embed_images(views)).sum(axis=1).min())


def _least_text_cosine(source: Encoder, exported: Encoder) -> float:
    return float((source.embed_texts(TEXTS) * exported.embed_texts(TEXTS)).sum(axis=1).min())
