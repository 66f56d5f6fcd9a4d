"""An encoder folder → its int8 variant, calibrated on images of one's own and compared before it takes its place."""

from __future__ import annotations

import io
import logging
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import closing, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histoseek.encoders.encoder import Encoder, Preprocessing
from histoseek.encoders.encoder_json import IMAGE_FILE, FolderDescription, read_description, write_description
from histoseek.encoders.export import check_free, folder_whole
from histoseek.encoders.folder import FolderEncoder
from histoseek.encoders.loading import load_encoder
from histoseek.encoders.pixels import normalised
from histoseek.encoders.silent_openvino import telemetry_hidden
from histoseek.errors import EncoderError, ImageError, InputError, needs_extra
from histoseek.imaging import open_pixels, plan_views, read_views
from histoseek.items import Box, Item, Manifest
from histoseek.items.files import sha256_of, written_whole

MOST_VIEWS = 400
"""Views that are read, at most: three quarters of them calibrate, which is the number that NNCF itself takes."""

COMPARED = 4
"""Every fourth view is kept out of the calibration, to measure the drift on."""

FEWEST_VIEWS = 16
LEAST_MEAN_COSINE = 0.9
"""An encoder whose vectors turn further than this, on average, is another encoder."""


@dataclass(frozen=True)
class Calibrated:
    """An int8 encoder folder, and the cosines of `n_compared` held-out views with the vectors of its source."""

    folder: Path
    n_calibrated: int
    n_compared: int
    least_cosine: float
    mean_cosine: float


def export_int8(encoder: Encoder | str | Path, manifest: Manifest, out_dir: str | Path, *, seed: int = 0) -> Calibrated:
    """Write the int8 variant of an encoder folder, calibrated on views of a manifest's images; words stay as they are.

    Raises:
        EncoderError: the encoder is no encoder folder, or its vectors turn too far in int8.
        InputError: fewer than 16 images of the manifest can be read; or `out_dir` is not empty or cannot be written.
        MissingExtraError: the extra `int8` is not installed.
    """
    out_dir = Path(out_dir)
    check_free(out_dir)
    source = load_encoder(encoder) if isinstance(encoder, str | Path) else encoder
    if not isinstance(source, FolderEncoder) or source.fingerprint.precision != "f32":
        raise EncoderError(
            f"{source.card.name!r} is no encoder folder at f32; only such a folder has an int8 variant: "
            "write one with `histoseek encoders export`"
        )
    preprocessing = source.fingerprint.preprocessing
    with folder_whole(out_dir) as draft:
        views = _sampled_views(manifest, preprocessing, seed)
        compared = views[::COMPARED]
        calibrating = [view for number, view in enumerate(views) if number % COMPARED]
        description = read_description(source.folder)
        _quantise(source.folder / description.image, draft / IMAGE_FILE, calibrating, preprocessing)
        _describe(source, description, draft, len(calibrating))
        cosines = (source.embed_images(compared) * FolderEncoder(draft).embed_images(compared)).sum(axis=1)
        if not cosines.mean() >= LEAST_MEAN_COSINE:
            raise EncoderError(
                f"in int8 the vectors of {source.card.name!r} turn too far (mean cosine {cosines.mean():.3f}, wanted "
                f"{LEAST_MEAN_COSINE}); nothing was written, use f32 or --precision bf16 instead"
            )
    return Calibrated(out_dir, len(calibrating), len(compared), float(cosines.min()), float(cosines.mean()))


def _sampled_views(manifest: Manifest, preprocessing: Preprocessing, seed: int) -> list[NDArray[np.uint8]]:
    """One view each of images drawn at random; those that cannot be read are passed over."""
    rng = np.random.default_rng(seed)
    views: list[NDArray[np.uint8]] = []
    for row in rng.permutation(len(manifest)):
        item = manifest[int(row)]
        try:
            views.append(_a_view(item, manifest.path_of(item), preprocessing, rng))
        except (ImageError, InputError):
            continue
        if len(views) == MOST_VIEWS:
            break
    if len(views) < FEWEST_VIEWS:
        raise InputError(
            f"only {len(views)} images of this manifest can be read, and calibration wants at least {FEWEST_VIEWS}; "
            "give a manifest of more images"
        )
    return views


def _a_view(item: Item, path: Path, preprocessing: Preprocessing, rng: np.random.Generator) -> NDArray[np.uint8]:
    with closing(open_pixels(path)) as image:
        box = item.box or Box(0, 0, *image.size)
        plan = plan_views(box.width, box.height, item.mpp, preprocessing.view_px, preprocessing.mpp)
        one = plan._replace(corners=(plan.corners[rng.integers(len(plan.corners))],))
        return next(read_views(image, box, one, preprocessing.view_px, preprocessing.interpolation))


def _quantise(source: Path, out: Path, views: Sequence[NDArray[np.uint8]], preprocessing: Preprocessing) -> None:
    """Write the model at `source` in int8: its weights by channel, its activations by what the views make of them."""
    with needs_extra("int8"), telemetry_hidden():
        import nncf
        import onnx
        from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix
        from onnxruntime.quantization.shape_inference import quant_pre_process
    nncf.set_log_level(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        # Folds weights that are stored as 16-bit floats, which would not be taken for weights.
        folded = Path(folder) / IMAGE_FILE
        quant_pre_process(str(source), str(folded), skip_symbolic_shape=True)
        model = onnx.load(folded)
    name = model.graph.input[0].name
    batches = [{name: normalised(view[None], preprocessing)} for view in views]
    has_attention = any(node.op_type == "Softmax" for node in model.graph.node)
    with redirect_stdout(io.StringIO()):  # progress bars; stdout is for results
        quantised = nncf.quantize(
            model,
            nncf.Dataset(batches),
            subset_size=len(batches),
            model_type=nncf.ModelType.TRANSFORMER if has_attention else None,
            # Processors without VNNI add products in 16 bits, which overflow unless weights keep to 7 bits. Kept so
            # everywhere, the int8 layers mean the same on all of them.
            advanced_parameters=AdvancedQuantizationParameters(overflow_fix=OverflowFix.ENABLE),
        )
    with written_whole(out) as draft:
        onnx.save(quantised, str(draft))


def _describe(source: FolderEncoder, description: FolderDescription, folder: Path, n_views: int) -> None:
    digests = {IMAGE_FILE: sha256_of(folder / IMAGE_FILE)}
    text = description.text
    for name in (text.model, text.tokenizer) if text else ():
        shutil.copyfile(source.folder / name, folder / name)
        digests[name] = description.sha256[name]
    about = f"{description.card.about}; image tower in int8, calibrated on {n_views} views".removeprefix("; ")
    card = replace(description.card, name=f"{description.card.name}-int8", about=about)
    write_description(folder, FolderDescription(card, source.fingerprint.preprocessing, digests, text=text))
