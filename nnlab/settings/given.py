"""The settings of one call, checked, each with its origin.

Given values override the environment, which overrides an experiment file, which overrides the defaults.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

from nnlab.core.errors import UsageError, did_you_mean
from nnlab.core.spelling import Spelling, as_flag, as_keyword, mention
from nnlab.settings.base import Origin, Settings
from nnlab.settings.origins import PREFIX, spell_errors
from nnlab.settings.output import DisplaySettings, OutputSettings
from nnlab.settings.synonyms import setting_meant

S = TypeVar("S", bound=Settings, covariant=True)
O = TypeVar("O", bound=DisplaySettings, covariant=True)  # noqa: E741 - output, beside S for settings

# Variables of nnlab that are not settings.
_OTHER_VARIABLES: Final = frozenset({"NNLAB_CACHE_DIR"})


@dataclass(frozen=True)
class FrontEnd:
    """A front end: the origin of the values it passes on, and its spelling of settings."""

    origin: Origin
    spelling: Spelling


COMMAND_LINE: Final = FrontEnd("flag", as_flag)
PYTHON: Final = FrontEnd("python", as_keyword)

# The keys at the top level of an experiment file.
_FILE_KEYS: Final = ("command", "description", "settings", "claim")


@dataclass(frozen=True)
class Given(Generic[S, O]):
    """The settings of one call, complete with their defaults.

    Attributes:
        settings: they decide the answer.
        output: where the answer goes and how it looks.
        origins: where each setting's value came from.
        config: the experiment file, if there is one.
        argv: the command line that asks the same.
        front_end: the front end that asks.
    """

    settings: S
    output: O
    origins: Mapping[str, Origin]
    config: str | None = None
    argv: tuple[str, ...] = ()
    front_end: FrontEnd = COMMAND_LINE


def collect(
    command: str,
    settings: type[S],
    values: Mapping[str, object],
    output: type[O],
    *,
    known: Collection[str],
    front_end: FrontEnd = COMMAND_LINE,
    argv: tuple[str, ...] = (),
) -> Given[S, O]:
    """Collect the settings of one call.

    Args:
        command: the name that an experiment file must have.
        settings: the class of the settings that decide the answer.
        values: the given values by name, including those of the output and `config`; None means not given.
        output: the class of the settings that say where the answer goes.
        known: the names of the settings of all commands: the environment may hold any of them.
        front_end: the front end that passes them on.
        argv: the command line that gives them.

    Raises:
        UsageError: a value or a name that can't be what was meant; says where it came from, unless the user typed it.
    """
    accepted = {*settings.model_fields, *output.model_fields}.difference(settings.arguments())
    path = values.get("config") or os.environ.get(f"{PREFIX}CONFIG") or None
    config = None if path is None or not issubclass(output, OutputSettings) else str(path)
    # Weakest first: each layer overrides those before it. A variable that another command takes is left alone.
    layers: list[tuple[Origin, Mapping[str, object]]] = [
        ("file", {} if config is None else _file(config, command, accepted)),
        ("environment", {name: value for name, value in _environment(known).items() if name in accepted}),
        (front_end.origin, {name: value for name, value in values.items() if value is not None and name != "config"}),
    ]
    merged: dict[str, object] = {}
    origins: dict[str, Origin] = dict.fromkeys([*settings.model_fields, *output.model_fields], "default")
    for origin, layer in layers:
        merged |= layer
        origins |= dict.fromkeys(layer, origin)
    with spell_errors(front_end.spelling, origins, config):
        return Given(
            settings.from_values({name: value for name, value in merged.items() if name in settings.model_fields}),
            output.from_values({name: value for name, value in merged.items() if name in output.model_fields}),
            origins,
            config,
            argv,
            front_end,
        )


def _environment(known: Collection[str]) -> dict[str, object]:
    """The settings in the environment, by name; a name that no command has is an error, lest a misspelt one be ignored."""
    found: dict[str, object] = {}
    for variable, value in os.environ.items():
        if variable.startswith(PREFIX) and variable not in _OTHER_VARIABLES:
            name = variable.removeprefix(PREFIX).lower()
            if name not in known and name != "config":
                near = did_you_mean(variable, [f"{PREFIX}{n.upper()}" for n in (*known, "config")])
                raise UsageError(
                    f"{variable} in the environment is not a setting.{near} Unset it, or correct its name."
                )
            found[name] = value
    return found


def _file(path: str, command: str, accepted: Collection[str]) -> dict[str, object]:
    """The settings of an experiment file."""
    content, place = _toml(path), f"{mention('config')} {path!r}"
    for key in content:
        if key not in _FILE_KEYS:
            hint = f" Settings stand under [settings]: did you mean settings.{key}?" if key in accepted else ""
            raise UsageError(f"{place}: {key!r} is not known.{hint} Accepted: {', '.join(_FILE_KEYS)}.")
    if content.get("command", command) != command:
        raise UsageError(f"{place} is for `nnlab {content['command']}`, not for `nnlab {command}`.")
    values = content.get("settings", {})
    if not isinstance(values, dict):
        raise UsageError(f"{place}: settings is a table, [settings], not {values!r}.")
    for key, value in values.items():
        if key not in accepted:
            see = f"`nnlab {command} --help` lists all, with dashes for underscores."
            raise UsageError(f"{place}: settings.{key} is not known.{setting_meant(key, accepted)} {see}")
        if not isinstance(value, str | int | float | list):
            raise UsageError(f"{place}: settings.{key} takes text, a number, true or false, or a list, not {value!r}.")
    return values


def _toml(path: str) -> dict[str, object]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{mention('config')} {path!r} can't be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{mention('config')} {path!r} is not TOML: {error}.") from None
