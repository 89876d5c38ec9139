"""Options made from settings: declared once, in `nnlab.settings`, read from flags, environment and files."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final, Literal, TypeVar, get_args, get_origin

import typer

from nnlab.core.spelling import as_flag, flag, spell
from nnlab.settings import DisplaySettings, OutputSettings, Settings
from nnlab.settings.given import Given, collect, environment
from nnlab.settings.origins import spell_errors
from nnlab.settings.synonyms import SYNONYMS

S = TypeVar("S", bound=Settings)

_FLAG: Final = bool | None
_TEXT: Final = str | None
_TEXTS: Final = list[str] | None  # an option that may be said again


def with_options(
    command: str, settings: type[S], run: Callable[[Given[S]], None], output: type[OutputSettings] = OutputSettings
) -> Callable[..., None]:
    """A function that Typer can make a command of: its parameters are the fields of `settings` and of the output.

    Args:
        command: the name that an experiment file must have.
        settings: their class.
        run: takes what was given; its docstring is the command's help.
        output: where the answer may go, and in what formats.
    """

    def with_given(**flags: Any) -> None:
        given = collect(command, settings, flags, output, argv=("nnlab", *sys.argv[1:]))
        with spell_errors(as_flag, given.origins, given.config):
            run(given)

    config = inspect.Parameter(
        "config",
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[
            str | None,
            typer.Option("--config", metavar="FILE.toml", help="Take settings from a file.", rich_help_panel="Output"),
        ],
    )
    parameters = [*_parameters(settings), *_parameters(output), config]
    with_given.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_given.__doc__ = run.__doc__
    return with_given


def with_display(run: Callable[..., None]) -> Callable[..., None]:
    """A function that Typer can make a command of: the parameters of `run`, whose `output` is made of the display's options."""

    def with_output(**flags: Any) -> None:
        own = {name: flags.pop(name) for name in list(flags) if name not in DisplaySettings.model_fields}
        given = {name: value for name, value in flags.items() if value is not None}
        values = {name: value for name, value in environment().items() if name in DisplaySettings.model_fields}
        run(**own, output=DisplaySettings.from_values(values | given))

    own = [p for name, p in inspect.signature(run, eval_str=True).parameters.items() if name != "output"]
    with_output.__signature__ = inspect.Signature([*own, *_parameters(DisplaySettings)])  # type: ignore[attr-defined]
    with_output.__doc__ = run.__doc__
    return with_output


def with_synonym(message: str) -> str:
    """What Typer says of an option that there is not, and what a person calls so who knows it from elsewhere."""
    option = re.fullmatch(r"No such option: --([\w-]+)", message)
    meant = SYNONYMS.get(option[1].lower().replace("-", "_")) if option else None
    if meant is None:
        return message
    name, _, value = meant.partition("=")
    return f"{message}. Did you mean {' '.join(filter(None, (flag(name), value)))}?"


def _parameters(settings: type[Settings]) -> Iterator[inspect.Parameter]:
    for name, field in settings.model_fields.items():
        extra = field.json_schema_extra
        assert isinstance(extra, dict)
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
        annotation = Annotated[kind, option]  # type: ignore[valid-type]
        yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


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
