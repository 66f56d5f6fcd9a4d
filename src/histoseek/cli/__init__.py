"""The command line: one small file a verb, each a thin door to one public function."""

from __future__ import annotations

import sys

import typer

from histoseek.cli import (
    audit,
    compare,
    demo,
    doctor,
    encoders,
    evaluate,
    export,
    heat,
    import_features,
    index,
    info,
    keys,
    map,
    phi_scan,
    prepare,
    search,
    serve,
    train,
)
from histoseek.cli.output import note
from histoseek.errors import HistoseekError

BUG = 3

app = typer.Typer(
    name="histoseek",
    help="Retrieval for archives of tissue images: prepare, index, search, serve, evaluate. Research use only, never a "
    "diagnosis.\n\nExit codes: 0 fine, 1 some items were skipped, 2 wrong usage or input, 4 damaged data.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
prepare.add_to(app)
train.add_to(app)
index.add_to(app)
search.add_to(app)
heat.add_to(app)
map.add_to(app)
import_features.add_to(app)
export.add_to(app)
phi_scan.add_to(app)
evaluate.add_to(app)
compare.add_to(app)
serve.add_to(app)
keys.add_to(app)
audit.add_to(app)
encoders.add_to(app)
info.add_to(app)
doctor.add_to(app)
demo.add_to(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        from histoseek import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _common(
    version: bool = typer.Option(
        False, "--version", help="Print the version and exit.", is_eager=True, callback=_print_version
    ),
    debug: bool = typer.Option(False, "--debug", help="Show a traceback when something fails."),
) -> None:
    """Options that stand before every verb; `main` takes --debug out wherever it stands."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    try:
        app(given)
    except HistoseekError as error:
        _complain(str(error), debug)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:  # noqa: BLE001 - the outermost door: a user is shown a sentence, not a traceback
        _complain(f"this is a bug: {type(error).__name__}: {error}; run again with --debug and report it", debug)
        sys.exit(BUG)


def _complain(message: str, debug: bool) -> None:
    if debug:
        raise
    note(f"histoseek: {message}")
