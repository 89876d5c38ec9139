"""The program: a command line for each command, errors spelled for it, exit codes."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Mapping
from functools import partial
from types import FrameType
from typing import Annotated, NoReturn

import typer

from nnlab import __version__
from nnlab.cli.options import command_line, with_synonym
from nnlab.cli.streams import close_quietly, error
from nnlab.commands import COMMANDS
from nnlab.commands.command import AnyCommand
from nnlab.core.errors import NnlabError
from nnlab.core.spelling import as_flag

_HELP = (
    "A laboratory for training neural networks: whole experiments as one batched program, with error bars and verdicts."
)


class Terminated(BaseException):
    """SIGTERM: recorded runs stay; the same command continues from there."""


def program_of(commands: Mapping[str, AnyCommand]) -> typer.Typer:
    """The command-line program for these commands."""
    app = typer.Typer(
        name="nnlab",
        help=_HELP,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
    )
    app.callback(help=_HELP)(_options_without_command)
    for name, command in commands.items():
        app.command(name, help=command.help, epilog=_examples(command))(command_line(command, commands))
    return app


def _version(is_given: bool) -> None:
    if is_given:
        typer.echo(f"nnlab {__version__}")
        raise typer.Exit


def _options_without_command(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Show the version.",
            metavar="",
            callback=_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """The options of `nnlab` itself."""


def _examples(command: AnyCommand) -> str:
    """The examples as an epilog for Typer: a blank line between lines keeps them apart, and brackets are escaped."""
    return "\n\n".join(["Examples:", *(example.replace("[", r"\[") for example in command.examples)])


app = program_of(COMMANDS)


def main() -> NoReturn:
    """Run the program: exit codes as the README lists them, no traceback for a user's mistake."""
    signal.signal(signal.SIGTERM, _terminate)
    say = partial(error, no_color="--no-color" in sys.argv)
    try:
        status = app(standalone_mode=False)
        code = status if isinstance(status, int) else 0
        if code == 130:  # Typer's code for Ctrl-C
            raise KeyboardInterrupt
    except NnlabError as wrong:
        say(wrong.respell(as_flag).message)
        code = wrong.exit_code
    except typer.TyperException as wrong:
        say(with_synonym(wrong.format_message()))
        code = wrong.exit_code
    except (KeyboardInterrupt, typer.Abort):
        say("interrupted. What is finished is recorded; the same command continues from there.")
        code = 130
    except Terminated:
        say("terminated. What is finished is recorded; the same command continues from there.")
        code = 143
    except BrokenPipeError:
        code = 0
    close_quietly()
    sys.exit(code)


def program() -> NoReturn:
    """Run `main` as a process of its own, without the work that a short-lived process can leave out.

    Python collects cyclic garbage hundreds of times while it loads torch (a third of a second), and takes torch apart at the
    end (half a second). Both measured with MNIST-1D's default sweep.
    """
    gc.set_threshold(100_000, 50, 50)
    try:
        main()
    except SystemExit as end:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)


def _terminate(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise Terminated
