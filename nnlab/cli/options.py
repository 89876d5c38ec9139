"""Options and arguments made from settings, and the call of a command."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import typer

from nnlab.cli.streams import resolve_format, show
from nnlab.cli.terminal import Terminal
from nnlab.commands import setting_names
from nnlab.commands.command import AnyCommand, Completion
from nnlab.core.spelling import as_flag, flag, spell
from nnlab.settings import OutputSettings, Settings
from nnlab.settings.given import collect
from nnlab.settings.origins import spell_errors
from nnlab.settings.synonyms import SYNONYMS

_FLAG: Final = bool | None
_TEXT: Final = str | None
_TEXTS: Final = list[str] | None  # an option that may be repeated


def command_line(command: AnyCommand, commands: Mapping[str, AnyCommand]) -> Callable[..., None]:
    """The function that Typer turns into a command: its parameters are the fields of the command's settings and output.

    Args:
        command: the command.
        commands: all of them: the environment may hold the settings of any.
    """

    def run(**flags: Any) -> None:
        argv = ("nnlab", *sys.argv[1:])
        given = collect(
            command.name, command.settings, flags, command.output, known=setting_names(commands.values()), argv=argv
        )
        with spell_errors(given.front_end.spelling, given.origins, given.config):
            form = resolve_format(given.output, command.auto_format)
            given = replace(given, output=given.output.model_copy(update={"format": form}))
            answer = command.answer(given, Terminal(given.output))
            show(answer, given.output)
            if answer.failure is not None:
                raise answer.failure
        if answer.is_wrong:
            raise typer.Exit(1)

    # Typer reads a signature; the parameters are known only here.
    run.__signature__ = inspect.Signature([*_parameters(command)])  # type: ignore[attr-defined]
    return run


def with_synonym(message: str) -> str:
    """Typer's "no such option" message, plus our name for the option if other tools call it that."""
    option = re.fullmatch(r"No such option: --([\w-]+)", message)
    meant = SYNONYMS.get(option[1].lower().replace("-", "_")) if option else None
    if meant is None:
        return message
    name, _, value = meant.partition("=")
    return f"{message}. Did you mean {' '.join(filter(None, (flag(name), value)))}?"


def _parameters(command: AnyCommand) -> Iterator[inspect.Parameter]:
    settings, output = command.settings, command.output
    for name in settings.arguments():
        yield _argument(name, settings, command.completions.get(name))
    for kind in (settings, output):
        arguments = kind.arguments()  # not in the loop: with 40 options a command that took 8 ms
        yield from (_option(name, kind) for name in kind.model_fields if name not in arguments)
    if issubclass(output, OutputSettings):
        words = "Take settings from a file."
        yield _parameter(
            "config", _TEXT, typer.Option("--config", metavar="FILE.toml", help=words, rich_help_panel="Output")
        )


def _argument(name: str, settings: type[Settings], completion: Completion | None) -> inspect.Parameter:
    field = settings.model_fields[name]
    names = None if completion is None else _completion_with_context(completion)
    metavar = settings.extra(name)["metavar"]
    argument = typer.Argument(metavar=str(metavar), help=field.description, show_default=False, autocompletion=names)
    # The types that a shell shows and completes; other arguments are text for the settings to read.
    kind = field.annotation if field.annotation in (Path, Path | None) else str if field.is_required() else _TEXT
    return _parameter(name, kind, argument, is_required=field.is_required())


def _option(name: str, settings: type[Settings]) -> inspect.Parameter:
    field, extra = settings.model_fields[name], settings.extra(name)
    is_flag = field.annotation is bool
    spelling = f"{flag(name)}/--no-{flag(name)[2:]}" if is_flag and field.default is True else flag(name)
    option = typer.Option(
        spelling,
        help=_help(name, settings),
        rich_help_panel=str(extra["panel"]),
        show_default=False,
        metavar="" if is_flag else str(extra["metavar"]) or _metavar(name, field.annotation),
        autocompletion=None if is_flag else _completion(name, field.annotation),
    )
    kind = _FLAG if is_flag else _TEXTS if field.annotation == tuple[str, ...] else _TEXT
    return _parameter(name, kind, option)


def _parameter(name: str, kind: object, declared: object, *, is_required: bool = False) -> inspect.Parameter:
    default = inspect.Parameter.empty if is_required else None
    annotation = Annotated[kind, declared]  # type: ignore[valid-type]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _help(name: str, settings: type[Settings]) -> str:
    field = settings.model_fields[name]
    words, choices = spell(field.description or "", as_flag), _choices(field.annotation)
    if choices and not all(choice in words for choice in choices):
        words = f"{words} One of {', '.join(choices)}."
    if field.default in (None, False, ()) or "(default" in words:
        return words
    default = "on" if field.default is True else str(field.default)
    return f"{words} (default: {default})"


def _choices(annotation: object) -> tuple[str, ...]:
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _metavar(name: str, annotation: object) -> str:
    if _choices(annotation):
        return name.split("_")[-1].upper()
    words = {int: "N", float: "X", str: "TEXT"}
    return words.get(annotation, "SPEC") if isinstance(annotation, type) else "SPEC"


def _completion(name: str, annotation: object) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        from nnlab.ingredients.index import names_for

        return [word for word in (*_choices(annotation), *names_for(name)) if word.startswith(incomplete)]

    return complete


def _completion_with_context(names: Completion) -> Callable[[typer.Context, str], list[str]]:
    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        return list(names(ctx.params, incomplete))

    return complete
