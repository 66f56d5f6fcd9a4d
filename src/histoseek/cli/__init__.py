"""The command line: one small file a verb, each a thin door to one public function."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from histoseek.cli.output import note
from histoseek.errors import HistoseekError

VERBS = {
    "prepare": "prepare",
    "train": "train",
    "index": "index",
    "search": "search",
    "heat": "heat",
    "map": "map",
    "import": "import_features",
    "export": "export",
    "phi-scan": "phi_scan",
    "evaluate": "evaluate",
    "compare": "compare",
    "serve": "serve",
    "keys": "keys",
    "audit": "audit",
    "encoders": "encoders",
    "info": "info",
    "doctor": "doctor",
    "demo": "demo",
}
"""Every verb and its file, in the order of the help."""

BUG = 3


class _Verbs(TyperGroup):
    """Builds the verb that is asked for, and all of them for the help: reading the options of one takes its time."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The verb; None after all are there, so that a slip of the pen is told what is close to it."""
        for name in [cmd_name] if cmd_name in VERBS else VERBS:
            if name not in self.commands:
                alone = typer.Typer(rich_markup_mode=None)
                import_module(f"histoseek.cli.{VERBS[name]}").add_to(alone)
                self.commands[name] = get_group(alone).commands[name]
        return self.commands.get(cmd_name)

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names, in the order of the help."""
        return list(VERBS)


app = typer.Typer(
    name="histoseek",
    cls=_Verbs,
    help="Retrieval for archives of tissue images: prepare, index, search, serve, evaluate. Research use only, never a "
    "diagnosis.\n\nExit codes: 0 fine, 1 some items were skipped, 2 wrong usage or input, 4 damaged data.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
