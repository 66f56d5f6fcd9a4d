"""Names for the outside: what an id, a file or a patient is called where its real name must not leave the server."""

from __future__ import annotations

import base64
import os
import secrets
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from histoseek.errors import DamagedError, InputError
from histoseek.stores.caching import cache_home

if TYPE_CHECKING:
    from histoseek.index import Index
    from histoseek.items import Item

NOBODY = ("", "image", "slide", "unknown")
"""What items say that their group stands for when nobody knows whose they are: one patient may have many slides."""

FILE = "pseudonyms.key"
SECRET_BYTES = 32
ID_BYTES = 12
NAME_LETTERS = 7
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's: no letter that looks like a digit


class Pseudonyms:
    """Names made with a secret by keyed BLAKE2b: the same on every start, and not to be guessed without the secret."""

    def __init__(self, secret: bytes, *, keep_names: bool = False) -> None:
        self._secret = secret
        self.keep_names = keep_names

    def id_of(self, kind: str, name: str) -> str:
        """The opaque id of an item or a slide: 96 bits in 16 characters."""
        return base64.urlsafe_b64encode(self.digest(kind, name)).decode()

    def digest(self, kind: str, name: str) -> bytes:
        """The same as 12 bytes."""
        return blake2b(name.encode(), digest_size=ID_BYTES, key=self._secret, person=kind.encode()).digest()

    def slide(self, name: str) -> str:
        """What a slide is called: "S-7F3K9QX", or its own name where names are kept."""
        return name if self.keep_names else f"S-{self._letters('slide name', name)}"

    def patient(self, group: str) -> str:
        """What a patient is called: "P-7F3K9QX", or its own name where names are kept."""
        return group if self.keep_names else f"P-{self._letters('patient name', group)}"

    def _letters(self, kind: str, name: str) -> str:
        number = int.from_bytes(self.digest(kind, name), "big")
        return "".join(_ALPHABET[number >> (5 * at) & 31] for at in range(NAME_LETTERS))


def is_patient_known(item: Item) -> bool:
    """Whether the group of an item is a patient, or what stands for one, and not the item or its slide alone."""
    return item.group_source not in NOBODY


def secret_of(index: Index) -> bytes:
    """The secret of an index, made at the first start, beside the index or in the cache where that is read-only.

    Raises:
        DamagedError: the file is not what was written.
        InputError: it can be neither read nor written.
    """
    places = [folder / FILE for folder in dict.fromkeys((index.path, cache_home(index.path)))]
    for place in places:
        if place.is_file():
            return _read(place)
    try:
        return _made(places[-1])
    except OSError as error:
        raise InputError(
            f"cannot write {places[-1]}: {error.strerror}; name a folder that can be written by HISTOSEEK_CACHE"
        ) from error


def _read(place: Path) -> bytes:
    try:
        secret = place.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {place}: {error.strerror}; run the server as the user who owns it") from error
    if len(secret) != SECRET_BYTES:
        raise DamagedError(f"{place} is damaged; delete it, and ids and pseudonyms are made anew")
    return secret


def _made(place: Path) -> bytes:
    """Write a new secret, whole or not at all; of two servers that start at once one finds what the other wrote."""
    place.parent.mkdir(parents=True, exist_ok=True)
    secret = secrets.token_bytes(SECRET_BYTES)
    draft = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(secret)
        stream.flush()
        os.fsync(stream.fileno())
    try:
        place.hardlink_to(draft)
    except FileExistsError:
        return _read(place)
    except OSError:  # a file system without links
        draft.replace(place)
    finally:
        draft.unlink(missing_ok=True)
    return secret
