"""PyTorch towers → ONNX files whose first axis, the batch, is free."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnxscript  # noqa: F401  (the exporter needs it; missing, it should be missed here)
import torch
from torch.onnx.errors import OnnxExporterError

from histoseek.encoders.words import Words
from histoseek.errors import EncoderError
from histoseek.items.files import written_whole

OUTPUT = "vectors"
"""Name of a tower's output; the exporter itself calls the lookup of tokens "embedding", and names may occur once."""

LARGEST_BYTES = 2_000_000_000
"""Protocol buffers end at 2 GiB, and a folder holds one file a tower."""


def write_image_tower(tower: torch.nn.Module, view_px: int, path: Path) -> None:
    """Write a tower that takes `pixel_values` `[N, 3, P, P]`, normalised, and gives `vectors` `[N, D]`.

    Raises:
        EncoderError: PyTorch cannot express it in ONNX, or it is too large for one file.
    """
    _write(tower, {"pixel_values": torch.zeros(2, 3, view_px, view_px)}, path)


def write_text_tower(tower: torch.nn.Module, words: Words, path: Path) -> None:
    """Write a tower that takes `input_ids` `[N, L]`, and `attention_mask` where it wants one; gives `vectors`.

    Raises:
        EncoderError: PyTorch cannot express it in ONNX, or it is too large for one file.
    """
    tokens = words.tokens(["tissue", "tumour cells"])
    _write(tower, {name: torch.from_numpy(array) for name, array in tokens.items()}, path)


def _write(tower: torch.nn.Module, inputs: Mapping[str, torch.Tensor], path: Path) -> None:
    device = next(tower.parameters()).device
    tower = tower if device.type == "cpu" else copy.deepcopy(tower).to("cpu")
    try:
        with _quiet(), torch.inference_mode():
            program = torch.onnx.export(
                tower.eval(),
                kwargs=dict(inputs),
                dynamo=True,
                dynamic_shapes={name: {0: torch.export.Dim.DYNAMIC} for name in inputs},
                input_names=list(inputs),
                output_names=[OUTPUT],
                verbose=False,
            )
    except OnnxExporterError as error:
        raise EncoderError(
            f"PyTorch cannot write this model as ONNX ({str(error).strip().splitlines()[0][:200]}); "
            "use it through PyTorch instead"
        ) from error
    _save(program.model_proto, path)


def _save(model: onnx.ModelProto, path: Path) -> None:
    size = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    if size > LARGEST_BYTES:
        raise EncoderError(
            f"{path.stem} tower holds {size / 1e9:.1f} GB of weights, and one ONNX file holds 2; "
            "use this encoder through PyTorch instead"
        )
    _forget_origin(model)
    onnx.checker.check_model(model)
    with written_whole(path) as draft:
        onnx.save(model, str(draft))


def _forget_origin(model: onnx.ModelProto) -> None:
    """Take out the exporter's notes on each node: stack traces, with the paths of the machine it ran on."""
    del model.metadata_props[:], model.graph.metadata_props[:]
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes about itself off the terminal; its errors still come through."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
