"""Where a Milvus collection is found: an address without secrets, and what the environment adds to it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

from histoseek.errors import InputError

SERVER, SERVER_TLS, LITE = "milvus", "milvus+https", "milvus-lite"
HINT = "write milvus://HOST:PORT/COLLECTION, milvus+https://HOST:PORT/COLLECTION or milvus-lite:///FILE.db/COLLECTION"
ABOUT = "_about"
"""Ending of the companion collection that holds what is known about a collection."""

_ENVIRONMENT = "HISTOSEEK_MILVUS_"
_TLS = ("CA", "CERT", "KEY", "SERVER_NAME")
_COLLECTION = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")


@dataclass(frozen=True)
class MilvusAddress:
    """A collection on a Milvus server or in a Milvus Lite file; printing it shows no secret."""

    scheme: str
    place: str
    """`HOST:PORT`, or the path of a Milvus Lite file."""
    collection: str
    token: str = field(default="", repr=False)
    tls: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @classmethod
    def parse(cls, text: str) -> MilvusAddress:
        """Read an address; credentials and TLS files come from the environment variables `HISTOSEEK_MILVUS_*`.

        Raises:
            InputError: no such address, credentials inside it, or variables that do not go together.
        """
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise InputError(f"{_without_secrets(text)} is no address of a Milvus collection; {HINT}") from error
        if "@" in parts.netloc:
            raise InputError(
                f"{_without_secrets(text)} holds credentials; leave them out of the address and set "
                f"{_ENVIRONMENT}TOKEN, or {_ENVIRONMENT}USER and {_ENVIRONMENT}PASSWORD"
            )
        place, _, collection = parts.path.rpartition("/")
        if parts.scheme not in (SERVER, SERVER_TLS, LITE) or parts.query or parts.fragment:
            raise InputError(f"{text} is no address of a Milvus collection; {HINT}")
        _check_collection(text, collection)
        if parts.scheme == LITE:
            return cls(LITE, _lite_file(text, parts.netloc, unquote(place)), collection)
        _check_place(text, parts, place)
        default = 443 if parts.scheme == SERVER_TLS else 19530
        address = f"{parts.hostname}:{default if port is None else port}"
        return cls(parts.scheme, address, collection, _token(), _tls(text, parts.scheme))

    def __str__(self) -> str:
        place = f"/{quote(self.place.lstrip('/'), safe='/:')}" if self.is_lite else self.place
        return f"{self.scheme}://{place}/{self.collection}"

    @property
    def is_lite(self) -> bool:
        """Whether this is a Milvus Lite file."""
        return self.scheme == LITE

    @property
    def about(self) -> str:
        """Name of the companion collection."""
        return self.collection + ABOUT

    def client_options(self) -> dict[str, Any]:
        """What pymilvus' client needs to get there, secrets included.

        Raises:
            InputError: a TLS file is not there.
        """
        if self.is_lite:
            return {"uri": self.place}
        options: dict[str, Any] = {"uri": f"{'https' if self.scheme == SERVER_TLS else 'http'}://{self.place}"}
        if self.token:
            options["token"] = self.token
        if self.scheme == SERVER_TLS:
            options |= {"secure": True, **_tls_options(dict(self.tls))}
        return options


def _without_secrets(text: str) -> str:
    return re.sub(r"//.*@", "//…@", text)


def _check_collection(text: str, collection: str) -> None:
    if not _COLLECTION.fullmatch(collection):
        raise InputError(
            f"{text} names no collection: a name has up to 200 letters, digits and underscores and begins with no "
            f"digit; {HINT}"
        )
    if collection.endswith(ABOUT):
        raise InputError(f"{text}: names that end with {ABOUT} are kept for companions; choose another collection")


def _check_place(text: str, parts: SplitResult, place: str) -> None:
    if not parts.hostname or place:
        raise InputError(f"{text} is no address of a Milvus collection; {HINT}")
    if ":" in parts.hostname:
        raise InputError(f"{text} names an IPv6 address, which Milvus' client cannot use; write the host's name")


def _lite_file(text: str, host: str, path: str) -> str:
    if host or not path.endswith(".db"):
        raise InputError(f"{text} names no Milvus Lite file; write milvus-lite:///PATH/FILE.db/COLLECTION")
    return path.removeprefix("/") if re.match(r"/[A-Za-z]:/", path) else path


def _token() -> str:
    values = {name: os.environ.get(_ENVIRONMENT + name, "") for name in ("TOKEN", "USER", "PASSWORD")}
    if bool(values["USER"]) != bool(values["PASSWORD"]):
        raise InputError(f"{_ENVIRONMENT}USER and {_ENVIRONMENT}PASSWORD go together; set both or neither")
    if values["TOKEN"] and values["USER"]:
        raise InputError(f"{_ENVIRONMENT}TOKEN and {_ENVIRONMENT}USER are both set; unset one of them")
    return values["TOKEN"] or (f"{values['USER']}:{values['PASSWORD']}" if values["USER"] else "")


def _tls(text: str, scheme: str) -> tuple[tuple[str, str], ...]:
    given = {name: os.environ.get(_ENVIRONMENT + name, "") for name in _TLS}
    names = [name for name in _TLS if given[name]]
    if names and scheme != SERVER_TLS:  # never send in the clear what someone meant to protect
        raise InputError(f"{_ENVIRONMENT}{names[0]} is set, and {text} uses no TLS; write milvus+https:// instead")
    if len({"CERT", "KEY"} & set(names)) == 1 or ("CERT" in names and "CA" not in names):
        raise InputError(f"{_ENVIRONMENT}CERT needs {_ENVIRONMENT}KEY and {_ENVIRONMENT}CA beside it; set all three")
    return tuple((name, given[name]) for name in names)


def _tls_options(tls: dict[str, str]) -> dict[str, str]:
    for name in ("CA", "CERT", "KEY"):
        if name in tls and not Path(tls[name]).is_file():
            raise InputError(f"{_ENVIRONMENT}{name} names {tls[name]}, which is no file")
    names = {"CA": "ca_pem_path" if "CERT" in tls else "server_pem_path", "CERT": "client_pem_path"}
    names |= {"KEY": "client_key_path", "SERVER_NAME": "server_name"}
    return {names[name]: value for name, value in tls.items()}
