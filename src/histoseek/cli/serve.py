"""histoseek serve INDEX [--host H --api-key-file F] [--port P] [--report DIR] ..."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from histoseek.cli.opening import open_index
from histoseek.cli.output import note, say


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("serve")(serve)


def serve(
    index: Annotated[str, typer.Argument(help="An index folder.")],
    host: Annotated[
        str, typer.Option(help="The address to listen on; any but loopback needs --api-key-file.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="The port; 8000 or the next free one unless stated.")
    ] = None,
    api_key_file: Annotated[Path | None, typer.Option(help="Let in only those with a key of this file.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="A report of histoseek evaluate on this index: how far votes can be trusted.")
    ] = None,
    keep_names: Annotated[
        bool, typer.Option("--keep-names", help="Show slides and patients by their own names, not by pseudonyms.")
    ] = False,
    show_column: Annotated[list[str] | None, typer.Option(help="Show this hidden column. May be repeated.")] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Answer to this host name too, as behind a proxy. May be repeated.")
    ] = None,
    trust_proxy: Annotated[
        list[str] | None, typer.Option(help="Believe X-Forwarded-For and -Proto of this address. May be repeated.")
    ] = None,
    audit_log: Annotated[
        Path | None, typer.Option(help="Where the audit log is written; beside the index unless stated.")
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    metrics: Annotated[bool, typer.Option("--metrics", help="Give counts for Prometheus at /api/v1/metrics.")] = False,
    no_map: Annotated[bool, typer.Option("--no-map", help="Do not draw a map where the archive has none.")] = False,
    encoder: Annotated[str | None, typer.Option(help="The index's encoder, if its folder moved.")] = None,
    root: Annotated[Path | None, typer.Option(help="Where the index's images lie now, if they moved.")] = None,
) -> None:
    """Open an archive in the browser, and to programs by a REST API. Research use only, never a diagnosis.

    Without options only this machine can reach it. Ctrl-C ends it.
    """
    from histoseek.web import Settings, check_host
    from histoseek.web import serve as serve_index

    settings = Settings(
        host=host,
        port=port,
        api_key_file=api_key_file,
        report=report,
        keep_names=keep_names,
        show_columns=tuple(show_column or ()),
        allow_hosts=tuple(allow_host or ()),
        trust_proxies=tuple(trust_proxy or ()),
        audit_log=audit_log,
        metrics=metrics,
        draw_map=not no_map,
    )
    check_host(settings)

    serve_index(open_index(index, encoder, root), settings, partial(_say_where, open_page=open_page))


def _say_where(url: str, hidden: Sequence[str], *, open_page: bool) -> None:
    say(url)
    if hidden:
        note(f"columns not shown, for they may tell who somebody is: {', '.join(hidden)}; see --show-column")
    note("research use only, never a diagnosis; Ctrl-C ends the server")
    if open_page:
        import webbrowser

        webbrowser.open(url)
