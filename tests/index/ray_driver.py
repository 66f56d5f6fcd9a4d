"""The driver of a build on Ray, as a process of its own: MANIFEST OUT ADDRESS [ROWS A COMMIT]."""

from __future__ import annotations

import sys

from histoseek.index import Index, RayWork, ray_build
from histoseek.items import Manifest


def main(manifest: str, out: str, address: str, rows_a_commit: str = "20000") -> None:
    ray_build.ROWS_A_COMMIT, ray_build.CHUNK = int(rows_a_commit), 16

    def told(done: int, _: int) -> None:
        print("through", done, flush=True)

    work = RayWork(address, cpus=1)
    Index.build(Manifest.read(manifest), "color", out, resume=True, progress=told, ray=work)


if __name__ == "__main__":
    main(*sys.argv[1:])
