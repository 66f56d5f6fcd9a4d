"""Object storage on loopback: a real process that speaks S3, with a bucket of its own and the environment set."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

CLEARED = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_WEB_IDENTITY_TOKEN_FILE")
"""Settings of the machine that would lead elsewhere."""


@dataclass(frozen=True)
class S3:
    """A running server: where it listens, the address of its bucket, and what a process needs to reach it."""

    endpoint: str
    bucket: str
    environment: Mapping[str, str]

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}"


@contextmanager
def bucket_at(endpoint: str) -> Iterator[S3]:
    """Make a bucket, and set the environment until the end.

    The bucket has a new name each time: LanceDB may keep a client for a bucket it knows, whatever port that had.
    """
    bucket = f"archive-{uuid.uuid4().hex[:12]}"
    environment = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    before = {name: os.environ.get(name) for name in (*environment, *CLEARED)}
    try:
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{bucket}", method="PUT"), timeout=10).close()
        for name in CLEARED:
            os.environ.pop(name, None)
        os.environ.update(environment)
        yield S3(endpoint, bucket, environment)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _start() -> tuple[subprocess.Popen[bytes], str]:
    for _ in range(3):  # another process may take the port in between
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        endpoint = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{endpoint}/moto-api/", timeout=5).close()
                return process, endpoint
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        process.kill()
        process.wait()
    raise RuntimeError("moto.server did not start")


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Where a server listens, started when the first test asks."""
    if importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask_cors") is None:
        pytest.skip("needs moto[server], of the dev extra")
    process, endpoint = _start()
    try:
        yield endpoint
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def s3(s3_endpoint: str) -> Iterator[S3]:
    """Object storage for the tests of a module, and for no others."""
    with bucket_at(s3_endpoint) as server:
        yield server
