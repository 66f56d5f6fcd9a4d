"""histoseek keys add|list|remove FILE."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from histoseek.cli.output import counted, note, say, show_rows

KeyPath = Annotated[Path, typer.Argument(help="The file of keys that histoseek serve --api-key-file reads.")]


def add_to(app: typer.Typer) -> None:
    """Add the verbs."""
    verbs = typer.Typer(no_args_is_help=True, help="Keys that let clients of histoseek serve in.")
    verbs.command("add")(add)
    verbs.command("list")(list_keys)
    verbs.command("remove")(remove)
    app.add_typer(verbs, name="keys")


def add(
    file: KeyPath,
    role: Annotated[str, typer.Option(help="What the key may do: read (search and look) or write.")] = "read",
) -> None:
    """Make a new key and print it, this once; the file keeps only its hash."""
    from histoseek.web.keys import add_key

    text, key = add_key(file, role)
    say(text)
    note(f"this is key {key.id}, which may {key.role}; it is shown this once, so keep it where passwords are kept")


def list_keys(
    file: KeyPath, as_json: Annotated[bool, typer.Option("--json", help="One JSON object a key.")] = False
) -> None:
    """List the keys of a file: id, role, and when it was made."""
    from histoseek.web.keys import read_keys

    keys = read_keys(file)
    show_rows([{"id": key.id, "role": key.role, "created": key.created} for key in keys], as_json)
    note(f"{counted(len(keys), 'key')} in {file}")


def remove(file: KeyPath, key: Annotated[str, typer.Argument(help="Its id, as histoseek keys list shows it.")]) -> None:
    """Take a key out of a file; a running server refuses it from then on."""
    from histoseek.web.keys import remove_key

    gone = remove_key(file, key)
    note(f"key {gone.id} is removed; its sessions are over too")
