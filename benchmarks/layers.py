"""Where the time of an encoder goes, layer by layer; and the most that a faster program could gain on this machine."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks.machine import matrix_rates, operations
from histoseek.encoders.silent_openvino import import_openvino

BATCH = 8
RUNS = 3
LEAST_SHARE = 0.02


def print_ceiling(onnx: Path, view_px: int, rates: dict[str, float]) -> None:
    """Print how many images a second the machine's large product allows, and what that is of the rates of some ways."""
    flops = 2 * operations(onnx, view_px)
    print("| large product | GFLOP/s | allows images/s |" + "".join(f" of it: {name} |" for name in rates))
    print("|---|--:|--:|" + "--:|" * len(rates))
    for precision, product in matrix_rates().items():
        most = product / flops
        shares = "".join(f" {rate / most:.0%} |" for rate in rates.values())
        print(f"| {precision} | {product:.0f} | {most:.1f} |{shares}")
    print(flush=True)


def print_layers(folders: dict[str, Path], view_px: int) -> None:
    """Print the milliseconds of one core that each kind of layer takes for an image, by the kernel that ran it."""
    print("| encoder | layer | kernel | ms an image, one core | share |")
    print("|---|---|---|--:|--:|")
    for name, folder in folders.items():
        times = _layer_ms(folder / "image.onnx", view_px)
        whole = sum(times.values())
        for (layer, kernel), ms in times.most_common():
            if ms >= LEAST_SHARE * whole:
                print(f"| {name} | {layer} | {kernel} | {ms:.1f} | {ms / whole:.0%} |")
        print(f"| {name} | all | | {whole:.1f} | |")
    print(flush=True)


def _layer_ms(onnx: Path, view_px: int) -> Counter[tuple[str, str]]:
    core = import_openvino().Core()
    model = core.read_model(onnx)
    model.reshape([BATCH, 3, view_px, view_px])
    options = {"PERF_COUNT": True, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1}
    options["INFERENCE_PRECISION_HINT"] = "f32"  # OpenVINO would take bf16 where the processor has it
    request = core.compile_model(model, "CPU", options).create_infer_request()
    views = np.random.default_rng(0).random((BATCH, 3, view_px, view_px), np.float32)
    request.infer({0: views})
    times: Counter[tuple[str, str]] = Counter()
    for _ in range(RUNS):
        request.infer({0: views})
        for layer in request.profiling_info:
            ms = layer.real_time.total_seconds() * 1000 / RUNS / BATCH
            times[layer.node_type, layer.exec_type] += ms
    return times
