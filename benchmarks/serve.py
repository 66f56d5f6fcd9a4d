"""How quickly the server answers: first hits of a stored item and of an upload, 16 clients at once, tiles of slides.

    python benchmarks/serve.py [--slides 6] [--rounds 100]

A real server process over drawn slides, with `mini`, on loopback. Every time is what a client waits, in ms.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

import histoseek as hs
from histoseek.phantom import write_slides

CLIENTS = 16


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--slides", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=100)
    given = parser.parse_args()
    told = ", ".join(f"{name} {version(name)}" for name in ("histoseek", "fastapi", "uvicorn", "openvino"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {told}")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        write_slides(home / "slides", n_patients=given.slides, seed=1)
        index = hs.Index.build(hs.prepare("slides", home / "slides"), hs.load_encoder("mini"), home / "x.index")
        print(f"{len(index):,} tiles of {given.slides} drawn patients, encoder mini, seed 1\n")
        command = [sys.executable, "-m", "histoseek", "serve", str(index.path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            try:
                report(address, given.rounds)
            finally:
                server.terminate()


def report(address: str, rounds: int) -> None:
    with httpx.Client(base_url=f"{address}api/v1", timeout=60) as client:
        slides = client.get("/slides").raise_for_status().json()
        vector = [0.0] * client.get("/index").raise_for_status().json()["dim"]
        vector[0] = 1.0
        hits = (
            client.post("/search", json={"examples": [{"vector": vector}], "k": 100}).raise_for_status().json()["hits"]
        )
        ids = [hit["id"] for hit in hits]
        picture = drawn(client, ids[0])
        rng = np.random.default_rng(0)

        def item(one: httpx.Client) -> None:
            asked = {"examples": [{"item": ids[rng.integers(len(ids))]}], "k": 25}
            one.post("/search", json=asked).raise_for_status()

        def upload(one: httpx.Client) -> None:
            asked = json.dumps({"examples": [], "k": 25})
            one.post(
                "/search/image", files={"picture": picture}, data={"mpp": "0.5", "asked": asked}
            ).raise_for_status()

        def thumbnail(one: httpx.Client) -> None:
            one.get(f"/items/{ids[rng.integers(len(ids))]}/thumbnail", params={"px": 192}).raise_for_status()

        def tile(one: httpx.Client) -> None:
            slide = slides[rng.integers(len(slides))]
            top = int(np.ceil(np.log2(max(slide["width"], slide["height"]))))
            column, row = (rng.integers(max(1, slide[side] // 256)) for side in ("width", "height"))
            one.get(f"/slides/{slide['id']}_files/{top}/{column}_{row}.jpg").raise_for_status()

        print("| request | alone p50 | alone p95 | 16 clients p50 | 16 clients p95 | 16 clients, answers/s |")
        print("|---|--:|--:|--:|--:|--:|")
        kinds = {
            "hits of a stored item": item,
            "hits of an uploaded picture": upload,
            "thumbnail": thumbnail,
            "tile": tile,
        }
        for name, ask in kinds.items():
            ask(client)
            alone = [timed(ask, client) for _ in range(rounds)]
            many, took = together(address, ask, rounds)
            cells = [f"{np.percentile(times, share):.0f}" for times in (alone, many) for share in (50, 95)]
            print(f"| {name} | {' | '.join(cells)} | {len(many) / took:.0f} |", flush=True)


def together(address: str, ask: Callable[[httpx.Client], None], rounds: int) -> tuple[list[float], float]:
    """What 16 clients wait that ask one question after the other, and how long all of it took."""

    def client_of(_: int) -> list[float]:
        with httpx.Client(base_url=f"{address}api/v1", timeout=60) as client:
            return [timed(ask, client) for _ in range(max(1, rounds // 4))]

    since = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        times = [one for part in pool.map(client_of, range(CLIENTS)) for one in part]
    return times, time.perf_counter() - since


def timed(ask: Callable[[httpx.Client], None], client: httpx.Client) -> float:
    since = time.perf_counter()
    while True:
        try:
            ask(client)
        except httpx.HTTPStatusError as error:  # too many at once: the wait counts
            if error.response.status_code != 429:
                raise
            time.sleep(float(error.response.headers["Retry-After"]))
        else:
            return (time.perf_counter() - since) * 1e3


def drawn(client: httpx.Client, item: str) -> tuple[str, bytes, str]:
    """A picture as a person would drop it: a screenshot of 800 by 600 pixels."""
    thumbnail = Image.open(io.BytesIO(client.get(f"/items/{item}/thumbnail", params={"px": 512}).content))
    file = io.BytesIO()
    thumbnail.resize((800, 600)).save(file, "PNG")
    return "picture.png", file.getvalue(), "image/png"


if __name__ == "__main__":
    main()
