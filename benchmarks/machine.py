"""What the machine itself can do: multiply, move memory, decode pictures; and how much an encoder asks of it."""

from __future__ import annotations

import math
import platform
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from histoseek.encoders.encoder import n_cores
from histoseek.encoders.silent_openvino import import_openvino
from histoseek.imaging import open_flat, plan_views, read_views
from histoseek.items import Box

SIDE = 2048
"""Rows and columns of the large product."""

MEBIBYTES = 256
"""Size of the array that is copied; no cache holds it."""


def matrix_rates() -> dict[str, float]:
    """Billions of operations a second in one large product on all cores, by precision; multiply and add are two.

    OpenVINO does it, as it does the encoder; a precision that the processor does not compute in is left out.
    """
    openvino = import_openvino()
    core, rates = openvino.Core(), {}
    able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    data = np.random.default_rng(0).normal(size=(SIDE, SIDE)).astype(np.float32)
    for name, capability in (("f32", "FP32"), ("bf16", "BF16"), ("f16", "FP16")):
        if capability in able:
            left = openvino.opset13.parameter([SIDE, SIDE], openvino.Type.f32)
            product = openvino.opset13.matmul(left, openvino.opset13.constant(data), False, True)
            options = {"INFERENCE_PRECISION_HINT": name, "PERFORMANCE_HINT": "LATENCY"}
            request = core.compile_model(openvino.Model([product], [left]), "CPU", options).create_infer_request()
            seconds = _best(lambda request=request: request.infer({0: data}, share_inputs=True))
            rates[name] = 2 * SIDE**3 / seconds / 1e9
    return rates


def bandwidth() -> float:
    """Gigabytes a second that all cores read and write together while they copy memory."""
    n = n_cores()
    parts = [np.ones(MEBIBYTES * 2**17 // n) for _ in range(n)]  # eight bytes a number
    copies = [np.empty_like(part) for part in parts]
    with ThreadPoolExecutor(n) as pool:
        seconds = _best(lambda: list(pool.map(np.copyto, copies, parts)))
    return 2 * sum(part.nbytes for part in parts) / seconds / 1e9


def reading_ms(path: Path, view_px: int | None, mpp: float | None = None, view_mpp: float = 1.0) -> float:
    """Milliseconds of one core to decode a picture, and to shrink it to views where `view_px` is given."""

    def read() -> None:
        with closing(open_flat(path)) as image:
            box = Box(0, 0, *image.size)
            if view_px is None:
                image.read(Box(0, 0, 1, 1), (1, 1))  # decodes it all
                return
            plan = plan_views(box.width, box.height, mpp, view_px, view_mpp)
            for _ in read_views(image, box, plan, view_px, "bicubic"):
                pass

    return 1000 * _best(read, clock=time.thread_time)


def operations(onnx: Path, view_px: int) -> float:
    """Multiplications with their additions, in billions, that a model needs for one view `[3, view_px, view_px]`."""
    model = import_openvino().Core().read_model(onnx)
    model.reshape([1, 3, view_px, view_px])
    return sum(_operations_of(op) for op in model.get_ops()) / 1e9


def _operations_of(op: Any) -> int:
    kind = op.get_type_name()
    if kind not in ("Convolution", "GroupConvolution", "MatMul"):
        return 0
    made = math.prod(list(op.output(0).shape))
    if kind == "MatMul":
        shape = list(op.input_value(0).shape)
        return made * (shape[-2] if op.get_attributes()["transpose_a"] and len(shape) > 1 else shape[-1])
    return made * math.prod(list(op.input_value(1).shape)[1 if kind == "Convolution" else 2 :])


def told() -> str:
    """Say which processor it is and how many of its cores may be used."""
    name = ""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{platform.machine()}, {n_cores()} cores{f' of {name}' if name else ''}"


def peak_mb() -> float:
    """The most memory that this process held; `getrusage` would count what its parent held when it began."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)


def _best(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of the fastest of several runs after one that is not counted."""
    work()
    times = []
    for _ in range(7):
        start = clock()
        work()
        times.append(clock() - start)
    return min(times)
