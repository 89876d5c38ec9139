"""Options made from settings: declared once, in `nnlab.core.settings`, read from flags, environment and files."""

from __future__ import annotations

import inspect
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Generic, Literal, TypeVar, get_args, get_origin

import typer

from nnlab.cli.origins import PREFIX, telling_origins
from nnlab.core.errors import UsageError, did_you_mean
from nnlab.core.settings import DisplaySettings, Origin, OutputSettings, Settings, flag

S = TypeVar("S", bound=Settings)

_FLAG: Final = bool | None
_TEXT: Final = str | None
_TEXTS: Final = list[str] | None  # an option that may be said again
_OTHER_VARIABLES: Final = frozenset({"NNLAB_CACHE_DIR"})

# Keys of an experiment file beside its settings.
_FILE_KEYS: Final = ("command", "description", "settings", "claim")


@dataclass(frozen=True)
class Given(Generic[S]):
    """What the person asked for, complete.

    Attributes:
        settings: what decides the experiment.
        output: where the answer goes.
        origins: where each setting's value came from.
        config: the experiment file, if there is one.
    """

    settings: S
    output: OutputSettings
    origins: Mapping[str, Origin]
    config: str | None = None


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
        given = gathered(command, settings, flags, output)
        with telling_origins(given.origins, given.config):
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
        values = {name: value for name, value in _environment().items() if name in DisplaySettings.model_fields}
        run(**own, output=DisplaySettings.checked(values | given))

    own = [p for name, p in inspect.signature(run, eval_str=True).parameters.items() if name != "output"]
    with_output.__signature__ = inspect.Signature([*own, *_parameters(DisplaySettings)])  # type: ignore[attr-defined]
    with_output.__doc__ = run.__doc__
    return with_output


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
    words, choices = field.description or "", _choices(field.annotation)
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
        from nnlab.catalog.index import names_for

        return [word for word in (*_choices(annotation), *names_for(flag(name))) if word.startswith(incomplete)]

    return complete


def gathered(
    command: str, settings: type[S], flags: Mapping[str, Any], output: type[OutputSettings] = OutputSettings
) -> Given[S]:
    """Flags over environment over file over defaults.

    Raises:
        UsageError: a value or a name that can't be what is meant, with the place it came from where that is no flag.
    """
    accepted = {*settings.model_fields, *OutputSettings.model_fields}
    path = flags.get("config") or os.environ.get(f"{PREFIX}CONFIG") or None
    from_file = {} if path is None else _file(path, command, settings)
    layers: list[tuple[Origin, Mapping[str, object]]] = [
        ("file", from_file),
        ("environment", {name: value for name, value in _environment().items() if name in accepted}),
        ("flag", {name: value for name, value in flags.items() if value is not None and name != "config"}),
    ]
    values: dict[str, object] = {}
    origins: dict[str, Origin] = dict.fromkeys(settings.model_fields, "default")
    for origin, layer in layers:
        values |= layer
        origins |= dict.fromkeys(layer, origin)
    with telling_origins(origins, path):
        return Given(
            settings.checked({name: value for name, value in values.items() if name in settings.model_fields}),
            output.checked({n: value for n, value in values.items() if n in OutputSettings.model_fields}),
            {name: origin for name, origin in origins.items() if name in settings.model_fields},
            path,
        )


def _environment() -> dict[str, object]:
    """The settings in the environment, by name; one that no command has is refused."""
    from nnlab.core import settings as declared

    classes = [c for c in vars(declared).values() if isinstance(c, type) and issubclass(c, Settings)]
    known = {name for kind in classes for name in kind.model_fields} | {"config"}
    found: dict[str, object] = {}
    for variable, value in os.environ.items():
        if variable.startswith(PREFIX) and variable not in _OTHER_VARIABLES:
            name = variable.removeprefix(PREFIX).lower()
            if name not in known:
                near = did_you_mean(variable, [f"{PREFIX}{n.upper()}" for n in known])
                raise UsageError(f"{variable} in the environment is no setting.{near} Unset it, or correct its name.")
            found[name] = value
    return found


def _file(path: str, command: str, settings: type[Settings]) -> dict[str, object]:
    """The settings of an experiment file."""
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--config {path!r} can't be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path!r} is not TOML: {error}.") from None
    for key in content:
        if key not in _FILE_KEYS:
            hint = (
                f" Settings stand under [settings]: did you mean settings.{key}?"
                if key in settings.model_fields
                else ""
            )
            raise UsageError(f"--config {path!r}: {key!r} is not known.{hint} Accepted: {', '.join(_FILE_KEYS)}.")
    if content.get("command", command) != command:
        raise UsageError(f"--config {path!r} is for `nnlab {content['command']}`, not for `nnlab {command}`.")
    values: dict[str, object] = content.get("settings", {})
    if not isinstance(values, dict):
        raise UsageError(f"--config {path!r}: settings is a table, [settings], not {values!r}.")
    accepted = {*settings.model_fields, *OutputSettings.model_fields}
    for key, value in values.items():
        if key not in accepted:
            see = f"`nnlab {command} --help` shows all; batch_size is --batch-size."
            raise UsageError(f"--config {path!r}: settings.{key} is not known.{did_you_mean(key, accepted)} {see}")
        if not isinstance(value, str | int | float | list):
            raise UsageError(
                f"--config {path!r}: settings.{key} takes text, a number, a flag or a list, not {value!r}."
            )
    return values
