"""Small text files at a path or on object storage (`s3://bucket/name`): read, written whole or not at all, listed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from histoseek.errors import InputError, StorageError
from histoseek.items.files import written_whole

SCHEME = "s3://"
SERVED = ("milvus://", "milvus+https://", "milvus-lite://")

KEYS = "check AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


def is_remote(uri: str | Path) -> bool:
    """Whether this names a place on object storage."""
    return str(uri).startswith(SCHEME)


def is_served(uri: str | Path) -> bool:
    """Whether this names a collection on a server, which is neither a folder nor files."""
    return str(uri).startswith(SERVED)


def joined(uri: str | Path, *names: str) -> str:
    """The address of something below `uri`."""
    if is_remote(uri):
        return "/".join([str(uri).rstrip("/"), *names])
    return str(Path(uri, *names))


def read_text(uri: str | Path) -> str:
    """Read a file of UTF-8 text; raises `InputError` when it is not there, `StorageError` when it cannot be read."""
    with _told("read", uri):
        if not is_remote(uri):
            return Path(uri).read_text(encoding="utf-8")
        system, path = _system(uri)
        with system.open_input_stream(path) as stream:
            return bytes(stream.read()).decode("utf-8")


def write_text(uri: str | Path, text: str) -> None:
    """Write a file whole or not at all, so that readers see the old text or the new one.

    Raises:
        InputError: the folder cannot be written to.
        StorageError: the object storage cannot.
    """
    if not is_remote(uri):
        with written_whole(uri) as draft:
            draft.write_text(text, encoding="utf-8", newline="")
        return
    content = text.encode("utf-8")
    with _told("write", uri):
        system, path = _system(uri)
        with system.open_output_stream(path) as stream:  # an object appears whole, when its upload is closed
            stream.write(content)


def exists(uri: str | Path) -> bool:
    """Whether there is a file, a folder, or on object storage anything below that name."""
    if not is_remote(uri):
        return Path(uri).exists()
    from pyarrow.fs import FileType

    with _told("read", uri):
        system, path = _system(uri)
        return bool(system.get_file_info(path).type != FileType.NotFound)


def list_names(uri: str | Path) -> list[str]:
    """Names of what lies directly in a folder, in order; none when there is no such folder."""
    return sorted(list_marks(uri))


def list_marks(uri: str | Path) -> dict[str, str]:
    """What lies directly in a folder, each with a mark that changes when something else takes its name."""
    if not is_remote(uri):
        folder = Path(uri)
        stats = {path.name: path.stat() for path in folder.iterdir()} if folder.is_dir() else {}
        return {name: f"{stat.st_size}-{stat.st_mtime_ns}" for name, stat in stats.items()}
    from pyarrow.fs import FileSelector

    with _told("list", uri):
        system, path = _system(uri)
        found = system.get_file_info(FileSelector(path, allow_not_found=True))
        return {info.base_name: f"{info.size}-{info.mtime_ns}" for info in found}


def delete(uri: str | Path) -> None:
    """Delete a file, if it is there."""
    if not is_remote(uri):
        Path(uri).unlink(missing_ok=True)
        return
    with _told("delete", uri):
        system, path = _system(uri)
        if exists(uri):
            system.delete_file(path)


def _system(uri: str | Path) -> tuple[Any, str]:
    """The file system of an address and the path in it; the endpoint comes from AWS_ENDPOINT_URL."""
    from pyarrow.fs import FileSystem

    system, path = FileSystem.from_uri(str(uri).rstrip("/"))
    return system, path


@contextmanager
def _told(verb: str, uri: str | Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"there is no {uri}; check its name") from error
    except (OSError, ValueError) as error:
        reason = str(error).split("\n")[0][:300]
        raise StorageError(f"cannot {verb} {uri}: {reason}" + (f"; {KEYS}" if is_remote(uri) else "")) from error
