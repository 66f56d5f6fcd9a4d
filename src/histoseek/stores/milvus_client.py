"""Talking to Milvus: connecting, time limits, and its failures as sentences."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from histoseek.errors import InputError, needs_extra
from histoseek.stores.milvus_address import MilvusAddress

CONNECT_S, ASK_S, WRITE_S, FLUSH_S, BUILD_S = 5, 60, 120, 300, 3600
"""Seconds after which Milvus counts as silent, by what it was asked."""

STRONG = "Strong"
"""Every answer knows every write that was acknowledged before."""

_NOT_FOUND, _NOT_LOADED, _CONNECT_FAILED = 100, 101, 2


def connect(address: MilvusAddress) -> Any:
    """A client of pymilvus for an address; a Milvus Lite file is made when it is not there.

    Raises:
        InputError: nothing answers there, or it refuses the credentials.
        MissingExtraError: pymilvus or Milvus Lite is missing.
    """
    with needs_extra("cluster"):
        from pymilvus import MilvusClient

        if address.is_lite:
            import milvus_lite  # noqa: F401
    # They print a traceback for each error that is raised as well, and for what Milvus Lite lacks.
    for name in ("pymilvus", "milvus_lite", *(["grpc._server"] if address.is_lite else [])):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if address.is_lite and not Path(address.place).parent.is_dir():
        raise InputError(f"the folder of {address} is not there; make it first")
    with asking(address):
        # dedicated: pymilvus shares a connection among clients of one address and token, whatever their TLS files
        return MilvusClient(timeout=CONNECT_S, dedicated=True, **address.client_options())


@contextmanager
def asking(address: MilvusAddress) -> Iterator[None]:
    """Turn the exceptions of pymilvus into one sentence.

    Raises:
        InputError: Milvus did not answer, or refused.
        MissingExtraError: pymilvus is not installed.
    """
    with needs_extra("cluster"):
        import grpc
        from pymilvus.exceptions import MilvusException

    try:
        yield
    except MilvusException as error:
        refused = isinstance(error.__cause__, grpc.RpcError)  # while connecting, pymilvus hides the reason behind it
        code = error.__cause__.code() if refused else error.code
        raise InputError(_sentence(address, code, str(error.message or ""))) from error
    except grpc.RpcError as error:
        raise InputError(_sentence(address, error.code(), str(error.details() or ""))) from error


def is_not_loaded(error: InputError) -> bool:
    """Whether Milvus refused because it does not hold the collection in memory."""
    return getattr(error.__cause__, "code", None) == _NOT_LOADED


def _sentence(address: MilvusAddress, code: Any, said: str) -> str:
    import grpc

    silent = (_CONNECT_FAILED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    if code == grpc.StatusCode.UNAUTHENTICATED or "auth check failure" in said:
        return (
            f"Milvus refuses the credentials for {address}; set HISTOSEEK_MILVUS_TOKEN, or HISTOSEEK_MILVUS_USER and "
            "HISTOSEEK_MILVUS_PASSWORD"
        )
    if code == _NOT_FOUND:
        return f"there is no collection at {address}; fill it from an index first"
    if address.is_lite and "Open local milvus failed" in said:
        return f"{address} cannot be opened: another process has it open, or it is no file of Milvus Lite 3"
    if code in silent:
        return f"no Milvus answers at {address}; check that it runs, the address, and whether it wants TLS"
    first = said.strip().split("\n")[0][:200] or str(code)
    return f"Milvus at {address} refuses: {first}"
