"""histoseek audit verify FILE."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from histoseek.cli.output import counted, note, say


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    verbs = typer.Typer(no_args_is_help=True, help="The audit log of histoseek serve.")
    verbs.callback()(_group)
    verbs.command("verify")(verify)
    app.add_typer(verbs, name="audit")


def _group() -> None:
    """The audit log of histoseek serve."""  # with a single verb, Typer would leave its name out


def verify(
    file: Annotated[Path, typer.Argument(help="The audit log that histoseek serve wrote.")],
    head: Annotated[
        str | None, typer.Option(help="A last hash that was noted earlier: the line with it must still be there.")
    ] = None,
) -> None:
    """Check that no line of an audit log was changed, added or taken out; exit 4 where one was.

    It prints the hash of the last line. Noted elsewhere, it tells with --head when lines were cut off the end.
    """
    from histoseek.web.audit import verify_audit

    chain = verify_audit(file, head)
    say(chain.head)
    note(f"{counted(chain.n_lines, 'line')}, each following the one before; this is the hash of the last one")
    if chain.torn_bytes:
        note("one more line was begun when the server was killed; nothing that it answered is missing")
