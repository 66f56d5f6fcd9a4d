"""The driver of a build on Ray, as a process of its own: MANIFEST OUT ADDRESS [ROWS A COMMIT]."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa

from histoseek.encoders import load_encoder
from histoseek.index import ray_build
from histoseek.index.ray_writing import sink_for
from histoseek.items import Manifest, write_skipped
from histoseek.stores import VECTOR, LanceStore


def main(manifest_path: str, out: str, address: str, rows_a_commit: str = "20000") -> None:
    manifest, encoder, home = Manifest.read(manifest_path), load_encoder("color"), Path(out)
    schema = manifest.table.schema.remove_metadata().append(pa.field(VECTOR, pa.list_(pa.float32(), encoder.card.dim)))
    store = LanceStore(home)
    if not store.exists:
        home.mkdir(parents=True, exist_ok=True)
        store = LanceStore.create(home, schema)
    ray_build.ROWS_A_COMMIT = int(rows_a_commit)
    ray_build.CHUNK = 16
    left = ray_build.without(manifest, store.ids())
    print("left", len(left), flush=True)
    sink = sink_for(store, home / "items.lance", schema, address)
    work = ray_build.RayWork(address, cpus=1)
    skipped = ray_build.embed_on_ray(left, encoder, sink, work, lambda n: print("through", n, flush=True))
    write_skipped(home / "skipped.csv", skipped)


if __name__ == "__main__":
    main(*sys.argv[1:])
