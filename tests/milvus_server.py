"""A Milvus server for the tests that need one, shared by all workers of pytest-xdist."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "milvus_server.sh"
CANNOT_INSTALL = 4


def milvus_server_script(verb: str, folder: Path, **environment: str) -> str:
    """Run scripts/milvus_server.sh and give what it printed; skips where no server can be had."""
    done = subprocess.run(
        [str(SCRIPT), verb, str(folder)], capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )
    if done.returncode == CANNOT_INSTALL:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="module")  # an idle server takes a tenth of a core or more; to start it takes a second or two
def milvus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a running server, without a collection; the last worker that uses it in a module stops it."""
    pytest.importorskip("pymilvus", reason="the cluster extra is not installed")
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, users = shared / "milvus-server", shared / "milvus-users"
    users.mkdir(exist_ok=True)
    mine = users / str(os.getpid())
    with alone(shared / "milvus.lock"):
        address = milvus_server_script("start", folder)
        mine.touch()
    yield address
    with alone(shared / "milvus.lock"):
        mine.unlink()
        if not list(users.iterdir()):
            milvus_server_script("stop", folder)
            shutil.rmtree(folder)
